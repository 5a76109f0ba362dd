"""A model of recorded outputs, made elsewhere: `--checkpoint recorded:FILE` or `recorded:FOLDER`.

FILE is as `pairuni_eval.responses.rows` says, FOLDER holds pictures as `picture_folders` says; a
request is answered by its sample's own key and draw, whatever it asks. Only where the recording
says what it was made for, a request that asks something else is no sample of it. A request without
a row is an error on its row, and the run goes on. Nothing here looks at an image of a question.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pairuni_eval.errors import ModelError, UserError
from pairuni_eval.foreign_text import on_one_line
from pairuni_eval.models.base import LoadOptions, Model, Reply, Request
from pairuni_eval.pictures import read_rgb
from pairuni_eval.places import is_folder
from pairuni_eval.records import Capability, ModelIdentity
from pairuni_eval.responses.picture_folders import read_folder
from pairuni_eval.responses.rows import Response, digest, read_responses


class RecordedModel(Model):
    """Replies from a responses file or a folder of pictures.

    Args:
        path: The file or folder, for its name and its content's hash.
        responses: Its rows, under the keys of their samples.
    """

    capabilities = frozenset(Capability)
    live: ClassVar[bool] = False
    default_batch_sizes: ClassVar[Mapping[Capability, int]] = {
        Capability.UNDERSTAND: 256,
        Capability.GENERATE: 16,
        Capability.EDIT: 16,
    }

    def __init__(self, path: Path, responses: Iterable[Response]) -> None:
        held = list(responses)
        self._path = path
        self._source = "folder" if is_folder(path) else "file"
        self._rows = {(row.benchmark, row.id, row.draw): row for row in held}
        self._served: str | None = None
        self.identity = ModelIdentity(
            adapter="recorded",
            name=path.resolve().name if is_folder(path) else path.stem,
            weights=digest(path, held),
        )

    @classmethod
    def load(cls, checkpoint: str, options: LoadOptions) -> RecordedModel:  # noqa: ARG003
        """Read a file or folder; see `read_responses` and `read_folder` for what they refuse."""
        path = Path(checkpoint)
        read = read_folder(path) if is_folder(path) else read_responses(path)
        for note in read.notes:
            logging.getLogger(__name__).warning("Note: %s.", on_one_line(note))
        return cls(path, read.responses)

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """The recorded texts."""
        return [self._text(request) for request in requests]

    def draw(self, requests: Sequence[Request]) -> list[Reply]:
        """The recorded images."""
        return [self._image(request) for request in requests]

    edit = draw

    def _text(self, request: Request) -> Reply:
        row = self._find(request)
        if row is None or row.text is None:
            return Reply(error=self._lacking(row, "answer"))
        return Reply(text=row.text, tokens=len(row.text.split()))

    def _image(self, request: Request) -> Reply:
        row = self._find(request)
        if row is None or row.image is None:
            return Reply(error=self._lacking(row, "image"))
        if row.asked is not None and _words(row.asked) != _words(request.text):
            return Reply(error=f"the {self._source} says that it was made for: {row.asked}")
        try:
            return Reply(text=row.text, image=read_rgb(row.image, ModelError))
        except ModelError as failure:
            return Reply(error=f"the recorded image cannot be read: {failure}")

    def _find(self, request: Request) -> Response | None:
        named = self._rows.get((request.benchmark, request.key, request.draw))
        return named or self._unnamed(request)

    def _unnamed(self, request: Request) -> Response | None:
        """A row without a benchmark's name: such a file serves one benchmark only.

        Raises:
            UserError: if a second benchmark asks, because ids like "12" are in many.
        """
        row = self._rows.get((None, request.key, request.draw))
        if row is None:
            return None
        self._served = self._served or request.benchmark
        if self._served != request.benchmark:
            raise UserError(
                f"{self._path}: its rows name no benchmark, and both '{self._served}' and "
                f"'{request.benchmark}' have samples of their ids.",
                hint='Name one with --benchmarks, or give each row its "benchmark".',
            )
        return row

    def _lacking(self, row: Response | None, what: str) -> str:
        if row is None:
            unit = "picture" if self._source == "folder" else "row"
            return f"the {self._source} has no {unit} for this sample"
        if row.fault is not None:
            return row.fault
        return f"the {self._source} records no {what} for this sample"


def _words(text: str) -> list[str]:
    """The words of a prompt: scripts differ in the blanks around and between them."""
    return text.split()
