"""Pairs that are read where they are asked for: the same ones, a row group at a time."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support import small_training as small

from pairuni_eval.errors import UserError
from pairuni_train.grpo.sampler import PairSampler
from pairuni_train.pair_data import stored_pairs
from pairuni_train.pair_data.dataset import read_pairs, write_pairs
from pairuni_train.pair_data.record import Kind
from pairuni_train.pair_data.stored_pairs import StoredPairs

COUNT = 70  # three groups: 32, 32, 6


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pairs") / "pairug.parquet"
    write_pairs(path, small.tiny_pairs(COUNT))
    return path


def test_they_are_those_of_the_whole_file(file: Path) -> None:
    stored, whole = StoredPairs(file, kept=0), read_pairs(file)
    assert len(stored) == COUNT
    assert list(stored) == whole
    assert [stored[place] for place in (69, 0, 31, 32, -1)] == [
        whole[place] for place in (69, 0, 31, 32, -1)
    ]
    assert stored[30:34] == whole[30:34]
    assert stored.kinds == {Kind.RETRIEVED}
    for outside in (COUNT, -COUNT - 1):
        with pytest.raises(IndexError):
            stored[outside]


def test_a_group_is_read_when_it_is_asked_for_and_the_last_used_ones_stay(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    group = StoredPairs._read

    def watched(self: StoredPairs, number: int) -> object:
        read.append(number)
        return group(self, number)

    monkeypatch.setattr(stored_pairs.StoredPairs, "_read", watched)
    ample = StoredPairs(file)
    assert read == []
    for place in (0, 40, 1, 69, 41):
        ample[place]
    assert read == [0, 1, 2]
    read.clear()
    sizes = [len(p.understanding.image) + len(p.generation.image or b"") for p in ample]
    two = StoredPairs(file, kept=sum(sizes[32:]))  # the second group and the small third
    read.clear()
    for place in (0, 40, 69, 40, 69, 0):
        two[place]
    assert read == [0, 1, 2, 0]


def test_a_step_reads_the_rows_of_its_rank_alone(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, whole = StoredPairs(file), read_pairs(file)
    ours, theirs = (PairSampler(one, pairs_per_step=4, seed=3) for one in (stored, whole))
    for step in (0, 40):
        assert ours.of_step(step) == theirs.of_step(step)
    asked: list[int] = []
    monkeypatch.setattr(StoredPairs, "_group", lambda self, number: asked.append(number) or [])
    ours.places(7, "und")
    ours.further(7, 1, "gen")
    assert asked == []


def test_what_is_not_sound_is_named_when_it_is_read(tmp_path: Path, file: Path) -> None:
    table = pq.read_table(file)
    answers = table["answer"].to_pylist()
    answers[50] = ""
    broken = tmp_path / "broken.parquet"
    column = table.schema.get_field_index("answer")
    pq.write_table(table.set_column(column, "answer", [answers]), broken, row_group_size=10)
    stored = StoredPairs(broken)
    assert stored[49].id == "pair49"
    with pytest.raises(UserError, match=r"broken.parquet, row 51 \(pair50\): answer is empty"):
        stored[50]
    with pytest.raises(UserError, match="row 51"):
        list(stored)
    with pytest.raises(UserError, match="There is no pair set"):
        StoredPairs(tmp_path / "none.parquet")
    fresh = StoredPairs(broken)
    broken.unlink()
    with pytest.raises(UserError, match="can no longer be read"):
        fresh[0]
