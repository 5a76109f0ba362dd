"""Inference, samples to outputs: the batches that are still owed go through the model.

A failure at the model or in a dataset's image is a row with an error, and the run goes on; a batch
that fails as a whole is tried again row by row, so that one bad request costs one row. Three failed
batches in a row stop the run, because then it is not the requests; no row of theirs is stored, so
the next start tries them again. Rows whose images the dataset lacks say nothing about the model: a
batch of nothing else does not count. An incomplete batch is computed again as a whole: its rows
have the same neighbors as in an uninterrupted run. An output whose picture is gone or changed is
owed again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pairuni_eval.decoding import Decoding
from pairuni_eval.errors import BoundaryError, DatasetError, ModelError, UserError, boundary
from pairuni_eval.models.base import Model, Reply, Request
from pairuni_eval.pictures import reused_memory
from pairuni_eval.records import (
    Capability,
    ImagePart,
    Output,
    Part,
    Picture,
    RunCard,
    Sample,
    TextPart,
)
from pairuni_eval.runner.plan import OutputBatch, PendingOutput
from pairuni_eval.seeds import seed_for
from pairuni_eval.store.pictures import TROUBLES, Pictures
from pairuni_eval.store.rank_rows import Mends, RankRows, RowShare
from pairuni_eval.store.write import RunJournal

if TYPE_CHECKING:
    from PIL import Image

_HOPELESS_AFTER = 3
_NO_WORDS = "declined without a word"


class _BatchOutputs(NamedTuple):
    """The outputs of a batch, and how many of its requests the model was asked."""

    outputs: list[Output]
    asked: int

    @property
    def failed(self) -> bool:
        """Whether the model was asked, and there is nothing but errors."""
        return self.asked > 0 and all(output.error for output in self.outputs)


class Inference:
    """Runs batches of one run and appends their outputs.

    Args:
        run: The run folder.
        card: Its card.
        samples: Every sample by uid.
        model: The loaded model.
        pictures: The pictures of the run folder.
        share: Whose rows are appended; where the first rank has mended the rows, it has looked at
            their pictures as well.

    Attributes:
        outputs: Every output so far, by id.
        unchecked: How many of those that an earlier start left have no check.
        damage: What is to be told about rows and pictures of an earlier start that are owed again.
    """

    def __init__(
        self,
        run: Path,
        card: RunCard,
        samples: Mapping[str, Sample],
        model: Model,
        pictures: Pictures,
        share: RowShare = RowShare(),  # noqa: B008 - frozen
    ) -> None:
        self._card = card
        self._samples = samples
        self._model = model
        self._pictures = pictures
        self._log = RankRows(run, "outputs", Output, address=card.rows_address, share=share)
        self._journal = RunJournal(run)
        self._lost = 0
        found = self._log.recover(None if share.mends is Mends.NONE else self._owed_again)
        self.outputs = {output.id: output for output in found.rows}
        self.unchecked = found.unchecked
        self.damage = self._log.damage
        if self._lost:
            self.damage += (
                f"outputs whose picture is missing or changed: {self._lost}; they are made again.",
            )

    def pending(self, batches: Iterable[OutputBatch]) -> list[OutputBatch]:
        """The batches of which some output is missing."""
        return [b for b in batches if any(o.id not in self.outputs for o in b.outputs)]

    def _owed_again(self, output: Output) -> bool:
        """Whether an output rests on a picture that is gone, or holds one."""
        lost = any(
            self._pictures.trouble(part.image)
            for part in output.parts
            if isinstance(part, ImagePart)
        )
        self._lost += lost
        return lost or output.error in TROUBLES

    def infer(
        self, batches: Iterable[OutputBatch], done: Callable[[OutputBatch, float], None]
    ) -> None:
        """Run the batches in order; `done` hears of each with its seconds.

        Raises:
            UserError: if several batches in a row fail entirely, or the disk is full.
        """
        with reused_memory():
            self._infer(batches, done)

    def _infer(
        self, batches: Iterable[OutputBatch], done: Callable[[OutputBatch, float], None]
    ) -> None:
        held: list[list[Output]] = []  # back until it is clear that the run goes on
        failed = 0  # batches in a row
        for batch in batches:
            start = time.perf_counter()
            made = self._make(batch)
            seconds = time.perf_counter() - start
            rows = made.outputs
            self._journal.note("batch", benchmark=batch.benchmark, rows=len(rows), seconds=seconds)
            held.append(rows)
            if made.asked or not rows[-1].error:
                live = self._model.is_live(batch.capability)
                failed = failed + 1 if live and made.failed else 0
            if not failed:
                self._store_all(held)
            elif failed == _HOPELESS_AFTER:
                raise UserError(
                    f"{failed} batches in a row failed entirely, the last on "
                    f"'{batch.benchmark}' with: {rows[-1].error}",
                    hint="The rows before them are kept. Mend the cause and run the same command "
                    "again: it goes on with these.",
                )
            done(batch, seconds)
        self._store_all(held)

    def _store_all(self, made: list[list[Output]]) -> None:
        """Append what is missing of the batches, oldest first, and empty the list."""
        for outputs in made:
            missing = [output for output in outputs if output.id not in self.outputs]
            self._log.append(missing)
            self.outputs.update((output.id, output) for output in missing)
        made.clear()

    def _make(self, batch: OutputBatch) -> _BatchOutputs:
        """All outputs of a batch, with its pictures stored but no row yet."""
        decoding = self._card.benchmarks[batch.benchmark].decoding
        if batch.capability not in self._model.capabilities:
            reason = f"the model cannot {batch.capability.value}"
            skipped = [self._output(pending, decoding, skipped=reason) for pending in batch.outputs]
            return _BatchOutputs(skipped, 0)
        return self._ask(batch, decoding)

    def _ask(self, batch: OutputBatch, decoding: Decoding) -> _BatchOutputs:
        requests: dict[str, Request] = {}
        errors: dict[str, str] = {}
        for pending in batch.outputs:
            try:
                requests[pending.id] = self._request(pending, decoding)
            except DatasetError as failure:
                errors[pending.id] = str(failure)
        replies = dict(
            zip(requests, self._call(batch.capability, list(requests.values())), strict=True)
        )
        outputs = [
            self._output(pending, decoding, error=errors[pending.id])
            if pending.id in errors
            else self._settle(pending, decoding, replies[pending.id])
            for pending in batch.outputs
        ]
        return _BatchOutputs(outputs, len(requests))

    def _request(self, pending: PendingOutput, decoding: Decoding) -> Request:
        sample = self._samples[pending.sample]
        asked = sample.capability
        seen = asked is not Capability.UNDERSTAND or self._model.is_live(asked)
        parts = tuple(
            part.text if isinstance(part, TextPart) else self._shown(part)
            for part in sample.parts
            if seen or isinstance(part, TextPart)
        )
        seed = seed_for(self._card.seed, pending.sample, pending.draw, "decode")
        return Request(
            parts, decoding, seed, pending.id, sample.benchmark, sample.key, pending.draw
        )

    def _shown(self, part: ImagePart) -> Image.Image:
        """The picture of a request; DatasetError if it has a flaw or cannot be loaded."""
        if part.flaw is not None:
            raise DatasetError(part.flaw)
        return self._pictures.load(part.image)

    def _call(self, capability: Capability, requests: Sequence[Request]) -> list[Reply]:
        """One reply per request; what fails together is tried again alone."""
        if not requests:
            return []
        ask = {
            Capability.UNDERSTAND: self._model.answer,
            Capability.GENERATE: self._model.draw,
            Capability.EDIT: self._model.edit,
        }[capability]
        try:
            with boundary(ModelError):
                replies = ask(requests)
        except BoundaryError as failure:
            if len(requests) == 1:
                return [Reply(error=str(failure))]
            return [reply for one in requests for reply in self._call(capability, [one])]
        if len(replies) != len(requests):
            raise UserError(
                f"The model '{self._model.identity.adapter}' gave {len(replies)} replies to "
                f"{len(requests)} requests.",
                hint="An adapter must return one reply per request, in order.",
            )
        return replies

    def _settle(self, pending: PendingOutput, decoding: Decoding, reply: Reply) -> Output:
        """Store what a reply holds and describe it as a row."""
        if reply.refused is not None:
            said = reply.refused.strip() or _NO_WORDS
            return self._output(pending, decoding, tokens=reply.tokens, refused=said)
        parts: list[Part] = []
        if reply.text is not None:
            parts.append(TextPart(reply.text))
        if reply.image is not None:
            picture = Picture.from_image(reply.image.convert("RGB"))
            with self._pictures as pictures:
                parts.append(ImagePart(pictures.add(picture)))
        error = reply.error or (None if parts else "the model returned nothing")
        return self._output(pending, decoding, parts=tuple(parts), tokens=reply.tokens, error=error)

    def _output(
        self,
        pending: PendingOutput,
        decoding: Decoding,
        *,
        parts: tuple[Part, ...] = (),
        tokens: int = 0,
        error: str | None = None,
        skipped: str | None = None,
        refused: str | None = None,
    ) -> Output:
        return Output(
            id=pending.id,
            sample=pending.sample,
            draw=pending.draw,
            seed=seed_for(self._card.seed, pending.sample, pending.draw, "decode"),
            decoding=decoding.id,
            parts=parts,
            tokens=tokens,
            error=error,
            skipped=skipped,
            refused=refused,
        )
