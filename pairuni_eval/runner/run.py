"""A run from beginning to end: plan, infer, grade, compact.

The same call continues what an earlier one left, at whatever moment that one ended, and the folder
ends up byte for byte as if nothing had happened; only the journal, which holds the times, and the
judges' memory differ. What was damaged meanwhile is told and made again. A complete run is compared
with its mark; one whose judge left questions open is taken up again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from pairuni_eval.adapters import check_checkpoint, expected_memory, load_model
from pairuni_eval.models.arguments import read_arguments
from pairuni_eval.models.base import LoadOptions, Model
from pairuni_eval.progress import Progress, clock, waiting
from pairuni_eval.records import ExternalMetric, Score
from pairuni_eval.runner.grade import Chunk, Grader, drop_scores
from pairuni_eval.runner.infer import Inference
from pairuni_eval.runner.judging import open_questions, reopen
from pairuni_eval.runner.memory import check_room, size_of
from pairuni_eval.runner.plan import (
    OutputBatch,
    RunComponents,
    RunPlan,
    check_installed,
    load_components,
    plan_run,
    same_run,
)
from pairuni_eval.runner.settings import RunSettings
from pairuni_eval.store import layout
from pairuni_eval.store.pictures import Pictures
from pairuni_eval.store.read import StoredRun
from pairuni_eval.store.seal import compact, remove_rows
from pairuni_eval.store.write import RunJournal, clear_temporaries, exclusive, write_record

_LIBRARIES = 500_000_000  # bytes that torch and transformers take, measured


class WorkEstimate(NamedTuple):
    """What a run still owes on one benchmark.

    Attributes:
        outputs: Outputs to make.
        judge_calls: Calls to a judge.
        seconds: Expected time from a warm-up batch, without grading; None if the model lacks the
            capability or nothing is owed.
    """

    benchmark: str
    outputs: int
    judge_calls: int
    seconds: float | None


def measure(settings: RunSettings, console: Console, model: Model | None = None) -> Path:
    """Run what the settings ask for, or what is left of it; returns the run folder.

    Args:
        settings: What is asked.
        console: Where progress is shown.
        model: The model, if it is at hand already; else the settings' checkpoint is loaded.

    Raises:
        UserError: for whatever the user can mend; the rows so far are kept.
    """
    settings.cards()  # unknown names come first
    if model is None:
        check_checkpoint(settings.checkpoint, settings.adapter)
    components = _components(settings)
    model = model or _load(settings, console)
    with exclusive(settings.out):
        if (settings.out / layout.COMPLETE).exists():
            _compare(settings, components, model)
            if not reopen(settings.out):
                remove_rows(settings.out)
                return settings.out
        started = _start(settings, components, model, console)
        _infer(started, console)
        _finish(started, _grade(started, console))
        _say_what_is_open(settings.out, console)
    return settings.out


def estimate(settings: RunSettings, console: Console) -> list[WorkEstimate]:
    """Say what is owed. The warm-up is the first owed batch of each benchmark, and it is kept."""
    settings.cards()
    check_checkpoint(settings.checkpoint, settings.adapter)
    components = _components(settings)
    _say_memory(settings, console)
    model = _load(settings, console)
    with exclusive(settings.out):
        if (settings.out / layout.COMPLETE).exists():
            _compare(settings, components, model)
            return [WorkEstimate(card.name, 0, 0, None) for card in settings.cards()]
        started = _start(settings, components, model, console)
        return [
            _estimate(started, benchmark.card.name, model)
            for benchmark in started.components.benchmarks
        ]


def estimate_table(estimates: Sequence[WorkEstimate]) -> Table:
    """The estimates for the terminal."""
    table = Table("benchmark", "outputs owed", "judge calls", "time")
    for one in estimates:
        time = "-" if one.seconds is None else clock(one.seconds)
        table.add_row(one.benchmark, str(one.outputs), str(one.judge_calls), time)
    known = sum(one.seconds or 0.0 for one in estimates)
    table.add_section()
    table.add_row(
        "in all",
        str(sum(one.outputs for one in estimates)),
        str(sum(one.judge_calls for one in estimates)),
        clock(known),
    )
    return table


class _Started(NamedTuple):
    settings: RunSettings
    components: RunComponents
    plan: RunPlan
    inference: Inference
    pictures: Pictures

    @property
    def batches(self) -> list[OutputBatch]:
        return self.plan.batches

    @property
    def pending(self) -> set[str]:
        """The ids of the outputs that are to be made."""
        planned = (pending.id for batch in self.batches for pending in batch.outputs)
        return {one for one in planned if one not in self.inference.outputs}


class _Graded(NamedTuple):
    """All scores, pass by pass, and what other toolkits make of those of the first.

    Attributes:
        unchecked: How many rows of them that an earlier start left have no check.
    """

    passes: list[list[Score]]
    external_metrics: list[ExternalMetric]
    unchecked: int


def _components(settings: RunSettings) -> RunComponents:
    """Benchmarks and judges; what they lack is found before a model is loaded."""
    check_installed(settings)
    return load_components(settings)


def _load(settings: RunSettings, console: Console) -> Model:
    with waiting(console, f"loading {settings.checkpoint}"):
        return load_model(settings.checkpoint, settings.adapter, _options(settings))


def _options(settings: RunSettings) -> LoadOptions:
    return LoadOptions(
        settings.device,
        settings.dtype,
        settings.compiled,
        folder=settings.out / layout.MODEL,
        remote_code=settings.remote_code,
        arguments=read_arguments(settings.arguments),
    )


def _say_memory(settings: RunSettings, console: Console) -> None:
    """Say what loading will take, before it is begun; nothing where the adapter cannot tell.

    Raises:
        UserError: for weights that are more than the device holds.
    """
    found = expected_memory(settings.checkpoint, settings.adapter, _options(settings))
    if found is None:
        return
    from pairuni_eval.devices import room_on  # with torch, which has told what weights take

    check_room(found, room_on(found.device))
    console.print(
        f"memory: {size_of(found.weights)} of weights in {found.dtype} on {found.device}, "
        f"and about {size_of(_LIBRARIES)} for what computes with them.",
        highlight=False,
        markup=False,
    )


def _start(
    settings: RunSettings, components: RunComponents, model: Model, console: Console
) -> _Started:
    clear_temporaries(settings.out)
    pictures = Pictures(settings.out)
    with _progress(console, transient=True) as progress:
        bar = progress.add_task("reading the benchmarks", total=None)

        def read(benchmark: str) -> None:
            progress.update(bar, advance=1, description=f"reading  {benchmark}")

        plan = plan_run(settings, components, model, pictures, read)
    RunJournal(settings.out).note("start")
    by_uid = {sample.uid: sample for sample in plan.samples}
    inference = Inference(settings.out, plan.card, by_uid, model, pictures)
    started = _Started(settings, components, plan, inference, pictures)
    forgotten = drop_scores(settings.out, started.pending, plan.card.rows_address)
    _tell(settings.out, [*plan.damage, *inference.damage, *forgotten], console)
    return started


def _compare(settings: RunSettings, components: RunComponents, model: Model) -> None:
    """Compare a complete run with its mark and with what is asked.

    Raises:
        UserError: if a file of it is changed, or it is another run.
    """
    StoredRun(settings.out).verify()
    same_run(settings, components, model)


def _tell(run: Path, damage: Sequence[str], console: Console) -> None:
    """Say what an earlier start left damaged, here and in the journal."""
    for sentence in damage:
        RunJournal(run).note("damage", what=sentence)
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)


def _infer(started: _Started, console: Console) -> None:
    pending = started.inference.pending(started.batches)
    total = sum(len(batch.outputs) for batch in started.batches)
    left = sum(len(batch.outputs) for batch in pending)
    with _progress(console) as progress:
        bar = progress.add_task("outputs", total=total, completed=total - left)

        def done(batch: OutputBatch, seconds: float) -> None:
            rate = len(batch.outputs) / seconds if seconds else 0.0
            text = f"outputs  {batch.benchmark} ({rate:.1f}/s)"
            progress.update(bar, advance=len(batch.outputs), description=text)

        started.inference.infer(pending, done)


def _grade(started: _Started, console: Console) -> _Graded:
    """Grade what is owed."""
    outputs = started.inference.outputs
    grader = Grader(started.settings, started.plan, started.components, outputs, started.pictures)
    _tell(started.settings.out, grader.damage, console)
    with _progress(console) as progress:
        total = sum(len(chunk.outputs) for chunk in grader.chunks())
        bar = progress.add_task("grading", total=total)

        def done(chunk: Chunk) -> None:
            text = f"grading  {chunk.address}"
            progress.update(bar, advance=len(chunk.outputs), description=text)

        passes = grader.grade(done)
    return _Graded(passes, grader.external_metrics(passes[0]), grader.unchecked)


def _finish(started: _Started, graded: _Graded) -> None:
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


def _estimate(started: _Started, benchmark: str, model: Model) -> WorkEstimate:
    card = next(b.card for b in started.components.benchmarks if b.card.name == benchmark)
    pending = [b for b in started.inference.pending(started.batches) if b.benchmark == benchmark]
    calls = card.judge.calls * len(card.protocols) if card.judge else 0
    planned = sum(len(b.outputs) for b in started.batches if b.benchmark == benchmark)
    seconds: float | None = None
    if pending and card.capability in model.capabilities:
        timed: list[float] = []
        started.inference.infer(pending[:1], lambda _, took: timed.append(took))
        pending = pending[1:]
        seconds = timed[0] * len(pending)
    outputs = sum(len(b.outputs) for b in pending)
    return WorkEstimate(benchmark, outputs, planned * calls, seconds)


def _progress(console: Console, *, transient: bool = False) -> Progress:
    """A bar with rate and time left."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", table_column=None),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=transient,
    )
