"""A finished run that is asked for again: told without its model, where nothing differs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from pairuni_eval import catalog
from pairuni_eval.cards import Card
from pairuni_eval.errors import UserError
from pairuni_eval.judges.usage import JudgeCall, UsageRow
from pairuni_eval.models.checkpoint import find_folder
from pairuni_eval.runner import run as running
from pairuni_eval.runner.finished import is_done
from pairuni_eval.runner.run import measure
from pairuni_eval.runner.settings import RunSettings
from pairuni_eval.store import layout
from pairuni_eval.store.json_lines import encode_lines

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> RunSettings:
    """A finished run of two benchmarks, one of them with a judge, and a checkpoint of its own."""
    root = tmp_path_factory.mktemp("finished")
    checkpoint = shutil.copytree(find_folder("tiny"), root / "checkpoint")
    settings = RunSettings(
        checkpoint=str(checkpoint),
        out=root / "run",
        benchmarks=("tiny-pope", "tiny-wise"),
        limit=2,
    )
    measure(settings, QUIET)
    return settings


@pytest.fixture
def own(measured: RunSettings, tmp_path: Path) -> RunSettings:
    """A copy of the run, to be changed."""
    return replace(measured, out=shutil.copytree(measured.out, tmp_path / "run"))


def test_the_same_command_loads_no_model(
    measured: RunSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "load", lambda *_: pytest.fail("a model was loaded"))
    before = (measured.out / layout.COMPLETE).read_bytes()
    assert measure(measured, QUIET) == measured.out
    assert (measured.out / layout.COMPLETE).read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"limit": 3},
        {"batch_size": 1},
        {"judge": "none"},
        {"benchmarks": ("tiny-pope",)},
        {"checkpoint": "tiny-early"},
        {"checkpoint": "nowhere"},
        {"dtype": "bfloat16"},
    ],
)
def test_another_command_goes_the_long_way(
    measured: RunSettings, change: dict[str, object]
) -> None:
    assert not is_done(replace(measured, **change))  # type: ignore[arg-type]


def test_the_long_way_says_what_differs(own: RunSettings) -> None:
    with pytest.raises(UserError, match="holds another run: its seed is 0, now it is 1"):
        measure(replace(own, seed=1), QUIET)


def test_other_weights_are_seen(own: RunSettings, tmp_path: Path) -> None:
    checkpoint = shutil.copytree(own.checkpoint, tmp_path / "checkpoint")
    card = own.out / layout.RUN_FILE
    moved = replace(own, checkpoint=str(checkpoint))
    card.write_text(card.read_text().replace(own.checkpoint, moved.checkpoint))
    mark = own.out / layout.COMPLETE
    seal = json.loads(mark.read_text())
    del seal["files"][layout.RUN_FILE]
    mark.write_text(json.dumps(seal))
    assert is_done(moved)
    shutil.copyfile(
        find_folder("tiny-early") / "model.safetensors", checkpoint / "model.safetensors"
    )
    assert not is_done(moved)


def _without_complete(run: Path) -> None:
    (run / layout.COMPLETE).unlink()


def _other_release(run: Path) -> None:
    card = json.loads((run / layout.RUN_FILE).read_text())
    (run / layout.RUN_FILE).write_text(json.dumps(card | {"code": "0.0.1"}))


def _open_question(run: Path) -> None:
    call = JudgeCall(key="k", trouble="timeout", open=True)
    row = UsageRow(protocol="tiny-wise@official", outputs=("x",), calls=(call,))
    (run / layout.JUDGE).mkdir(exist_ok=True)
    with (run / layout.JUDGE / layout.USAGE).open("ab") as bills:
        bills.write(encode_lines([row]))


@pytest.mark.parametrize("change", [_without_complete, _other_release, _open_question])
def test_another_folder_goes_the_long_way(own: RunSettings, change: Callable[[Path], None]) -> None:
    change(own.out)
    assert not is_done(own)


def test_another_card_goes_the_long_way(own: RunSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    found = catalog.find_card

    def newer(name: str) -> Card:
        card = found(name)
        return msgspec.structs.replace(card, version=card.version + "1")

    monkeypatch.setattr(catalog, "find_card", newer)
    assert not is_done(own)


def test_a_changed_table_is_refused(own: RunSettings) -> None:
    (own.out / "scores.parquet").write_bytes(b"other")
    with pytest.raises(UserError, match=r"scores\.parquet"):
        is_done(own)
