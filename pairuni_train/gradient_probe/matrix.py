"""The per-pair gradient matrix of a checkpoint: every understanding half against every other half.

Of each scenario n pairs are taken, in an order that the seed gives and the order of the file does
not change; a pair is passed over if one of its halves or of its pictures has come before, so that
what is off the diagonal is another picture. Each half is measured once (`half_gradients`), kept
whole or projected (`projection`), and all inner products are taken of what was kept (`half_store`).
Nothing is trained. The controls of the probe run first, those of the matrix with it.

The folder holds `halves.jsonl` (a line a half), `matrix.parquet` (the table), `matrix.json` (the
summary) and `settings.json`; the same command goes on where an earlier one was stopped, and a
finished one is read again. What the numbers say is `pairuni_eval.gradients`.

Departure: one process measures; several would each need the others' gradients whole.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from rich.console import Console

from pairuni_eval.toolkit import UserError, as_typed, seed_for
from pairuni_eval.toolkit.gradients import (
    MATRIX_FILE,
    SUMMARY_FILE,
    MatrixFindings,
    PairTable,
    matrix_findings,
    read_matrix,
    sentences,
    write_matrix,
)
from pairuni_eval.toolkit.models import Task
from pairuni_eval.toolkit.progress import Progress
from pairuni_eval.toolkit.store import exclusive, write_whole
from pairuni_train.checkpoints import open_run_dir
from pairuni_train.config import Recipe
from pairuni_train.distributed.engine import start_process
from pairuni_train.gradient_probe.half_gradients import HalfGradient, HalfGradients
from pairuni_train.gradient_probe.half_store import HalfRow, HalfStore
from pairuni_train.gradient_probe.matrix_controls import (
    MatrixControl,
    VectorControls,
    against_itself,
    check_controls,
    measured_error,
)
from pairuni_train.gradient_probe.projection import Projection
from pairuni_train.gradient_probe.scenarios import Scenario, read_scenario
from pairuni_train.grpo.rollouts import TASKS
from pairuni_train.pair_data.concepts import CONCEPT_RULE, concepts_of, says_no
from pairuni_train.pair_data.record import Pair
from pairuni_train.setup import check_weights, load_reward_scheme

FORMAT = "pairuni-matrix/1"
_WHOLE_BYTES = 2 << 30  # gradients that together take less are kept whole
_PLACES = 1 << 16  # of each block, where they would take more


class MatrixJob(NamedTuple):
    """What a user asks of `pairuni-train probe --matrix`.

    Attributes:
        recipe: Its checkpoint is the one that is measured.
        pairs: The folder of pair sets.
        scenarios: Names of arms.
        size: Pairs of each scenario.
        places: Numbers that are kept of each block of a gradient; None decides by their size.
        beside: Folders of matrices that were measured before, with which p values are corrected.
        weighting: Of the pairs; it changes pooled cosines alone.
    """

    recipe: Recipe
    pairs: Path
    scenarios: tuple[str, ...]
    size: int
    seed: int
    out: Path
    places: int | None = None
    beside: tuple[Path, ...] = ()
    weighting: str = "none"


class ProjectionFacts(msgspec.Struct, frozen=True, kw_only=True):
    """How gradients were kept.

    Attributes:
        numbers: Numbers of each block's gradient.
        kept: Numbers that were kept of it; the same where it is whole.
        error: Of a cosine near 0, as measured on each gradient against itself; by block.
    """

    numbers: dict[str, int]
    kept: dict[str, int]
    error: dict[str, float]


class MatrixSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What `matrix.json` holds.

    Attributes:
        format: Of this file.
        checkpoint: What was measured.
        weights: Hash of its weights.
        rollouts: Of a half, by task.
        pairs: Of each scenario.
        seed: Of pairs and rollouts.
        concept_rule: What says which concepts a half asks for.
        projection: How gradients were kept.
        controls: Those of the probe first.
        beside: Matrices whose tests are corrected together with these.
        findings: Of these scenarios, then of those beside.
        sentences: What may be said.
    """

    format: str
    checkpoint: str
    weights: str
    rollouts: dict[str, int]
    pairs: int
    seed: int
    concept_rule: str
    projection: ProjectionFacts
    controls: tuple[MatrixControl, ...]
    beside: tuple[str, ...]
    findings: MatrixFindings
    sentences: tuple[str, ...]


def measure_matrix(job: MatrixJob, console: Console) -> MatrixSummary:
    """Measure what is left of a job, and say what all of it says.

    Raises:
        UserError: for whatever the user can mend, and for a control that does not hold.
    """
    accelerator = start_process()
    if accelerator.num_processes > 1:
        raise UserError(
            "The matrix is measured by one process, and these are several.",
            hint="Start it without a launcher: pairuni-train probe --matrix --help",
        )
    beside = [table for folder in job.beside for table in _named_tables(folder)]
    scheme = load_reward_scheme(job.recipe, job.weighting)
    whole = [read_scenario(name, job.pairs, job.seed) for name in job.scenarios]
    chosen = [_chosen(scenario, job) for scenario in whole]
    for scenario in chosen:
        check_weights(job.weighting, scheme.weighting, scenario.pairs)
    with exclusive(job.out):
        gradients = HalfGradients(job.recipe, scheme, accelerator, job.seed)
        measurement = _Measurement(job, chosen, gradients)
        open_run_dir(job.out, _settings(job, whole, measurement))
        return measurement.summary(console, beside)


class _Measurement:
    """A job whose model is loaded."""

    def __init__(
        self, job: MatrixJob, scenarios: Sequence[Scenario], gradients: HalfGradients
    ) -> None:
        self._job = job
        self._scenarios = scenarios
        self._gradients = gradients
        self._store = HalfStore(job.out)
        self.places = job.places or self._places_by_size()
        self.projection = Projection(
            gradients.sizes, gradients.blocks, places=self.places, seed=job.seed
        )

    @property
    def weights(self) -> str:
        """Hash of the weights that are measured."""
        return self._gradients.weights

    def summary(self, console: Console, beside: Sequence[PairTable]) -> MatrixSummary:
        """Measure what is left, write the table and the summary."""
        path = self._job.out / SUMMARY_FILE
        if (self._job.out / MATRIX_FILE).is_file() and path.is_file():
            controls = msgspec.json.decode(path.read_bytes(), type=MatrixSummary).controls
        else:
            controls = self._measure(console)
        tables = read_matrix(self._job.out)
        findings = matrix_findings([*tables, *beside])
        found = self._summed_up(controls, findings)
        write_whole(path, msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
        self._store.forget_vectors()
        return found

    def _measure(self, console: Console) -> tuple[MatrixControl, ...]:
        made = VectorControls(
            self.projection,
            self._gradients.sizes,
            self._gradients.blocks,
            self._gradients.device,
            self._job.seed,
        ).run()
        check_controls(made)
        through_model = [
            MatrixControl(case.name, case.expected, case.found, case.within)
            for case in self._gradients.controls(self._scenarios[0].pairs)
        ]
        self._measure_halves(console)
        rows = self._store.read()
        itself = against_itself(rows, self.projection)
        check_controls([itself] if itself else [])
        write_matrix(
            self._job.out / MATRIX_FILE,
            [
                self._store.table(scenario.name, *(_of(rows, scenario, task) for task in TASKS))
                for scenario in self._scenarios
            ],
        )
        return (*through_model, *([itself] if itself else []), *made)

    def _measure_halves(self, console: Console) -> None:
        self._store.mend()
        done = {(row.scenario, row.task, row.place) for row in self._store.read()}
        together = self._job.recipe.batch.pairs_per_step
        with Progress(*Progress.get_default_columns(), console=console) as progress:
            for scenario in self._scenarios:
                for task in TASKS:
                    left = [
                        (place, pair)
                        for place, pair in enumerate(scenario.pairs)
                        if (scenario.name, task, place) not in done
                    ]
                    groups = [left[at : at + together] for at in range(0, len(left), together)]
                    name = f"{scenario.name}, {task}"
                    for group in progress.track(groups, description=name):
                        self._measure_group(scenario.name, task, group)

    def _measure_group(self, scenario: str, task: Task, group: Sequence[tuple[int, Pair]]) -> None:
        found = self._gradients.measure([pair for _, pair in group], task)
        for (place, pair), one in zip(group, found, strict=True):
            vectors = self.projection.vectors(one.gradients) if one.gradients is not None else {}
            kept = {
                block: float(vector.double().square().sum()) for block, vector in vectors.items()
            }
            self._store.add(_row(scenario, place, pair, task, one, kept), vectors)

    def _places_by_size(self) -> int | None:
        halves = 2 * self._job.size * len(self._scenarios)
        whole = 4 * halves * sum(self._gradients.sizes.values()) <= _WHOLE_BYTES
        return None if whole else _PLACES

    def _summed_up(
        self, controls: tuple[MatrixControl, ...], findings: MatrixFindings
    ) -> MatrixSummary:
        job = self._job
        return MatrixSummary(
            format=FORMAT,
            checkpoint=job.recipe.checkpoint,
            weights=self.weights,
            rollouts={task: job.recipe.task(task).rollouts for task in TASKS},
            pairs=job.size,
            seed=job.seed,
            concept_rule=CONCEPT_RULE,
            projection=ProjectionFacts(
                numbers=self.projection.sizes,
                kept=self.projection.lengths,
                error=measured_error(self._store.read()),
            ),
            controls=controls,
            beside=tuple(str(folder) for folder in job.beside),
            findings=findings,
            sentences=tuple(sentences(findings)),
        )


def matrix_notes(summary: MatrixSummary) -> Iterator[str]:
    """How the numbers were made: controls, and what a projection costs."""
    shown = [f"{one.name} {one.found:.4f} ({one.expected:g})" for one in summary.controls]
    yield f"Controls, what was found and what is right: {', '.join(shown)}."
    kept, numbers = summary.projection.kept, summary.projection.numbers
    if kept == numbers:
        yield "Gradients were kept whole."
        return
    longest = max(kept.values())
    yield (
        f"Gradients were projected to at most {longest} numbers of each block; on themselves the "
        f"error of a cosine near 0 was measured as {summary.projection.error['all']:.4f}."
    )


def _named_tables(folder: Path) -> list[PairTable]:
    """The tables of another folder, whose names say where they are from."""
    return [
        table._replace(scenario=f"{folder.name}/{table.scenario}") for table in read_matrix(folder)
    ]


def _chosen(scenario: Scenario, job: MatrixJob) -> Scenario:
    """The pairs of a scenario that are measured.

    Raises:
        UserError: if there are too few.
    """
    found = list(distinct_pairs(scenario.pairs, job.seed))
    if len(found) < job.size:
        raise UserError(
            f"{scenario.name} has {len(found)} pairs of two halves and pictures that come once, "
            f"not {job.size}.",
            hint=as_typed("--matrix-pairs", len(found))
            if found
            else "Measure a set of pairs: --scenario aligned",
        )
    return scenario._replace(pairs=found[: job.size])


def distinct_pairs(pairs: Sequence[Pair], seed: int) -> Iterator[Pair]:
    """Pairs with halves and pictures that have not come before, in the order of the seed."""
    order = sorted(pairs, key=lambda pair: pair.id)
    random.Random(seed_for(seed, "pairs", 0, "matrix")).shuffle(order)
    seen: set[str] = set()
    for pair in order:
        if pair.understanding is None or pair.generation is None:
            continue
        und, gen = pair.understanding, pair.generation
        marks = {f"und {und.source}/{und.id}", f"gen {gen.source}/{gen.id}"}
        marks |= {hashlib.sha256(one).hexdigest() for one in (und.image, gen.image) if one}
        if not marks & seen:
            seen |= marks
            yield pair


def _row(
    scenario: str, place: int, pair: Pair, task: Task, found: HalfGradient, kept: dict[str, float]
) -> HalfRow:
    half = pair.understanding if task == "und" else pair.generation
    assert half is not None and pair.understanding is not None
    concepts = concepts_of(half)
    return HalfRow(
        scenario=scenario,
        place=place,
        pair=pair.id,
        task=task,
        half=f"{half.source}/{half.id}",
        no=says_no(pair.understanding),
        concepts=None if concepts is None else tuple(sorted(concepts)),
        reward=found.reward,
        squares=found.squares,
        kept=kept,
    )


def _of(rows: Sequence[HalfRow], scenario: Scenario, task: Task) -> list[HalfRow]:
    mine = {row.place: row for row in rows if row.scenario == scenario.name and row.task == task}
    return [mine[place] for place in range(len(scenario.pairs))]


def _settings(
    job: MatrixJob, scenarios: Sequence[Scenario], measurement: _Measurement
) -> dict[str, Any]:
    """All that a row depends on."""
    sets = {}
    for scenario in scenarios:
        ids = "\n".join(sorted(pair.id for pair in scenario.pairs))
        digest = hashlib.sha256(ids.encode()).hexdigest()
        sets[scenario.name] = {"from": scenario.origin, "pairs": digest}
    return {
        "recipe": msgspec.to_builtins(job.recipe),
        "weights": measurement.weights,
        "matrix": {"scenarios": sets, "pairs": job.size, "places": measurement.places},
        "seed": job.seed,
        "weighting": job.weighting,
    }
