"""The beginning of a run, whoever begins it: components, the model, the plan, what is there so far.

One process plans, or finds the plan of an earlier start: it holds the folder meanwhile. The other
ranks of a run (`together.py`) read what it planned.
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

from pairuni_eval.adapters import load_model
from pairuni_eval.models.arguments import read_arguments
from pairuni_eval.models.base import LoadOptions, Model
from pairuni_eval.progress import Progress, waiting
from pairuni_eval.ranks import ALONE, Ranks
from pairuni_eval.records import Output
from pairuni_eval.runner.grade import Grader, drop_scores
from pairuni_eval.runner.infer import Inference
from pairuni_eval.runner.memory import check_fits
from pairuni_eval.runner.plan import (
    OutputBatch,
    RunComponents,
    RunPlan,
    check_installed,
    load_components,
    plan_run,
    read_plan,
    same_run,
)
from pairuni_eval.runner.settings import RunSettings
from pairuni_eval.store import layout
from pairuni_eval.store.pictures import Pictures
from pairuni_eval.store.rank_rows import Mends, RowShare
from pairuni_eval.store.read import StoredRun
from pairuni_eval.store.write import RunJournal, clear_temporaries


class Started(NamedTuple):
    """A run that has a plan.

    Attributes:
        device: Where models that grade are loaded.
    """

    settings: RunSettings
    components: RunComponents
    plan: RunPlan
    model: Model
    inference: Inference
    pictures: Pictures
    share: RowShare
    device: str

    @property
    def batches(self) -> list[OutputBatch]:
        """All batches of the run, in order."""
        return self.plan.batches

    @property
    def outputs(self) -> dict[str, Output]:
        """Every output so far, by id."""
        return self.inference.outputs

    def owed(self, batches: Sequence[OutputBatch] | None = None) -> list[OutputBatch]:
        """The batches, of these or of all, of which some output is missing."""
        return self.inference.pending(self.batches if batches is None else batches)

    @property
    def pending(self) -> set[str]:
        """The ids of the outputs that are to be made."""
        planned = (pending.id for batch in self.batches for pending in batch.outputs)
        return {one for one in planned if one not in self.outputs}

    def again(self) -> Started:
        """The same run with the outputs that are there now."""
        run, plan = self.settings.out, self.plan
        read = read_outputs(run, plan, self.model, self.pictures, self.share)
        return self._replace(inference=read)

    def grader(self) -> Grader:
        """Who grades the outputs, with the scores that are there now."""
        return Grader(
            self.settings,
            self.plan,
            self.components,
            self.outputs,
            self.pictures,
            self.share,
            self.device,
        )


def components_of(settings: RunSettings) -> RunComponents:
    """Benchmarks and judges; what they lack is found before a model is loaded."""
    check_installed(settings)
    return load_components(settings)


def load(settings: RunSettings, console: Console, ranks: Ranks = ALONE) -> Model:
    """The model, on the device of this rank."""
    with waiting(console, f"loading {settings.checkpoint}"):
        options = load_options(settings, ranks)
        check_fits(settings.checkpoint, settings.adapter, options)
        return load_model(settings.checkpoint, settings.adapter, options)


def load_options(settings: RunSettings, ranks: Ranks = ALONE) -> LoadOptions:
    """How the model is loaded."""
    return LoadOptions(
        ranks.device(settings.device),
        settings.dtype,
        settings.compiled,
        folder=settings.out / layout.MODEL,
        remote_code=settings.remote_code,
        arguments=read_arguments(settings.arguments),
    )


def start(
    settings: RunSettings,
    components: RunComponents,
    model: Model,
    console: Console,
    *,
    share: RowShare = RowShare(),  # noqa: B008 - frozen
    device: str | None = None,
    beside_others: bool = False,
) -> Started:
    """Plan a run or find its plan, and read what is there; the folder is held meanwhile.

    Args:
        settings: What is asked.
        components: Benchmarks and judges.
        model: The model.
        console: Where progress is shown.
        share: Whose rows are appended.
        device: Where models that grade are loaded, instead of what the settings say.
        beside_others: Whether other processes make outputs now: what they are writing stands.
    """
    if not beside_others:
        clear_temporaries(settings.out)
    pictures = Pictures(settings.out)
    with progress(console, transient=True) as shown:
        bar = shown.add_task("reading the benchmarks", total=None)

        def read(benchmark: str) -> None:
            shown.update(bar, advance=1, description=f"reading  {benchmark}")

        plan = plan_run(
            settings, components, model, pictures, read, look_at_pictures=not beside_others
        )
    RunJournal(settings.out).note("start")
    inference = read_outputs(settings.out, plan, model, pictures, share)
    started = Started(
        settings, components, plan, model, inference, pictures, share, device or settings.device
    )
    forgotten = drop_scores(settings.out, started.pending, plan.card.rows_address)
    tell(settings.out, [*plan.damage, *started.inference.damage, *forgotten], console)
    return started


def join(settings: RunSettings, components: RunComponents, model: Model, ranks: Ranks) -> Started:
    """Read the plan that the first rank of a run wrote, and what is there; nothing is mended.

    Raises:
        UserError: if the plan is of another command than this rank's.
    """
    plan = read_plan(settings, components, model)
    share = RowShare(ranks.rank, ranks.of, Mends.NONE)
    pictures = Pictures(settings.out)
    inference = read_outputs(settings.out, plan, model, pictures, share)
    device = ranks.device(settings.device)
    return Started(settings, components, plan, model, inference, pictures, share, device)


def read_outputs(
    run: Path, plan: RunPlan, model: Model, pictures: Pictures, share: RowShare
) -> Inference:
    """Who makes outputs, with those that are there now."""
    by_uid = {sample.uid: sample for sample in plan.samples}
    return Inference(run, plan.card, by_uid, model, pictures, share)


def compare(settings: RunSettings, components: RunComponents, model: Model) -> None:
    """Compare a complete run with its mark and with what is asked.

    Raises:
        UserError: if a file of it is changed, or it is another run.
    """
    StoredRun(settings.out).verify()
    same_run(settings, components, model)


def tell(run: Path, damage: Sequence[str], console: Console) -> None:
    """Say what an earlier start left damaged, here and in the journal."""
    for sentence in damage:
        RunJournal(run).note("damage", what=sentence)
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)


def infer(started: Started, batches: Sequence[OutputBatch], console: Console) -> None:
    """Make the outputs of these batches that are missing."""
    owed = started.owed(batches)
    total = sum(len(batch.outputs) for batch in batches)
    left = sum(len(batch.outputs) for batch in owed)
    with progress(console) as shown:
        bar = shown.add_task("outputs", total=total, completed=total - left)

        def done(batch: OutputBatch, seconds: float) -> None:
            rate = len(batch.outputs) / seconds if seconds else 0.0
            text = f"outputs  {batch.benchmark} ({rate:.1f}/s)"
            shown.update(bar, advance=len(batch.outputs), description=text)

        started.inference.infer(owed, done)


def progress(console: Console, *, transient: bool = False) -> Progress:
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
