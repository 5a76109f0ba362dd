"""The figure of gradients, from pair sets and probes written by hand."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from support import example_run as example
from support import small_training as small

from pairuni_eval.errors import UserError
from pairuni_eval.records import GradientRow
from pairuni_train.config import find_recipe
from pairuni_train.pair_data.dataset import write_pairs
from pairuni_train.study.gradient_findings import findings
from pairuni_train.study.gradients import GradientFigure, make_gradients
from pairuni_train.study.jobs import StudyOptions, TrainJob, run_folder
from pairuni_train.study.pages import write_gradients
from pairuni_train.study.probes import Probes, plan_probes, probe_folder, run_probes
from pairuni_train.study.scenario_overlap import ProbeBatches, batches_in, scenario_overlap
from pairuni_train.study.spec import Experiment, StudyArm, find_experiment

SEEDS, BATCHES, PAIRS = 2, 4, 4
ARMS = ("PairUG", "low similarity", "random")
Cosine = Callable[[str, int, int], float | None]


@pytest.fixture
def experiment() -> Experiment:
    """Figure 8 with three of its scenarios."""
    found = find_experiment("figure8").on(tiny=True)
    arms = tuple(arm for arm in found.arms if arm.name in ARMS)
    return msgspec.structs.replace(
        found, arms=arms, batches={"tiny": BATCHES}, pairs_per_batch={"tiny": PAIRS}
    )


@pytest.fixture
def options(tmp_path: Path) -> StudyOptions:
    """A root with the pair sets of two scenarios; the third is one of them, re-paired."""
    folder = tmp_path / "root" / "pairs" / "preset"
    write_pairs(folder / "pairug.parquet", small.tiny_pairs(16))
    write_pairs(folder / "random.parquet", small.tiny_pairs(16, seed=1))
    write_pairs(folder / "low_similarity.parquet", small.tiny_pairs(20, seed=2)[::-1])
    return StudyOptions(find_recipe("tiny"), SEEDS, tmp_path / "root")


def row(scenario: str, step: int, block: str, cosine: float | None) -> GradientRow:
    tasks = (4.0, 2 * cosine, 1.0) if cosine is not None else (0.0, 0.0, 1.0)
    halves = (1.0, 0.25, 1.0)
    return GradientRow(
        scenario=scenario,
        step=step,
        block=block,
        preconditioned=False,
        tasks=tasks,
        und_halves=halves,
        gen_halves=halves,
        und_live=0.5,
        gen_live=0.75,
        rows=PAIRS,
    )


def write_probes(probes: Probes, cosine: Cosine, *, batches: int = BATCHES) -> None:
    """Probes whose cosine of scenario, seed and batch is given; halved in the block `norm`."""
    for seed in range(SEEDS):
        rows = []
        for scenario in probes.scenarios.values():
            for step in range(batches):
                found = cosine(scenario, seed, step)
                rows.append(row(scenario, step, "all", found))
                rows.append(row(scenario, step, "norm", None if found is None else found / 2))
        write_rows(probe_folder(probes, seed), rows, angle=0.5 + 1e-4 * seed)


def write_rows(folder: Path, rows: Sequence[GradientRow], *, angle: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [msgspec.json.encode(one) + b"\n" for one in rows]
    (folder / "gradients.jsonl").write_bytes(b"".join(lines))
    controls = [["same", 1.0, 1.0], ["angle", 0.5, angle]]
    encoded = [msgspec.json.encode(one) + b"\n" for one in controls]
    (folder / "controls.json").write_bytes(b"".join(encoded))


def level(scenario: str, seed: int, step: int) -> float:
    """PairUG .30 to .37, random .2 below it in each batch, the others around 0."""
    place = 0.01 * (BATCHES * seed + step)
    return {"pairug": 0.3 + place, "random": 0.1 + place}.get(scenario, place - 0.035)


def figure_of(
    experiment: Experiment, options: StudyOptions, cosine: Cosine = level
) -> GradientFigure:
    probes = plan_probes(experiment, options)
    write_probes(probes, cosine)
    return make_gradients(probes)


def test_numbers_and_contrasts_by_hand(experiment: Experiment, options: StudyOptions) -> None:
    figure = figure_of(experiment, options)
    assert [one.name for one in figure.scenarios] == list(ARMS)
    ours = figure.scenarios[0].overall
    assert (ours.batches, ours.silent) == (SEEDS * BATCHES, 0)
    assert ours.cosine.value == pytest.approx(0.335)
    assert ours.ratio.value == pytest.approx(2.0) and ours.conflict.value == 0
    # reliability of both tasks 2 x .25 / 1.25 = .4
    assert ours.ceiling.value == pytest.approx(0.4)
    assert ours.corrected.value == pytest.approx(0.335 / 0.4)
    assert [one.cosine.value for one in figure.scenarios[0].blocks] == pytest.approx([0.1675])
    assert figure.blocks == ("norm",)
    low, random = figure.against
    assert (low.test, random.test) == ("not paired", "paired")
    assert random.overlap.und == 1 and random.overlap.gen < 1
    assert random.contrast.difference.value == pytest.approx(0.2)
    assert random.contrast.p == pytest.approx(2 / 2**8), "all eight batches lie on one side"
    # of the 12,870 allotments of 8 and 8 batches two are as far apart, and about 16 of 100,000
    assert low.contrast.p == pytest.approx(2 / 12_870, rel=0.8)
    assert low.contrast.corrected == pytest.approx(2 * (low.contrast.p or 0)), "Holm over two"
    assert [one.stance for one in figure.alignments] == ["agree", "cannot tell", "agree"]
    assert {one.contrast.word for one in figure.against} == {"agree more"}


def test_what_is_said_follows_from_the_figures(
    experiment: Experiment, options: StudyOptions
) -> None:
    told = list(findings(figure_of(experiment, options)))
    assert told[0] == (
        "The tiny world shows a difference in 2 of 2: PairUG against low similarity: agree more; "
        "PairUG against random: agree more."
    )
    assert "The two tasks' gradients agree: PairUG, random." in told
    assert "Neither agreement nor conflict of the two tasks' gradients can be told: low" in told[2]
    (against,) = [line for line in told if line.startswith("PairUG against random")]
    assert (
        "gradients agree more, p = .008 (one test of all shared parameters and 1 block in 8 "
        in against
    )
    assert against.endswith(" (paired: every batch has the same questions).")


def test_no_difference_is_not_claimed_to_be_none(
    experiment: Experiment, options: StudyOptions
) -> None:
    def fighting(scenario: str, seed: int, step: int) -> float | None:
        if scenario == "random" and seed == step == 0:
            return None
        return -0.3 - 0.01 * (BATCHES * seed + step)

    told = list(findings(figure_of(experiment, options, fighting)))
    assert told[0].startswith("The tiny world does not show that the pairs change how far")
    assert "The two tasks' gradients fight: PairUG, low similarity, random." in told
    assert "Batches in which a task had no gradient at all, left out: random 1." in told
    assert "(one test of all shared parameters and 1 block in 7 batches)" in "\n".join(told)
    (random,) = [line for line in told if line.startswith("PairUG against random")]
    assert "left out: 1 in which a task had no gradient" in random


def test_a_probe_that_is_not_finished_is_said_to_be_left_out(
    experiment: Experiment, options: StudyOptions
) -> None:
    probes = plan_probes(experiment, options)
    write_probes(probes, level)
    (probe_folder(probes, 1) / "gradients.jsonl").unlink()
    figure = make_gradients(probes)
    assert figure.unfinished == (1,)
    assert (
        "Probes that are not finished, left out with their 4 batches of each scenario: seed 1."
        in findings(figure)
    )


def test_the_page_has_controls_first_and_the_paper_apart(
    experiment: Experiment, options: StudyOptions, tmp_path: Path
) -> None:
    figure = figure_of(experiment, options)
    page = write_gradients(figure, tmp_path / "out", command="again", figures=["svg"])
    assert page.name == "figure.html" and "Do the gradients fight?" in page.read_text()
    text = page.with_suffix(".md").read_text()
    assert text.index("angle 0.5001 (right: 0.5)") < text.index("shows a difference")
    ours, paper = text.split("## What the paper prints")
    assert "0.12" in paper and "| 0.12 |" not in ours and "none of it may be read beside" in paper
    assert "No arm of these scenarios has been measured here yet" in ours
    lines = list(csv.DictReader((tmp_path / "out" / "figure.csv").open()))
    assert [(line["scenario"], line["block"]) for line in lines[:2]] == [
        ("PairUG", "all"),
        ("PairUG", "norm"),
    ]
    assert float(lines[0]["cosine"]) == pytest.approx(0.335)
    assert b"#ffffff" in (tmp_path / "out" / "figure.svg").read_bytes()


def test_without_a_live_gradient_there_is_a_page_and_no_chart(
    experiment: Experiment, options: StudyOptions, tmp_path: Path
) -> None:
    figure = figure_of(experiment, options, lambda *_: None)
    page = write_gradients(figure, tmp_path / "out", command="again", figures=["svg"])
    assert page.is_file()
    assert "for a paper" not in page.with_suffix(".md").read_text()
    assert not (tmp_path / "out" / "figure.svg").exists()


def test_finished_probes_are_reused_and_torn_ones_are_not_read(
    experiment: Experiment, options: StudyOptions
) -> None:
    probes = plan_probes(experiment, options)
    write_probes(probes, level)
    assert run_probes(probes, lambda what: None) == []
    assert not (options.root / "logs").exists(), "nothing was run"
    for seed in range(SEEDS):
        file = probe_folder(probes, seed) / "gradients.jsonl"
        file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(UserError, match="No probe of figure8 is finished"):
        make_gradients(probes)


def test_more_batches_than_were_asked_for_are_not_read(
    experiment: Experiment, options: StudyOptions
) -> None:
    probes = plan_probes(experiment, options, batches=3)
    write_probes(probes, level, batches=4)
    assert make_gradients(probes).scenarios[0].overall.batches == SEEDS * 3


def test_scenarios_that_cannot_be_probed_are_refused(
    experiment: Experiment, options: StudyOptions
) -> None:
    def asked(*arms: StudyArm) -> Experiment:
        return msgspec.structs.replace(experiment, arms=arms)

    pairuni = StudyArm(name="PairUG", trained_as="pairuni")
    said = "Unknown pair set 'pairugg' of the arm 'odd' of figure8. Did you mean 'pairug'?"
    with pytest.raises(UserError, match=re.escape(said)):
        plan_probes(
            asked(pairuni, StudyArm(name="odd", trained_as="pairuni", pairs="pairugg")), options
        )
    with pytest.raises(UserError, match="has the pairs 'pairug' of the arm 'PairUG'"):
        plan_probes(asked(pairuni, StudyArm(name="linear", trained_as="pairuni_linear")), options)
    other = StudyArm(name="loose", trained_as="retrieved", changes={"retrieval.threshold": 0.5})
    with pytest.raises(UserError, match="cut from the same rows"):
        plan_probes(asked(pairuni, other), options)
    too_many = plan_probes(experiment, options, batches=5)
    with pytest.raises(UserError, match="The pairs of PairUG fill 4 batches of 4") as refused:
        run_probes(too_many, lambda what: None)
    assert refused.value.hint == "--batches 4"


def test_what_batches_share(options: StudyOptions) -> None:
    folder, pairs = options.root / "pairs" / "preset", small.tiny_pairs(16)
    write_pairs(folder / "aligned.parquet", pairs[:8])
    write_pairs(folder / "half.parquet", pairs[8:])
    write_pairs(folder / "g_only.parquet", pairs[2:10])
    whole = ProbeBatches(folder, 1, 8, SEEDS)  # one batch: all of the eight pairs
    assert scenario_overlap("aligned", "aligned", whole).words == (
        "every batch has the same questions and prompts"
    )
    assert scenario_overlap("aligned", "half", whole).words == "batches share no row"
    some = scenario_overlap("aligned", "g_only", whole)
    assert not some.paired and some == (0.75, 0.75)
    assert some.words == "batches share 75 % of the questions and 75 % of the prompts"
    again = scenario_overlap("pairug", "random", ProbeBatches(folder, BATCHES, PAIRS, SEEDS))
    assert again.paired and again.words == "every batch has the same questions"
    assert (batches_in("pairug", whole._replace(pairs=3)), batches_in("half", whole)) == (5, 1)
    with pytest.raises(UserError, match="There is no pair set"):
        scenario_overlap("pairug", "u_only", whole)


def test_scores_are_set_against_cosines_across_arms(
    experiment: Experiment, options: StudyOptions
) -> None:
    every = find_experiment("figure8").arms
    arms = tuple(arm for arm in every if arm.name in (*ARMS, "retrieved"))
    four = msgspec.structs.replace(experiment, arms=arms)
    folder = options.root / "pairs" / "preset"
    write_pairs(folder / "retrieved.parquet", small.tiny_pairs(16, seed=3))
    skills = (0.9, 0.5, 0.3, 0.7)
    for arm, skill in zip(arms, skills, strict=True):
        run = run_folder(TrainJob(arm, 0), "tiny-mmmu", options)
        card = example.choice_cards(40)[:1]
        example.write_run(run, skill=skill, count=40, benchmarks=card, with_images=False)
    figure = figure_of(four, options)
    ((title, found),) = figure.correlations
    assert title == "tiny MMMU" and len(found.arms) == 4
    cosines = [one.overall.cosine.value for one in figure.scenarios]
    scores = [point.score for point in found.arms]
    assert [point.cosine for point in found.arms] == cosines
    assert scores[0] > scores[3] > scores[1] > scores[2]
    assert found.value == pytest.approx(float(np.corrcoef(cosines, scores)[0, 1]))
