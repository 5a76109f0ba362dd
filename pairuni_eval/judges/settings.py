"""The judge file: which judge is asked, under what name, how, and for how much at most.

`--judge FILE.toml` holds `name`, a plugin, and that plugin's options; a table `[second]` holds the
same for a judge that is asked again about a `share` of the samples. Unknown keys are errors. The
file never holds a secret: `key_env` names the environment variable that does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import msgspec

from pairuni_eval.config import Count, NotNegative, Strict, as_record, read_table
from pairuni_eval.endpoints.settings import CallOptions
from pairuni_eval.errors import UserError
from pairuni_eval.places import is_file

_DEFAULT_PLUGIN = "openai"
_OWN_KEYS = ("name", "second", "share")  # of the file, whatever the plugin

Share = Annotated[float, msgspec.Meta(gt=0, le=1)]


class EndpointOptions(CallOptions, frozen=True, kw_only=True):
    """Options of the judge `openai`, beside those of every endpoint.

    Attributes:
        snapshot: Exact model name; default: the card's.
        temperature: Instead of the card's; "unset" leaves it to the endpoint.
        max_tokens: Instead of the card's; "unset" leaves it to the endpoint.
    """

    snapshot: str | None = None
    temperature: NotNegative | Literal["unset"] | None = None
    max_tokens: Count | Literal["unset"] | None = None


class ScriptOptions(Strict, frozen=True, kw_only=True):
    """Options of the judge `scripted`.

    Attributes:
        replies: File of replies, JSON lines; a relative path starts from the judge file's folder.
        snapshot: Name of the judge that gave them; default: a hash of the file.
    """

    replies: str
    snapshot: str | None = None


class JudgeChoice(NamedTuple):
    """A judge as asked for, for one pass.

    Attributes:
        plugin: Name of the plugin; None takes the card's.
        options: The plugin's own options.
        source: The file they are from.
        share: Of the samples that it is asked about, in (0, 1].
    """

    plugin: str | None = None
    options: Mapping[str, Any] = {}
    source: Path | None = None
    share: float = 1.0


class _Share(msgspec.Struct, frozen=True):
    share: Share


def read_choices(judge: str | None) -> tuple[JudgeChoice, ...]:
    """The judges after `--judge`, a pass each: nothing, the name of a plugin, or a TOML file.

    Raises:
        UserError: for a file that is missing, no TOML, or whose own keys are of the wrong form;
            the options are checked by the plugin.
    """
    if judge is None or not judge.endswith(".toml"):
        return (JudgeChoice(judge),)
    path = Path(judge)
    table = _read_table(path)
    second = table.pop("second", None)
    first = JudgeChoice(_plugin(path, table), table, path)
    if second is None:
        return (first,)
    if not isinstance(second, dict):
        raise UserError(f"{path}: second is not a table.", hint="[second]\nshare = 0.1")
    share = as_record(second, _Share, f"{path}, [second]").share
    options = {key: value for key, value in second.items() if key != "share"}
    return first, JudgeChoice(_plugin(path, options), options, path, share)


Options = TypeVar("Options", bound=msgspec.Struct)


def read_options(kind: type[Options], table: Mapping[str, Any], source: Path | None) -> Options:
    """Check a plugin's options.

    Args:
        kind: The struct of the options; where it forbids unknown keys they are errors.
        table: The options by key.
        source: The file to name in errors.

    Raises:
        UserError: naming the file, the key and the nearest valid key.
    """
    return as_record(dict(table), kind, source or "--judge", also=_OWN_KEYS)


def _read_table(path: Path) -> dict[str, Any]:
    if not is_file(path):
        raise UserError(
            f"There is no judge file {path}.",
            hint="--judge NAME takes a plugin (pairuni-eval list judges), --judge FILE.toml a file",
        )
    return read_table(path)


def _plugin(path: Path, table: dict[str, Any]) -> str:
    """Take the name of the plugin out of a table."""
    name = table.pop("name", _DEFAULT_PLUGIN)
    if not isinstance(name, str):
        raise UserError(f"{path}: name is not text.", hint="See them all: pairuni-eval list judges")
    return name
