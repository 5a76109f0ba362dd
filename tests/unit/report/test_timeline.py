"""The timeline: points by the checkpoints' own records, words by tests alone, the trade-off."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from support.made_up_timelines import (
    timeline_page,
    write_point,
    write_probe,
    write_runs,
)
from support.renamed_runs import change_card, rename_run

from pairuni_eval.errors import UserError
from pairuni_eval.report.headline_cache import HeadlineCache
from pairuni_eval.report.timeline import build_timeline, state_of
from pairuni_eval.report.timeline_numbers import (
    measured_benchmarks,
    page_of_tests,
    understanding_and_generation,
)
from pairuni_eval.report.trade_off import PathOfArm, PathPoint, pareto_front, trade_off
from pairuni_eval.report.trajectories import TimedRun, Trajectories, trajectories
from pairuni_eval.stats.compare import Word, compare_page
from pairuni_eval.stats.tables import Tables
from pairuni_eval.store.read import StoredRun


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_runs(tmp_path_factory.mktemp("timeline") / "runs")


def ordered(folders: list[Path]) -> Trajectories:
    cache = HeadlineCache(folders[0] / "none.json")
    opened = [StoredRun(folder) for folder in folders]
    return trajectories(
        [TimedRun(run.folder.name, Tables(run), cache.headlines(run)) for run in opened]
    )


def every(runs: Path) -> list[Path]:
    return sorted(path for path in runs.iterdir() if path.is_dir())


def test_points_stand_where_the_checkpoints_say(runs: Path) -> None:
    found = ordered(every(runs))
    places = {
        arm.name: {
            step: [one.place for one in held] for step, held in arm.of("tiny-mmstar").items()
        }
        for arm in found.arms
    }
    assert places == {
        "grpo on tiny": {0: ["base"], 10: ["grpo-0-10"], 20: ["grpo-0-20"]},
        "pairuni on tiny": {
            0: ["base"],
            10: ["pairuni-0-10", "pairuni-1-10"],
            20: ["pairuni-0-20", "pairuni-1-20"],
        },
    }
    assert found.left_out == ()


def test_a_run_without_a_step_and_one_of_another_kind_are_left_out(
    runs: Path, tmp_path: Path
) -> None:
    write_point(tmp_path / "nobody", (0.5, 0.5))
    other = rename_run(runs / "grpo-0-10", tmp_path / "other", "other")
    card = StoredRun(other).card
    asked = {
        name: msgspec.structs.replace(one, revision="v2") for name, one in card.benchmarks.items()
    }
    change_card(other, benchmarks=asked)
    found = ordered([*every(runs), tmp_path / "nobody", other])
    assert list(found.left_out) == [
        "nobody: its checkpoint does not say its training step",
        "other, tiny-mmstar: another kind of number than most of these runs",
        "other, tiny-geneval: another kind of number than most of these runs",
    ]
    assert [one.place for one in found.arms[0].of("tiny-mmstar")[10]] == ["grpo-0-10"]


def test_a_number_is_the_runs_own_or_the_mean_over_seeds(runs: Path) -> None:
    found = ordered(every(runs))
    benchmark = next(one for one in measured_benchmarks(found) if one.name == "tiny-mmstar")
    points = {arm.name: held for arm, held in benchmark.arms}
    held = found.arms[0].of("tiny-mmstar")[10][0].headlines["tiny-mmstar"].row
    assert points["grpo on tiny"][1].estimate == held.estimate
    mean = points["pairuni on tiny"][1]
    assert len(mean.by_seed) == 2
    assert mean.estimate.value == pytest.approx(sum(mean.by_seed) / 2)


def test_words_are_those_of_a_comparison_page(runs: Path) -> None:
    folders = [runs / name for name in ("base", "grpo-0-10", "grpo-0-20")]
    (only,) = page_of_tests(ordered(folders)).ends
    ours, theirs = (Tables(StoredRun(runs / name)) for name in ("grpo-0-20", "base"))
    page = compare_page((ours,), {"base": (theirs,)})["base"]
    assert {name: (row.word, row.corrected, row.joint) for name, row in only.rows.items()} == {
        row.benchmark: (row.word, row.corrected, row.joint) for row in page.headlines
    }


def test_all_arms_are_one_page_of_tests(runs: Path) -> None:
    grpo, pairuni = page_of_tests(ordered(every(runs))).ends
    assert grpo.comparisons[0].family == pairuni.comparisons[0].family
    assert all(row.word is Word.BETTER for row in pairuni.rows.values())
    assert [row.word for row in grpo.rows.values()] != [Word.BETTER, Word.BETTER]
    for name, row in pairuni.rows.items():
        assert row.corrected is not None and row.p is not None
        assert row.corrected >= row.p, name


def test_a_folder_that_is_no_run_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        build_timeline([tmp_path / "nothing"], tmp_path / "out")
    assert refused.value.message == (
        f"None of these runs has a training step: {tmp_path / 'nothing'} is not a run folder: "
        "it has no run.json."
    )


def test_a_training_that_nobody_measured_is_named_in_what_comes_next(tmp_path: Path) -> None:
    training = tmp_path / "mine"
    training.mkdir()
    (training / "metrics.jsonl").write_text("")
    with pytest.raises(UserError) as refused:
        build_timeline([training], tmp_path / "out")
    assert refused.value.hint == (
        f"Measure its checkpoints: pairuni-eval follow {training} --evaluate SUITE"
    )


def test_crosses_are_the_paired_intervals_to_the_first_point(runs: Path) -> None:
    found = ordered([runs / name for name in ("base", "grpo-0-20")])
    picture = understanding_and_generation(measured_benchmarks(found), found)
    assert picture is not None
    first, last = picture.paths[0].marks
    assert first.cross == "" and last.cross
    (only,) = page_of_tests(found).ends
    wide = only.rows["tiny-mmstar"]
    assert wide.interval is not None and wide.error is not None
    left, right = _ends(last.cross)
    per_unit = (picture.x_ticks[-1].place - picture.x_ticks[0].place) / (
        float(picture.x_ticks[-1].label) - float(picture.x_ticks[0].label)
    )
    assert (right - left) / per_unit == pytest.approx(2 * 100 * 2.0 * wide.error, rel=0.05)


def _ends(cross: str) -> tuple[float, float]:
    """Where the horizontal line of a cross begins and ends."""
    start, _, rest = cross.removeprefix("M").partition("H")
    return float(start.split()[0]), float(rest.partition("M")[0])


def test_the_front_holds_what_nothing_is_above() -> None:
    points = [PathPoint(n, *at) for n, at in enumerate([(1, 5), (2, 4), (2, 3), (0, 5), (3, 1)])]
    assert sorted(one.step for one in pareto_front(points)) == [0, 1, 4]
    assert trade_off("x", "a", [PathOfArm("a", 0, (points[0],))]) is None


def test_the_page_says_what_it_may(tmp_path: Path) -> None:
    page = timeline_page(tmp_path)
    html, markdown = page.read_text(), page.with_name("timeline.md").read_text()
    for words in ("chosen on the same rows", "Understanding against generation", "tiny"):
        assert words in html
    assert "step 20 against step 0" in markdown
    assert "Cosine of the two tasks" in html
    assert 'id="reproduce"' not in html


def test_two_builds_are_equal_and_make_no_headline_twice(runs: Path, tmp_path: Path) -> None:
    first = build_timeline([runs], tmp_path / "out").read_bytes()
    assert build_timeline([runs], tmp_path / "out").read_bytes() == first
    cache = HeadlineCache(tmp_path / "out" / "headlines.json")
    for path in every(runs):
        cache.headlines(StoredRun(path))
    assert cache.made == 0


def test_runs_without_steps_are_an_error_with_the_way_on(tmp_path: Path) -> None:
    write_point(tmp_path / "runs" / "nobody", (0.5, 0.5))
    with pytest.raises(UserError, match="training step") as failure:
        build_timeline([tmp_path / "runs"], tmp_path / "out")
    assert "nobody" in failure.value.message and failure.value.hint


def test_a_watch_sees_a_run_that_ends_and_a_probe_that_grows(runs: Path, tmp_path: Path) -> None:
    named = [tmp_path / "runs", write_probe(tmp_path / "training", steps=6)]
    assert state_of([tmp_path / "no"]) == ((), ())
    rename_run(runs / "base", named[0] / "base", "base")
    before = state_of(named)
    assert state_of(named) == before
    rename_run(runs / "grpo-0-10", named[0] / "one", "one")
    after = state_of(named)
    assert after != before
    with (named[1] / "gradients.jsonl").open("a") as stream:
        stream.write("{}\n")
    assert state_of(named) != after
