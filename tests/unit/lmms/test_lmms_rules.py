"""What the family `lmms` decides by itself, without lmms-eval: decoding, stops, files, dice."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairuni_eval import catalog
from pairuni_eval.api import (
    Capability,
    Card,
    DataSpec,
    Decoding,
    MetricSpec,
    ProtocolSpec,
    UserError,
)
from pairuni_eval.lmms.benchmark import _number
from pairuni_eval.lmms.data import TaskData
from pairuni_eval.lmms.generation import cut, decoding_of, stops_of
from pairuni_eval.lmms.names import _TASK_LINE
from pairuni_eval.lmms.seeding import seeded
from pairuni_eval.lmms.task import _plain


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, Decoding(max_tokens=1024)),
        ({"max_new_tokens": 16, "do_sample": False, "top_p": 0}, Decoding(max_tokens=16)),
        ({"max_gen_toks": 32, "temperature": 0.0, "top_p": 0.5}, Decoding(max_tokens=32)),
        ({"do_sample": True, "max_new_tokens": 8}, Decoding(temperature=1.0, max_tokens=8)),
        (
            {"temperature": "0.7", "top_p": 0.9, "top_k": 40, "max_new_tokens": 8},
            Decoding(temperature=0.7, top_p=0.9, top_k=40, max_tokens=8),
        ),
        ({"temperature": 0.7, "do_sample": False, "max_new_tokens": 8}, Decoding(max_tokens=8)),
    ],
)
def test_decoding(settings: dict[str, Any], wanted: Decoding) -> None:
    assert decoding_of(settings) == wanted


@pytest.mark.parametrize(
    ("until", "answer", "wanted"),
    [
        (["\n\n"], "A\n\nbecause", "A\n\nbecause"),
        ("###", "A### B", "A"),
        (["</s>", "\n"], "A\nB</s>", "A"),
        (None, "A", "A"),
        ([""], "A", "A"),
    ],
)
def test_an_answer_ends_at_the_tasks_own_stops(until: Any, answer: str, wanted: str) -> None:
    assert cut(answer, stops_of({"until": until})) == wanted


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ('task: "mmstar"\n', "mmstar"),
        ("dataset_path: x\ntask: mme # comment\n", "mme"),
        ("task: 'a-b.c'", "a-b.c"),
        ("group: g\ntask:\n  - a\n  - b\n", None),
        ("task: [a, b]\n", None),
        ("  task: inner\n", None),
    ],
)
def test_the_name_of_a_task_file(line: str, name: str | None) -> None:
    found = _TASK_LINE.search(line)
    assert (found and found[2]) == name


def card(split: str) -> Card:
    metric = MetricSpec(name="row_score", of="row_score")
    rule = ProtocolSpec(summary="", source="", headline="row_score", metrics=(metric,))
    return Card(
        name="lmms:pope_pop",
        title="",
        summary="",
        version="0",
        capability=Capability.UNDERSTAND,
        expected=0,
        unit="image",
        licence="",
        protocols={"lmms-eval": rule},
        data=DataSpec(hub="someone/POPE", split=split),
    )


def chosen(folder: Path, files: Sequence[str], split: str, subset: str | None) -> list[str]:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    found = TaskData(card(split), Path("nowhere"), folder, subset).files()
    return [str(path.relative_to(folder)) for path in found]


@pytest.mark.parametrize(
    ("files", "split", "subset", "wanted"),
    [
        (["lmms/pope_pop/a.parquet", "pope_pop/b.parquet"], "x", None, ["lmms/pope_pop/a.parquet"]),
        (["pope_pop/b.parquet", "c.parquet"], "x", None, ["pope_pop/b.parquet"]),
        (["c.parquet", "other/popular.parquet"], "popular", None, ["c.parquet"]),
        (
            ["pope_pop/val-0.parquet", "pope_pop/validation-0.parquet"],
            "val",
            None,
            ["pope_pop/val-0.parquet"],
        ),
        (
            ["pope_pop/data/popular-0.parquet", "pope_pop/Full/popular-0.parquet"],
            "popular",
            "Full",
            ["pope_pop/Full/popular-0.parquet"],
        ),
        (
            ["pope_pop/test/0.parquet", "pope_pop/test/1.parquet", "pope_pop/train/0.parquet"],
            "test",
            None,
            ["pope_pop/test/0.parquet", "pope_pop/test/1.parquet"],
        ),
    ],
)
def test_the_files_of_a_task(
    tmp_path: Path, files: list[str], split: str, subset: str | None, wanted: list[str]
) -> None:
    assert chosen(tmp_path, files, split, subset) == wanted


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (["elsewhere/a.parquet"], "no parquet file in"),
        (["pope_pop/a.parquet", "pope_pop/b.parquet"], "named after the split 'popular'"),
    ],
)
def test_files_that_could_be_anything_are_refused(
    tmp_path: Path, files: list[str], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        chosen(tmp_path, files, "popular", None)


def test_without_a_folder_the_hub_is_named() -> None:
    data = TaskData(card("popular"), Path("nowhere"), None, None)
    assert data.files() == []
    assert data.origin() == ("hub:someone/POPE", "unpinned")


def test_foreign_dice_are_seeded_by_the_row_and_put_back() -> None:
    random.seed(1)
    np.random.seed(1)
    wanted = random.Random(1).random(), np.random.RandomState(1).rand()
    thrown = []
    for seed in (7, 7, 8):
        with seeded(seed) as drew:
            assert not drew()
            thrown.append((random.random(), np.random.rand()))
            assert drew()
    assert thrown[0] == thrown[1] != thrown[2]
    assert (random.random(), np.random.rand()) == wanted


@pytest.mark.parametrize("throw", [random.random, np.random.rand, np.random.randn])
def test_a_draw_from_either_generator_is_noticed(throw: Any) -> None:
    with seeded(3) as drew:
        throw()
        assert drew()


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (1, 1.0),
        (True, 1.0),
        ({"score": 0.5, "id": 3}, 0.5),
        ({"id": 3}, None),
        ("1", None),
        ([1.0], None),
        (None, None),
        (float("nan"), None),
    ],
)
def test_the_number_of_a_row(value: Any, number: float | None) -> None:
    assert _number(value) == number


def test_what_can_be_stored_of_a_row() -> None:
    value = {"a": (1, np.float64(0.5)), "b": np.arange(2), "c": None, "d": np.int64(3)}
    assert _plain(value, "t") == {"a": [1, 0.5], "b": [0, 1], "c": None, "d": 3}


@pytest.mark.parametrize("value", [{1: 2}, object(), {"a": {1, 2}}])
def test_what_cannot_be_stored_is_told(value: Any) -> None:
    with pytest.raises(UserError, match="The lmms-eval task 't' gives a"):
        _plain(value, "t")


def test_without_lmms_eval_the_extra_is_named() -> None:
    if importlib.util.find_spec("lmms_eval") is not None:
        pytest.skip("lmms-eval is installed: see tests/integration/lmms")
    told = r"lmms-eval( and levenshtein)?, which (is|are) not installed"
    with pytest.raises(UserError, match=told) as caught:
        catalog.find_card("lmms:mmstar")
    assert "[lmms]'" in (caught.value.hint or "")
