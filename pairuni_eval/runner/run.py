"""A run from beginning to end: plan, infer, grade, compact.

The same call continues what an earlier one left, at whatever moment that one ended, and the folder
ends up byte for byte as if nothing had happened; only the journal, which holds the times, and the
judges' memory differ. What was damaged meanwhile is told and made again. A complete run is compared
with its mark; one whose judge left questions open is taken up again.

Of several ranks the first one does all this, and the others make outputs and scores beside it
(`together.py`). What it finds when they are done it takes as it takes what an earlier start left;
what they did not make it makes itself.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from pairuni_eval.adapters import check_checkpoint
from pairuni_eval.models.base import Model
from pairuni_eval.ranks import RankGroup
from pairuni_eval.records import ExternalMetric, Score
from pairuni_eval.runner.finished import is_done
from pairuni_eval.runner.grade import Chunk, drop_scores
from pairuni_eval.runner.judging import open_questions, reopen
from pairuni_eval.runner.plan import RunComponents
from pairuni_eval.runner.settings import RunSettings
from pairuni_eval.runner.start import (
    Started,
    compare,
    components_of,
    infer,
    load,
    progress,
    start,
    tell,
)
from pairuni_eval.runner.together import work_together
from pairuni_eval.store import layout
from pairuni_eval.store.locks import exclusive
from pairuni_eval.store.rank_rows import RowShare
from pairuni_eval.store.seal import compact, remove_rows
from pairuni_eval.store.write import RunJournal, write_record


class _Graded(NamedTuple):
    """All scores, pass by pass, and what other toolkits make of those of the first.

    Attributes:
        unchecked: How many rows of them that an earlier start left have no check.
    """

    passes: list[list[Score]]
    external_metrics: list[ExternalMetric]
    unchecked: int


def measure(
    settings: RunSettings,
    console: Console,
    model: Model | None = None,
    group: RankGroup | None = None,
) -> Path:
    """Run what the settings ask for, or what is left of it; returns the run folder.

    Args:
        settings: What is asked.
        console: Where progress is shown.
        model: The model, if it is at hand already; else the settings' checkpoint is loaded.
        group: The ranks of the run, of which this process is the first; None for a process alone.

    Raises:
        UserError: for whatever the user can mend; the rows so far are kept.
    """
    group = group or RankGroup()
    if model is None and not group.ranks.several:
        settings.cards()  # unknown names come first
        if is_done(settings):
            return settings.out

    def check() -> RunComponents:
        settings.cards()  # unknown names come first
        if model is None:
            check_checkpoint(settings.checkpoint, settings.adapter)
        return components_of(settings)

    components = group.lead(check)
    assert components is not None
    with ExitStack() as held:

        def begin() -> Started | None:
            ready = model or load(settings, console, group.ranks)
            held.enter_context(exclusive(settings.out))
            if (settings.out / layout.COMPLETE).exists():
                compare(settings, components, ready)
                if not reopen(settings.out):
                    remove_rows(settings.out)
                    return None
            share = RowShare(of=group.ranks.of)
            device = group.ranks.device(settings.device)
            return start(settings, components, ready, console, share=share, device=device)

        started = group.lead(begin)
        if started is None:
            return settings.out
        if group.ranks.several:
            started = work_together(started, group, console)
            drop_scores(settings.out, started.pending, started.plan.card.rows_address)
        if started.pending or not group.ranks.several:
            infer(started, started.batches, console)
        _finish(started, _grade(started, console))
        _say_what_is_open(settings.out, console)
    return settings.out


def _grade(started: Started, console: Console) -> _Graded:
    """Grade what is owed."""
    grader = started.grader()
    tell(started.settings.out, grader.damage, console)
    with progress(console) as shown:
        total = sum(len(chunk.outputs) for chunk in grader.chunks())
        bar = shown.add_task("grading", total=total)

        def done(chunk: Chunk) -> None:
            text = f"grading  {chunk.address}"
            shown.update(bar, advance=len(chunk.outputs), description=text)

        passes = grader.grade(done)
    return _Graded(passes, grader.external_metrics(passes[0]), grader.unchecked)


def _finish(started: Started, graded: _Graded) -> None:
    """Write the tables and mark the run complete."""
    run, plan, inference = started.settings.out, started.plan, started.inference
    if graded.external_metrics:
        write_record(run / layout.EXTERNAL_METRICS, graded.external_metrics)
    outputs = [
        inference.outputs[pending.id] for batch in started.batches for pending in batch.outputs
    ]
    drawn = [output.image for output in outputs if output.image]
    scores = zip(layout.PASSES, graded.passes, strict=True)
    compact(
        run,
        {
            "samples": plan.samples,
            "outputs": outputs,
            **{name: rows for name, rows in scores if rows or name == layout.PASSES[0]},
        },
        pictures=started.pictures.digests([*plan.images, *drawn]),
        unchecked=plan.unchecked + inference.unchecked + graded.unchecked,
    )
    RunJournal(run).note("complete")


def _say_what_is_open(run: Path, console: Console) -> None:
    """Tell which questions to a judge got no reply; nothing if there is none."""
    for benchmark, usage in open_questions(run):
        reasons = ", ".join(f"{count} {reason}" for reason, count in usage.troubles)
        console.print(
            f"{benchmark}: {usage.open} of {usage.questions} questions to the judge got no reply "
            f"({reasons}). The same command asks them again.",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
