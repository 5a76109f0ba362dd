"""Curves and gradients of training in a report, from files whose numbers are known."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from support import example_run as example

from pairuni_eval.errors import UserError
from pairuni_eval.records import GradientRow
from pairuni_eval.report.build import build_report
from pairuni_eval.report.curves import curves, training_arms
from pairuni_eval.report.gradients import gradients
from pairuni_eval.store.read import StoredRun
from pairuni_eval.store.training import keep_training, read_metrics, training_folder


def metrics(folder: Path, rewards: list[float], *, tail: str = "") -> Path:
    """A training folder with these rewards of understanding, and a constant one of generation."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"step": n, "reward/und": one, "reward/gen": 0.25, "live_groups/und": 0.5}
        for n, one in enumerate(rewards)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metrics.jsonl").write_text(text + tail)
    return folder


def probe(folder: Path, cosines: list[float], *, scenario: str = "pairuni") -> Path:
    """A training folder whose gradients have these cosines, and halves of cosine 0.5."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        msgspec.json.encode(
            GradientRow(
                scenario=scenario,
                step=10 * n,
                block=block,
                preconditioned=False,
                tasks=(4.0, 2.0 * cosine * sign, 1.0),
                und_halves=(1.0, 0.5, 1.0),
                gen_halves=(1.0, 0.5, 1.0),
                und_live=1.0,
                gen_live=1.0,
                rows=8,
            )
        )
        for n, cosine in enumerate(cosines)
        for block, sign in (("all", 1.0), ("head", 1.0), ("lm_0", -1.0))
    ]
    (folder / "gradients.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    return folder


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    folder = metrics(tmp_path / "t", [0.1, 0.2], tail='{"step": 2, "rew')
    assert [row["reward/und"] for row in read_metrics(folder)] == [0.1, 0.2]


@pytest.mark.parametrize("line", ["nonsense", "[1]", '{"loss": 1.0}', '{"step": "one"}'])
def test_a_line_that_is_no_step_is_named(tmp_path: Path, line: str) -> None:
    folder = metrics(tmp_path / "t", [0.1], tail=line + "\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 2: cannot be read"):
        read_metrics(folder)


def test_a_step_that_failed_reads_as_no_number(tmp_path: Path) -> None:
    folder = metrics(tmp_path / "t", [0.1, float("nan"), 0.3])
    found = curves({"pairuni": [folder]})
    assert found is not None
    assert found.rewards[0].lines[0].line.count("M") == 2


def test_what_was_taught_has_losses_in_place_of_rewards(tmp_path: Path) -> None:
    folder = tmp_path / "sft"
    folder.mkdir()
    rows = [{"step": n, "loss": 1.0, "loss/und": 2.0 - n, "loss/gen": 0.5} for n in range(2)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rewarded = metrics(tmp_path / "grpo", [0.1, 0.2])
    found = curves({"sft": [folder], "grpo": [rewarded]})
    assert found is not None
    assert [row.name for row in found.taught] == ["sft"]
    assert [row.name for row in found.rewarded] == ["grpo"]
    und, gen = found.taught[0].losses
    assert und == (2.0, 1.0) and gen == (0.5, 0.5)
    assert [chart.title for chart in found.losses] == ["Loss, understanding", "Loss, generation"]
    assert [[one.name for one in chart.lines] for chart in found.losses] == [["sft"]] * 2
    alone = curves({"grpo": [rewarded]})
    assert alone is not None and not alone.losses and not alone.taught


def test_a_training_folder_or_the_run_that_holds_one(tmp_path: Path) -> None:
    folder = metrics(tmp_path / "run" / "training", [0.1])
    assert training_folder(tmp_path / "run") == folder == training_folder(folder)
    with pytest.raises(UserError, match="is not a training folder"):
        training_folder(tmp_path)


def test_first_and_last_tenth_and_the_mean_over_seeds(tmp_path: Path) -> None:
    one = metrics(tmp_path / "1", [0.0, 0.2, *[0.5] * 16, 0.8, 1.0])
    two = metrics(tmp_path / "2", [0.2, 0.4, *[0.5] * 16, 0.6, 0.8])
    found = curves({"PairGRPO": [one, two], "GRPO": [one]})
    assert found is not None and found.names == ("PairGRPO", "GRPO")
    first, second = found.rows
    assert (first.seeds, first.steps, second.seeds) == (2, 20, 1)
    assert first.rewards[0] == pytest.approx((0.2, 0.8))
    assert second.rewards[0] == pytest.approx((0.1, 0.9))
    assert first.rewards[1] == pytest.approx((0.25, 0.25)) and first.live == (0.5, None)
    assert found.rewards[0].lines[0].band and not found.rewards[0].lines[1].band


def test_without_metrics_there_are_no_curves(tmp_path: Path) -> None:
    assert curves({}) is None
    assert curves({"a": [probe(tmp_path / "p", [0.1])]}) is None


def test_the_own_arm_comes_first(tmp_path: Path) -> None:
    ours = StoredRun(example.write_run(tmp_path / "a", name="mine", count=2))
    theirs = StoredRun(example.write_run(tmp_path / "b", name="other", count=2))
    given = {"GRPO": [tmp_path / "1"], "mine": [tmp_path / "2"], "third": [tmp_path / "3"]}
    assert list(training_arms(ours, {"GRPO": theirs}, given)) == ["mine", "GRPO", "third"]
    del given["mine"]
    assert list(training_arms(ours, {"GRPO": theirs}, given)) == ["third", "GRPO"]
    metrics(theirs.folder / "training", [0.1])
    assert list(training_arms(ours, {"GRPO": theirs}, {})) == ["GRPO"]


def test_gradients_in_words(tmp_path: Path) -> None:
    """Reliability 2 * 0.5 / 1.5 = 2/3 for both tasks, which is the ceiling as well."""
    arms = {
        "pairuni": [probe(tmp_path / "a", [0.10, 0.12, 0.14, 0.15, 0.15, 0.16, 0.18, 0.20])],
        "GRPO": [probe(tmp_path / "b", [-0.10, -0.12, -0.14, -0.15, -0.15, -0.16, -0.18, -0.20])],
    }
    found = gradients(arms, {})
    assert found is not None and found.names == ("pairuni", "GRPO")
    ours, theirs = (arm.overall for arm in found.raw)
    assert ours.cosine.value == pytest.approx(0.15) and theirs.cosine.value == pytest.approx(-0.15)
    assert ours.ceiling.value == pytest.approx(2 / 3)
    assert ours.corrected.value == pytest.approx(0.225)
    assert ours.ratio.value == pytest.approx(2.0) and ours.conflict.value == 0.0
    assert theirs.conflict.value == 1.0
    assert found.raw[0].conflicting == ("lm_0",)
    assert found.answer.startswith(
        "They agree in some blocks and fight in others. pairuni: mean cosine 0.150"
    )
    assert found.answer.endswith("Against GRPO: agree more in some blocks and less in others.")
    assert found.noise.startswith("pairuni: noise ceiling 0.667, corrected 0.225")
    (contrast,) = found.comparisons
    assert contrast.sentence.startswith("pairuni against GRPO: gradients agree more in some")
    assert [one.stance for one in found.alignments] == [
        "agree in some blocks and fight in others"
    ] * 2
    assert found.over_steps is not None and len(found.over_steps.lines) == 2
    assert [chart.title for chart in found.by_block] == [
        "Median cosine, head",
        "Median cosine, lm 0",
    ]
    assert [row.label for row in found.by_block[0].rows] == ["pairuni", "GRPO"]
    ends = [[tick.label for tick in chart.ticks] for chart in found.by_block]
    assert ends[0] != [], "each block has ticks of its own"


def test_blocks_that_fight_are_named(tmp_path: Path) -> None:
    found = gradients({"a": [probe(tmp_path / "a", [-0.1] * 5 + [-0.2] * 5)]}, {})
    assert found is not None
    assert found.answer.startswith(
        "They agree in some blocks and fight in others. a: mean cosine -0"
    )
    assert "; by block head -0.150 [-0.200, -0.100], lm 0 +0.150" in found.answer
    few = gradients({"a": [probe(tmp_path / "b", [0.1, 0.2])]}, {})
    assert few is not None and few.answer.startswith("Too few batches to tell.")


def test_a_probe_of_several_scenarios_shows_each(tmp_path: Path) -> None:
    folder = probe(tmp_path / "a", [0.1] * 6, scenario="pairug")
    more = probe(tmp_path / "b", [0.3] * 6, scenario="random").joinpath("gradients.jsonl")
    with (folder / "gradients.jsonl").open("ab") as lines:
        lines.write(more.read_bytes())
    found = gradients({"probe": [folder]}, {})
    assert found is not None and found.names == ("pairug", "random")


def test_arms_that_agree_more_score_higher(tmp_path: Path) -> None:
    arms = {
        name: [probe(tmp_path / name, [cosine] * 6)]
        for name, cosine in (("a", 0.1), ("b", 0.2), ("c", 0.3), ("d", 0.4))
    }
    scores = {"POPE": {"a": 0.5, "b": 0.6, "c": 0.7, "d": 0.8}, "MME": {"a": 1.0, "b": 2.0}}
    found = gradients(arms, scores)
    assert found is not None
    ((title, correlation),) = found.correlations  # MME has too few arms
    assert title == "POPE" and correlation.value == pytest.approx(1.0)


def test_a_run_keeps_the_training_of_its_checkpoint(tmp_path: Path) -> None:
    trained = probe(metrics(tmp_path / "train", [0.1, 0.2]), [0.1] * 6)
    (trained / "checkpoint-2").mkdir()
    run = example.write_run(tmp_path / "run", name="checkpoint-2", count=2)
    keep_training(run, str(trained / "checkpoint-2"))
    keep_training(run, "tiny")
    kept = {path.name: path.read_bytes() for path in (run / "training").iterdir()}
    assert kept == {
        name: (trained / name).read_bytes() for name in ("metrics.jsonl", "gradients.jsonl")
    }
    page = build_report(StoredRun(run), tmp_path / "out", {}).read_text()
    assert 'id="training"' in page and 'id="gradients"' in page
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["gradients"]["arms"][0]["all"]["cosine"]["value"] == pytest.approx(0.1)


def test_a_checkpoint_that_no_training_wrote_keeps_nothing(tmp_path: Path) -> None:
    run = example.write_run(tmp_path / "run", count=2)
    (tmp_path / "checkpoint").mkdir()
    keep_training(run, str(tmp_path / "checkpoint"))
    assert not (run / "training").exists()
    page = build_report(StoredRun(run), tmp_path / "out", {}).read_text()
    assert 'id="training"' not in page and "Not measured." in page
