"""What a training measures of its checkpoints: the plan, the runs, and a line for each of them.

In the folder of the training:

    evaluations/plan.json        what is measured when, and how the best checkpoint is chosen
    evaluations/SUITE/step-N/    runs, as `pairuni-eval run` writes them; step 0 is where it began
    evaluations.jsonl            a line for each run that is finished: its headlines
    watching.jsonl               the seconds around them, the only file of these that holds any

The trainer writes them in its own process, or `pairuni-eval follow` in another one.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from pairuni_eval.config import Count, Strict
from pairuni_eval.errors import UserError
from pairuni_eval.places import is_file, is_folder
from pairuni_eval.records import Capability
from pairuni_eval.store.documents import read_document
from pairuni_eval.store.json_lines import append, encode_lines, keep_lines, read_lines
from pairuni_eval.store.write import write_record

EVALUATIONS = "evaluations"
EVALUATED = "evaluations.jsonl"
WATCHING = "watching.jsonl"
MEAN = "mean"
CHECKPOINT = "checkpoint-"  # how the names of a training's checkpoints begin
_PLAN = "plan.json"
_SPOILED = "Delete that line: the same command measures its checkpoint again."


class EvaluationPlan(Strict, frozen=True, kw_only=True):
    """What is measured of a training, when, and what that decides.

    Attributes:
        base: The checkpoint that training begins from, which is measured as step 0.
        suite: What every checkpoint is measured on; the best one is chosen by it.
        every: Steps between two evaluations; the last step has one as well.
        limit: Samples of each benchmark; None takes all.
        judge: As `pairuni-eval run --judge`.
        held_out: The suite on which the chosen checkpoint is measured at the end, beside the start.
        best_by: What the choice goes by: "mean", "understand", "generate" or "edit" (the mean of
            headlines, each on its range, of all benchmarks or of those that ask for that), or a
            benchmark of the suite, whose headline it is.
        patience: Evaluations in a row without improvement after which training stops; 0 never
            stops it.
        elsewhere: Whether another process measures.
    """

    base: str
    suite: str
    every: Count
    limit: Count | None = None
    judge: str | None = None
    held_out: str | None = None
    best_by: str = MEAN
    patience: int = 0
    elsewhere: bool = False

    def due(self, done: int, last: int) -> bool:
        """Whether there is an evaluation after `done` steps of `last`."""
        return done % self.every == 0 or done == last


class EvaluatedHeadline(msgspec.Struct, frozen=True, kw_only=True):
    """The headline of a benchmark at a step.

    Attributes:
        benchmark: Its name.
        title: The benchmark's, for people.
        capability: What it asks of a model.
        protocol: The default one, by its name in the card.
        metric: Name of the metric in the protocol.
        value: Unscaled; None if the rows make none.
        low: Lower end of its 95 % interval.
        high: Upper end.
        good: The value turned so that more is better, from 0 to 1 on the range of the metric where
            that is known.
        ranged: Whether that range is known.
        scale: What a page multiplies values by.
        scored: Outputs that have a value.
        expected: Outputs of the whole benchmark.
    """

    benchmark: str
    title: str
    capability: Capability
    protocol: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    good: float | None
    ranged: bool
    scale: float
    scored: int
    expected: int


class EvaluationRow(msgspec.Struct, frozen=True, kw_only=True):
    """A finished evaluation.

    Attributes:
        step: Steps done; 0 is where training began.
        suite: What was measured.
        weights: Hash of the weights that were measured.
        tiny: Whether the numbers are of the tiny world or of tiny weights.
        headlines: In the order of the suite.
    """

    step: int
    suite: str
    weights: str
    tiny: bool
    headlines: tuple[EvaluatedHeadline, ...]


def run_of(training: Path, suite: str, step: int) -> Path:
    """The run folder of an evaluation."""
    return training / EVALUATIONS / suite / f"step-{step}"


def training_of(run: Path) -> Path | None:
    """The training of which a run folder is an evaluation, by where it lies; None for others."""
    above = run.resolve().parents
    if len(above) < 3 or not is_file(above[1] / _PLAN):
        return None
    return above[2] if above[1].name == EVALUATIONS else None


def weights_after(training: Path, plan: EvaluationPlan, step: int) -> str | None:
    """The checkpoint that an evaluation measures; None if it is not there."""
    if step == 0:
        return plan.base
    folder = training / f"{CHECKPOINT}{step}"
    return str(folder) if is_folder(folder) else None


def read_plan(training: Path) -> EvaluationPlan | None:
    """The plan of a training; None if it has none.

    Raises:
        UserError: for a file that is none.
    """
    path = training / EVALUATIONS / _PLAN
    if not is_file(path):
        return None
    hint = f"Delete {path.parent}: the same command measures the checkpoints again."
    return read_document(path, EvaluationPlan, hint=hint).value


def keep_plan(training: Path, plan: EvaluationPlan) -> None:
    """Write the plan, or compare it with the one that is there; patience may grow.

    Raises:
        UserError: naming the first value that differs.
    """
    former = read_plan(training)
    for name in plan.__struct_fields__ if former is not None else ():
        before, now = getattr(former, name), getattr(plan, name)
        if before != now and not (name == "patience" and _more_patient(before, now)):
            raise UserError(
                f"{training} holds evaluations of another plan: its {name} is {before!r}, now it "
                f"is {now!r}.",
                hint="Choose another folder with --out, give the former values, or delete "
                f"{training / EVALUATIONS}.",
            )
    if former != plan:
        write_record(training / EVALUATIONS / _PLAN, plan)


def _more_patient(before: int, now: int) -> bool:
    """Whether what was stopped by the former number is stopped later, or never."""
    return now == 0 or 0 < before < now


def read_evaluations(training: Path) -> list[EvaluationRow]:
    """The finished evaluations in the order of their steps; none without the file.

    Raises:
        UserError: naming the line that is none.
    """
    decode = msgspec.json.Decoder(EvaluationRow).decode
    rows = read_lines(training / EVALUATED, decode, hint=_SPOILED)
    return sorted(rows, key=lambda row: row.step)


def keep_evaluation(training: Path, row: EvaluationRow) -> None:
    """Add the line of a finished evaluation."""
    append(training / EVALUATED, encode_lines([row]), wait=True)


def cut_evaluations(training: Path, done: int) -> None:
    """Drop the lines of steps that are not done, and a torn last one."""
    keep_lines(training / EVALUATED, lambda line: msgspec.json.decode(line)["step"] <= done)
