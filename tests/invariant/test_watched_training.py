"""Trainings that measure their checkpoints: killed and continued, stopped by their rule, followed.

A run names its checkpoint by the path, so runs that are compared lie at one path, one after the
other.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
from support import small_training as small
from support.command_line import Cli
from support.run_files import contents, lines
from support.training_fork_server import Starter

from pairuni_eval.stats.best_step import best_step, values_by_step
from pairuni_eval.store.evaluations import read_evaluations, read_plan, run_of
from pairuni_eval.store.read import StoredRun
from pairuni_eval.store.training import checkpoint_steps
from pairuni_eval.tiny import bagel
from pairuni_train.pair_data.dataset import write_pairs


@pytest.fixture(scope="module")
def starter(fork_server: str) -> Starter:
    return Starter(fork_server)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    pairs = small.tiny_pairs(8)
    write_pairs(folder / "pairug.parquet", pairs)
    bagel.save(bagel.build(0, small.BAGEL), folder / "bagel", recipe="none", step=0)
    return folder


def reinforced(base: Path, out: Path, *, steps: int = 4, **changes: object) -> list[object]:
    """A run whose weights do not move: no evaluation improves on the first one."""
    settings = {
        **small.SMALL,
        "pairs_per_step": 2,
        "gen.decoding.cfg_scale": 1.0,
        "checkpoint_every": steps,
        "lr": 0.0,
        **{key.replace("__", "."): value for key, value in changes.items()},
    }
    return [*_words("run", base, out, settings), "--steps", steps]


def taught(base: Path, out: Path, *, steps: int = 4) -> list[object]:
    settings = {
        **{"checkpoint": base / "bagel", "pairs_per_step": 4, "checkpoint_every": steps},
        **{"probe.every": 0, "warmup": 2, "lr": 1e-3, "pack_tokens": 160, "eps": 1e-5},
    }
    return [*_words("sft", base, out, settings), "--recipe", "tiny-bagel", "--steps", steps]


def _words(verb: str, base: Path, out: Path, settings: dict[str, object]) -> list[object]:
    sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    return [verb, "--pairs", base / "pairug.parquet", "--out", out, *sets]


def watched(every: int, *more: object) -> list[object]:
    return ["--evaluate", "tiny-tuning", "--every", every, "--limit", 1, *more]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a run lies whose twin has lain there; its page is written beside it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "place/out"


def put_aside(place: Path, name: str) -> Path:
    aside = place.parent / name
    place.rename(aside)
    return aside


def test_a_run_that_was_killed_in_an_evaluation_ends_as_one_that_was_not(
    starter: Starter, base: Path, place: Path, tmp_path: Path
) -> None:
    words = [
        *reinforced(base, place, lr=5e-3, keep_last=1),
        *watched(2, "--held-out", "tiny-heldout", "--patience", 3),
    ]
    assert starter.run(words) == 0
    straight = put_aside(place, "straight")
    # in the table of outputs of the evaluation after step 2
    died = starter.start(words, die={"file": "step-2/.outputs.parquet", "nth": 1, "call": "fsync"})
    assert died.wait() == -signal.SIGKILL
    assert [row.step for row in read_evaluations(place)] == [0]
    assert checkpoint_steps(place) == (2,)
    assert starter.run(words) == 0
    assert contents(place) == contents(straight)
    rows = read_evaluations(place)
    assert {(row.step, row.suite) for row in rows} >= {(step, "tiny-tuning") for step in (0, 2, 4)}
    assert (0, "tiny-heldout") in {(row.step, row.suite) for row in rows}
    page = (tmp_path / "reports/out-timeline/timeline.html").read_text()
    for words in ("Over training steps", "Understanding against generation", 'id="rollouts"'):
        assert words in page
    assert len({row.weights for row in rows}) == 3


def test_what_is_stored_is_not_measured_again(starter: Starter, base: Path, place: Path) -> None:
    plain = reinforced(base, place, steps=2)
    assert starter.run(plain) == 0
    words = [*plain, *watched(1)]
    assert starter.run(words) == 0  # of a run that has ended, what is still there
    assert [row.step for row in read_evaluations(place)] == [0, 2]
    measured = lines(place / "watching.jsonl")
    assert measured == 2 + 1  # evaluations, and what all of it took
    before = {path: path.stat().st_mtime_ns for path in place.rglob("outputs.parquet")}
    assert starter.run(words) == 0
    assert lines(place / "watching.jsonl") == measured
    assert {path: path.stat().st_mtime_ns for path in place.rglob("outputs.parquet")} == before


def test_the_rule_stops_a_run_and_the_same_command_stops_it_again(
    starter: Starter, base: Path, place: Path, cli: Cli
) -> None:
    words = [*reinforced(base, place, steps=6), *watched(1, "--patience", 2)]
    assert starter.run(words) == 0
    assert [row.step for row in read_evaluations(place)] == [0, 1, 2]
    assert checkpoint_steps(place) == (1, 2) and lines(place / "metrics.jsonl") == 2
    ended = contents(place)
    assert starter.run(words) == 0
    assert contents(place) == ended
    followed = cli("follow", place)  # there will be no more checkpoints: it waits for none
    assert followed.code == 0 and "Stopped after step 2" in followed.err
    # With more patience it goes on, as one that had it from the start.
    assert starter.run([*words[:-1], 3]) == 0
    assert checkpoint_steps(place) == (1, 2, 3)


# Five evaluations; that those stay which are spared is shown of folders in test_journal.
@pytest.mark.slow
def test_the_best_checkpoint_stays_whatever_is_thinned_out(
    starter: Starter, base: Path, place: Path
) -> None:
    words = reinforced(base, place, steps=4, keep_last=1, lr=1e-3)
    assert starter.run([*words, *watched(1, "--best-by", "generate")]) == 0
    plan = read_plan(place)
    assert plan is not None
    best = best_step(values_by_step(read_evaluations(place), plan))
    assert best is not None
    there = checkpoint_steps(place)
    assert {best.step, 4} - {0} <= set(there)
    assert len(there) <= 3, "of the others at most the best one before the last evaluation"


def test_who_follows_measures_the_same(starter: Starter, base: Path, place: Path, cli: Cli) -> None:
    words = [*taught(base, place, steps=2), *watched(1, "--held-out", "tiny-heldout")]
    assert starter.run(words) == 0
    here = put_aside(place, "here")
    assert starter.run([*words, "--evaluate-elsewhere"]) == 0
    assert not (place / "evaluations.jsonl").exists()
    assert checkpoint_steps(place) == (1, 2)
    ran = cli("follow", place)
    assert ran.code == 0 and f"Next:     pairuni-eval timeline {place}" in ran.out
    ours, theirs = contents(place), contents(here)
    plans = [one.pop("evaluations/plan.json") for one in (ours, theirs)]
    assert plans[0] != plans[1]
    assert ours == theirs
    for row in read_evaluations(place):
        run = StoredRun(run_of(place, row.suite, row.step))
        assert run.card.checkpoint.weights == row.weights and not run.unfinished


def test_two_ranks_measure_as_one(starter: Starter, base: Path, place: Path) -> None:
    words = [*reinforced(base, place, steps=2), *watched(1, "--patience", 1)]
    assert starter.run(words) == 0
    one = put_aside(place, "one")
    assert starter.run_on_ranks(words, 2) == [0, 0]
    assert checkpoint_steps(place) == checkpoint_steps(one) == (1,)
    ours, theirs = (contents(each / "evaluations") for each in (place, one))
    assert ours == theirs
    assert (place / "evaluations.jsonl").read_bytes() == (one / "evaluations.jsonl").read_bytes()


# Three architectures, each killed several times by the clock: minutes.
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["janus", "dimoo", "bagel"])
def test_runs_that_were_killed_at_random_end_as_one_that_was_not(
    starter: Starter, base: Path, place: Path, kind: str
) -> None:
    words = {
        "janus": reinforced(base, place, steps=6, lr=5e-3, keep_last=1),
        "dimoo": reinforced(base, place, steps=6, lr=5e-3, **small.DIFFUSION),
        "bagel": taught(base, place, steps=6),
    }[kind]
    words += watched(2, "--held-out", "tiny-heldout", "--patience", 2)
    assert starter.run(words) == 0
    straight = put_aside(place, "straight")
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(5):
        process = starter.start(words)
        before = progress(place)
        while progress(place) == before and not ended(place):
            time.sleep(0.005)
        time.sleep(rng.uniform(0.0, 1.0))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert starter.run(words) == 0
    assert contents(place) == contents(straight)


def progress(training: Path) -> tuple[int, ...]:
    """What changes as a training gets further."""
    files = ("metrics.jsonl", "evaluations.jsonl")
    rows = sum(lines(path) for path in training.glob("evaluations/*/*/rows/*.jsonl"))
    return (*(lines(training / name) for name in files), rows)


def ended(training: Path) -> bool:
    """Whether a training has said what all of it took, which is last."""
    path = training / "watching.jsonl"
    return path.is_file() and any("training" in json.loads(one) for one in path.open())


# A hundred steps.
@pytest.mark.slow
def test_watching_takes_less_than_a_tenth_of_training(
    starter: Starter, base: Path, place: Path
) -> None:
    """At an evaluation every 50 steps, of steps that are as short as they get."""
    words = [*reinforced(base, place, steps=100, lr=1e-4), *watched(50)]
    assert starter.run(words) == 0
    last = json.loads((place / "watching.jsonl").read_text().splitlines()[-1])
    assert last["watching"] < 0.1 * last["training"], last
