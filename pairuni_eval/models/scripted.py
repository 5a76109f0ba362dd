"""A model whose outputs are written in a file: for tests, and for grading what was made elsewhere.

`--checkpoint scripted:FILE` reads JSON lines `{"prompt": ..., "text": ...}` or
`{"prompt": ..., "image": "path beside the file"}`. A prompt is the request's whole text; "*"
answers whatever no other line does. A request without a line is an error on its row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from pairuni_eval.errors import ModelError, UserError
from pairuni_eval.models.base import LoadOptions, Model, Reply, Request
from pairuni_eval.pictures import read_rgb
from pairuni_eval.places import is_file
from pairuni_eval.records import Capability, ModelIdentity
from pairuni_eval.user_text import records_of

_ANY = "*"


class _ScriptLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    prompt: str
    text: str | None = None
    image: str | None = None


class ScriptedModel(Model):
    """Replies from a table of prompts."""

    capabilities = frozenset(Capability)

    def __init__(self, lines: Sequence[_ScriptLine], folder: Path, identity: ModelIdentity) -> None:
        self._lines = {line.prompt: line for line in lines}
        self._folder = folder
        self.identity = identity

    @classmethod
    def load(cls, checkpoint: str, options: LoadOptions) -> ScriptedModel:  # noqa: ARG003
        """Read the script.

        Raises:
            UserError: if the file is missing or a line is not of the form above.
        """
        path = Path(checkpoint)
        if not is_file(path):
            raise UserError(f"There is no script {path}.", hint="--checkpoint scripted:FILE")
        lines = records_of(path, _ScriptLine)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        identity = ModelIdentity(adapter="scripted", name=path.stem, weights=digest)
        return cls(lines, path.parent, identity)

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """The scripted texts."""
        return [self._reply(request) for request in requests]

    draw = answer
    edit = answer

    def _reply(self, request: Request) -> Reply:
        line = self._lines.get(request.text) or self._lines.get(_ANY)
        if line is None:
            return Reply(error="the script has no line for this prompt")
        if line.image is None:
            return Reply(text=line.text, tokens=len((line.text or "").split()))
        try:
            return Reply(image=read_rgb(self._folder / line.image, ModelError))
        except ModelError as failure:
            return Reply(error=f"the scripted image cannot be read: {failure}")
