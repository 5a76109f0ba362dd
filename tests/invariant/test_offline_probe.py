"""The offline probe: controls, re-pairing, continuation, refusals."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from support import small_training as small

from pairuni_eval.errors import UserError
from pairuni_eval.records import GradientRow
from pairuni_eval.store.training import read_settings, training_folder
from pairuni_train.gradient_probe import controls
from pairuni_train.gradient_probe.controls import mixture
from pairuni_train.gradient_probe.gram import Gram
from pairuni_train.gradient_probe.offline import ProbeJob, probe
from pairuni_train.gradient_probe.scenarios import addressed, read_scenario, repaired
from pairuni_train.grpo.config import RewardSpec
from pairuni_train.grpo.rewards import WeightedSum
from pairuni_train.pair_data.dataset import write_pairs
from pairuni_train.pair_data.record import Kind


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    pairs = small.tiny_pairs(8)
    write_pairs(folder / "pairug.parquet", pairs)
    write_pairs(folder / "retrieved.parquet", pairs[:5])
    write_pairs(folder / "unpaired.parquet", small.unpaired(pairs))
    return folder


@pytest.fixture(autouse=True)
def rewards_with_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    """An untrained model's pictures hold nothing and its answers are wrong: no group has spread."""

    def load(specs: Sequence[RewardSpec]) -> WeightedSum:
        return small.REWARDS["gen" if specs[0].name == "scorer:tiny-geneval" else "und"]

    monkeypatch.setattr("pairuni_train.setup.load_rewards", load)


def job(untrained: Path, pairs: Path, out: Path, *scenarios: str, **changes: Any) -> ProbeJob:
    recipe = small.small_recipe(checkpoint=str(untrained))
    found = ProbeJob(recipe, pairs, scenarios, 1, 0, out)
    return found._replace(**changes)


def run(asked: ProbeJob) -> list[GradientRow]:
    torch.set_num_threads(1)
    return probe(asked, Console(quiet=True))


def test_a_probe_goes_on_where_it_was_stopped(
    untrained: Path, folder: Path, tmp_path: Path
) -> None:
    names = ("pairug", "retrieved")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    rows = run(job(untrained, folder, whole, *names, batches=2))
    run(job(untrained, folder, parts, "pairug", "retrieved"))
    file = parts / "gradients.jsonl"
    # As a kill would leave it: a batch without its last rows, the last of them torn.
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:6])[:-20])
    again = run(job(untrained, folder, parts, *names, batches=2))

    def key(row: GradientRow) -> tuple[str, int]:
        return row.scenario, row.step

    assert sorted(again, key=key) == sorted(rows, key=key)
    assert len(rows) == 2 * 2 * 4  # scenarios, batches, blocks with "all"
    assert {row.scenario for row in rows} == set(names)
    assert json.loads((whole / "settings.json").read_text())["scenarios"]["pairug"]["from"]
    lines = [json.loads(line) for line in (whole / "controls.json").read_text().splitlines()]
    assert [line[:2] for line in lines] == [["same", 1.0], ["flip", -1.0], ["angle", 0.5]]
    assert all(abs(found - expected) < 1e-5 for _, expected, found in lines)
    assert training_folder(whole) == whole, "a report takes it"
    assert read_settings(whole) is None, "and names no training that was none"


def test_re_pairing_keeps_the_questions_of_a_batch_and_their_gradient(
    untrained: Path, folder: Path, tmp_path: Path
) -> None:
    rows = run(job(untrained, folder, tmp_path / "out", "pairug", "random"))
    paired, random = (
        [row for row in rows if row.scenario == name] for name in ("pairug", "random")
    )
    for one, other in zip(paired, random, strict=True):
        assert other.tasks[0] == pytest.approx(one.tasks[0], rel=1e-4)
        assert other.und_live == one.und_live
    assert paired[0].tasks[2] != random[0].tasks[2], "the prompts are others"
    assert all(row.rows == 4 for row in rows)


def test_a_half_has_one_address_whatever_its_partner() -> None:
    pairs = small.tiny_pairs(6)
    other = repaired(pairs, 0)
    assert {pair.kind for pair in other} == {Kind.RANDOM}
    for one, two in zip(pairs, other, strict=True):
        assert two.understanding == one.understanding
        assert two.generation != one.generation
    assert {p.id for p in addressed(other, "gen")} == {p.id for p in addressed(pairs, "gen")}
    assert [p.id for p in addressed(other, "und")] == [p.id for p in addressed(pairs, "und")]
    assert len(addressed(small.unpaired(pairs), "und")) == 6


def test_mixtures_have_the_cosine_they_were_made_for() -> None:
    # orthogonal, |u| = 1, |g| = 2: cos 60 degrees
    assert mixture(Gram(1.0, 0.0, 4.0), 0.5) == pytest.approx((0.5, math.sqrt(0.75) / 2))
    u, g = torch.randn(2, 5, generator=torch.Generator().manual_seed(1))
    a, b = mixture(Gram(float(u @ u), float(u @ g), float(g @ g)), -0.3)
    assert float(torch.cosine_similarity(u, a * u + b * g, dim=0)) == pytest.approx(-0.3, abs=1e-6)


def test_a_control_that_is_off_stops_the_probe(
    untrained: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controls, "mixture", lambda gram, cosine: mixture(gram, cosine + 0.01))
    with pytest.raises(UserError, match=r"its control 'angle' gives a cosine of 0\.51"):
        run(job(untrained, folder, tmp_path / "out", "pairug"))
    assert not (tmp_path / "out" / "gradients.jsonl").exists()


def test_scenarios_that_are_not_there_are_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="Did you mean 'retrieved'"):
        read_scenario("retreived", folder, 0)
    with pytest.raises(UserError, match=r"There is no pair set .*g_only\.parquet"):
        read_scenario("g_only", folder, 0)
    assert read_scenario("random", folder, 0).origin == "pairug.parquet, re-paired"


def test_another_probe_is_not_written_over(untrained: Path, folder: Path, tmp_path: Path) -> None:
    first = job(untrained, folder, tmp_path / "out", "pairug")
    run(first)
    with pytest.raises(UserError, match="its seed is 0, now it is 1"):
        run(first._replace(seed=1))
    with pytest.raises(UserError, match="its weighting is 'none', now it is 'sqrt'"):
        run(first._replace(weighting="sqrt"))
