"""Which prompts an experiment's arms are measured on while they train."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import small_training as small

from pairuni_eval.errors import UserError
from pairuni_eval.store.training import FixedRow, read_fixed
from pairuni_train.grpo.fixed_prompts import (
    FixedPrompts,
    choose_prompts,
    fixed_rows,
    set_name,
    write_prompts,
)
from pairuni_train.grpo.fixed_reward import write_rows
from pairuni_train.pair_data.dataset import read_pairs, write_pairs


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two arms that share the rows 4 to 11 of the same source."""
    pairs = small.tiny_pairs(16)
    arms = {"one": pairs[:12], "two": pairs[4:]}
    for name, rows in arms.items():
        write_pairs(tmp_path / f"{name}.parquet", rows)
    return [tmp_path / f"{name}.parquet" for name in arms]


def test_only_halves_that_every_arm_trains_on_are_drawn(files: list[Path]) -> None:
    chosen = choose_prompts(files, 100, seed=0)
    shared = {f"{p.understanding.source}/{p.understanding.id}" for p in small.tiny_pairs(16)[4:12]}  # type: ignore[union-attr]
    assert set(chosen["und"]) == shared and len(chosen["gen"]) == 8
    few = choose_prompts(files, 3, seed=0)
    assert {task: len(one) for task, one in few.items()} == {"und": 3, "gen": 3}
    assert few["und"] == chosen["und"][:3]
    assert choose_prompts(files[::-1], 3, seed=0) == few, "whatever the order of the arms"
    assert choose_prompts(files, 3, seed=1) != few


def test_the_set_that_is_written_holds_each_half_once(files: list[Path], tmp_path: Path) -> None:
    chosen = choose_prompts(files, 3, seed=0)
    path = write_prompts(tmp_path / "fixed", chosen, files[0])
    pairs = read_pairs(path)
    assert [row.id for row in fixed_rows(pairs, "und")] == [f"fixed/{a}" for a in chosen["und"]]
    assert [row.id for row in fixed_rows(pairs, "gen")] == [f"fixed/{a}" for a in chosen["gen"]]
    assert len(pairs) == 6
    written = path.stat().st_mtime_ns
    assert write_prompts(tmp_path / "fixed", chosen, files[1]) == path
    assert path.stat().st_mtime_ns == written
    twice = fixed_rows([*pairs, *pairs], "und")
    assert len(twice) == 3


def test_a_set_is_known_by_its_prompts_and_draws() -> None:
    pairs = small.tiny_pairs(4)
    name = set_name(pairs, 2)
    assert name == set_name(small.unpaired(pairs), 2), "however they are paired"
    assert len({name, set_name(pairs, 3), set_name(pairs[:3], 2)}) == 3


def test_first_last_and_every_few_steps_are_due() -> None:
    asked = FixedPrompts(Path("x"), 4, 1)
    assert [step for step in range(11) if asked.due(step, 10)] == [0, 4, 8, 10]


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    row = FixedRow(
        step=0, set="a", task="und", draws=2, reward=0.25, declined=0.5, values=(0.25, None)
    )
    assert read_fixed(tmp_path) == []
    write_rows(tmp_path, [row])
    with (tmp_path / "fixed.jsonl").open("ab") as file:
        file.write(b'{"step": 1')
    assert read_fixed(tmp_path) == [row]
    (tmp_path / "fixed.jsonl").write_bytes(b'{"step": 1}\n')
    with pytest.raises(UserError, match=r"fixed\.jsonl, line 1: cannot be read"):
        read_fixed(tmp_path)
