"""The endpoint file: which model is asked, where, for what, and what is sent.

`--checkpoint endpoint:FILE.toml`. Unknown keys are errors; all keys may be left out where the
endpoint serves one model and says which.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from pairuni_eval.config import Count, read_record
from pairuni_eval.endpoints.settings import CallOptions, check
from pairuni_eval.errors import UserError
from pairuni_eval.places import is_file
from pairuni_eval.records import Capability

Field = Literal[
    "temperature", "top_p", "top_k", "max_tokens", "seed", "n", "size", "response_format"
]


class EndpointFile(CallOptions, frozen=True, kw_only=True):
    """What the file of a model behind an endpoint holds, beside the keys of every endpoint.

    Attributes:
        model: Its name at the endpoint; default: the one model that the endpoint lists.
        name: What reports call it; default: `model`.
        capabilities: What it is asked for; default: what the endpoint says, else "understand".
        size: Width and height of pictures, in pixels; default: the endpoint's.
        omit: Fields that are not sent, because the endpoint does not take them.
        rename: Fields that are sent under another name.
    """

    model: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    name: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    capabilities: Annotated[tuple[Capability, ...], msgspec.Meta(min_length=1)] | None = None
    size: tuple[Count, Count] | None = None
    omit: tuple[Field, ...] = ()
    rename: dict[Field, str] = {}

    @property
    def alters(self) -> dict[str, Any]:
        """What of the file moves a reply, beside the model."""
        found = {
            "extra": self.extra or {},
            "omit": sorted(self.omit),
            "rename": dict(self.rename),
        }
        return {name: value for name, value in found.items() if value}

    def as_sent(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of a request as this endpoint takes them."""
        names: Mapping[str, str] = {str(old): new for old, new in self.rename.items()}
        kept = {names.get(name, name): one for name, one in fields.items() if name not in self.omit}
        return kept | (self.extra or {})

    def remedy(self, about: str, sent: Mapping[str, Any]) -> str:
        """The line of the file that mends a refusal.

        Args:
            about: What it names: a field that was sent, "context", "image" or "model"; empty if it
                names nothing that is known.
            sent: The fields that were sent.
        """
        lines = {
            "max_tokens": 'rename = { max_tokens = "max_completion_tokens" }',
            "image": 'model = "A MODEL THAT TAKES IMAGES", or capabilities without "understand"',
            "context": 'model = "A MODEL WITH A LONGER CONTEXT"',
            "model": 'model = "A MODEL THAT THE ENDPOINT HAS"',
        }
        if about in (self.extra or {}):
            return f"extra without {about}"
        if about in lines:
            return lines[about]
        own = next((old for old, new in self.rename.items() if new == about), about)
        if about in sent and own in Field.__args__:  # type: ignore[attr-defined]
            return f'omit = ["{own}"]'
        return "base_url, model, capabilities, omit, rename and extra are how it is asked"


def read_file(path: Path) -> EndpointFile:
    """Read and check an endpoint file.

    Raises:
        UserError: naming the file and the key, for one that is missing or wrong.
    """
    if not is_file(path):
        raise UserError(
            f"There is no endpoint file {path}.",
            hint='--checkpoint endpoint:FILE.toml; FILE.toml: base_url = "http://localhost:8000/v1"'
            ' and model = "NAME"',
        )
    found = read_record(path, EndpointFile)
    check(found, path)
    return found
