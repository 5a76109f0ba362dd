"""Nothing bent or lost goes unnoticed: random bits of finished runs, random edits of unfinished.

A run of the scripted model over a few rows of five benchmarks, measured in this process. A tenth of
the tries belongs to the default run, all of them to `-m slow`.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from pairuni_eval.adapters import load_model
from pairuni_eval.errors import UserError
from pairuni_eval.models.base import LoadOptions, Model, Reply, Request
from pairuni_eval.records import Capability, ModelIdentity, Output
from pairuni_eval.report.build import build_report
from pairuni_eval.runner import run as measuring
from pairuni_eval.runner.run import measure
from pairuni_eval.runner.settings import RunSettings
from pairuni_eval.store import layout
from pairuni_eval.store.partial_run import open_run
from pairuni_eval.store.read import StoredRun, read_run_card
from pairuni_eval.store.rows import checked_line

BENCHMARKS = ("tiny-geneval", "tiny-imgedit", "tiny-mme", "tiny-pope", "tiny-wise")
FLIPS, EDITS, PARTS = 200, 50, 10


def parts() -> list[Any]:
    """The first part for the default run, then all of them."""
    every = [pytest.param(n, marks=pytest.mark.slow, id=f"slow-{n}") for n in range(PARTS)]
    return [pytest.param(0, id="quick"), *every]


class Scribbler(Model):
    """Says yes or no and draws noise, each from the request's seed."""

    capabilities = frozenset(Capability)
    identity = ModelIdentity(adapter="scribbler", name="scribbler", weights="0" * 64)

    @classmethod
    def load(cls, checkpoint: str, options: LoadOptions) -> Scribbler:
        raise NotImplementedError

    def answer(self, requests: Any) -> list[Reply]:
        return [Reply(text=random.Random(r.seed).choice(["Yes.", "no", "?"])) for r in requests]

    def draw(self, requests: Any) -> list[Reply]:
        return [Reply(image=self._scribble(request)) for request in requests]

    edit = draw

    @staticmethod
    def _scribble(request: Request) -> Image.Image:
        rng = np.random.default_rng(request.seed)
        return Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))


class OtherWeights(Scribbler):
    """A model of other weights, which always says no."""

    identity = ModelIdentity(adapter="scribbler", name="scribbler", weights="1" * 64)

    def answer(self, requests: Any) -> list[Reply]:
        return [Reply(text="no") for _ in requests]


def run_into(folder: Path, model: Model | None = None) -> str:
    """Measure, or go on; returns what was said on the way."""
    said = io.StringIO()
    settings = RunSettings(checkpoint="scribbler", out=folder, benchmarks=BENCHMARKS, limit=4)
    measure(settings, Console(file=said, width=10_000), model or Scribbler())
    return said.getvalue()


def contents(run: Path) -> dict[str, str]:
    """Every file by digest, without the times."""
    return {
        str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.name not in (layout.JOURNAL, layout.LOCK)
    }


class Runs(NamedTuple):
    """A finished run; the same, and one of other weights, stopped when all rows were there."""

    whole: Path
    stopped: Path
    other: Path
    files: dict[str, str]


class Stop(Exception):
    """Ends a run before its tables are written."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    root = tmp_path_factory.mktemp("damage")
    run_into(root / "whole" / "run")

    def stop(*_: object, **__: object) -> None:
        raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "compact", stop)
        with pytest.raises(Stop):
            run_into(root / "stopped" / "run")
        with pytest.raises(Stop):
            run_into(root / "other" / "run", OtherWeights())
    whole = root / "whole" / "run"
    return Runs(whole, root / "stopped" / "run", root / "other" / "run", contents(whole))


# Finished runs


class Shown(NamedTuple):
    """Every number and byte that readers show of a run."""

    tables: tuple[str, ...]
    cards: str
    pictures: dict[str, bytes]


def shown(folder: Path) -> Shown:
    run = StoredRun(folder)
    tables = (run.samples, run.outputs, run.scores)
    sound = run.soundness
    if sound.missing or sound.changed:
        raise UserError(f"{sound.missing} missing, {sound.changed} changed")
    images = {
        part["image"]
        for frame in tables[:2]
        for cell in frame["parts"]
        for part in json.loads(cell)
        if "image" in part
    }
    return Shown(
        tuple(frame.to_csv() for frame in tables),
        repr((run.card, run.cards, run.external_metrics, sound)),
        {image: run.pictures.data(image) for image in images},
    )


def targets(run: Path) -> list[Path]:
    return sorted(path for path in run.rglob("*") if path.is_file() and path.name in covered(run))


def covered(run: Path) -> set[str]:
    """The names of all tables and pictures, and of the run's own JSON."""
    names = {f"{name}.parquet" for name in layout.TABLES} | {layout.COMPLETE, layout.RUN_FILE}
    cards = {path.name for path in (run / layout.CARDS).iterdir()}
    return names | cards | {path.name for path in (run / layout.IMAGES).rglob("*")}


def test_a_copy_of_a_run_shows_the_same(runs: Runs, tmp_path: Path) -> None:
    assert shown(Path(shutil.copytree(runs.whole, tmp_path / "run"))) == shown(runs.whole)
    assert len(targets(runs.whole)) > 30


@pytest.mark.parametrize("part", parts())
def test_a_bit_that_flips_is_noticed(runs: Runs, tmp_path: Path, part: int) -> None:
    """Half of the bits are of a table; or else nothing that is shown has changed."""
    run = Path(shutil.copytree(runs.whole, tmp_path / "run"))
    right = shown(run)
    files = targets(run)
    tables = [path for path in files if path.suffix == ".parquet"]
    noticed = 0
    for number in range(FLIPS // PARTS):
        rng = random.Random(f"flip {part} {number}")
        path = rng.choice(tables if number % 2 else files)
        whole = path.read_bytes()
        bit = rng.randrange(8 * len(whole))
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        try:
            assert shown(run) == right, f"bit {bit} of {path.relative_to(run)} went unnoticed"
        except UserError:
            noticed += 1
        path.write_bytes(whole)
    assert noticed >= FLIPS // PARTS - 2  # a blank of COMPLETE may change into another


# Unfinished runs


def pick(rng: random.Random, lines: list[bytes]) -> int:
    return rng.randrange(len(lines))


def flipped(rng: random.Random, lines: list[bytes]) -> None:
    place = pick(rng, lines)
    data = bytearray(lines[place])
    bit = rng.randrange(8 * len(data))
    data[bit // 8] ^= 1 << bit % 8
    lines[place] = bytes(data)


def edited(rng: random.Random, lines: list[bytes]) -> None:
    """Another number, as if by hand: the check stays."""
    places = [n for n, line in enumerate(lines) if b"1" in line]
    place = rng.choice(places)
    lines[place] = lines[place].replace(b"1", b"0", 1)


def without_check(rng: random.Random, lines: list[bytes]) -> None:
    place = pick(rng, lines)
    row = json.loads(lines[place])
    del row["row"], row["check"]
    lines[place] = json.dumps(row).replace("1", "0").encode()


def dropped(rng: random.Random, lines: list[bytes]) -> None:
    for _ in range(rng.randint(1, 3)):
        del lines[pick(rng, lines)]


def doubled(rng: random.Random, lines: list[bytes]) -> None:
    lines.insert(pick(rng, lines), lines[pick(rng, lines)])


def swapped(rng: random.Random, lines: list[bytes]) -> None:
    one, other = pick(rng, lines), pick(rng, lines)
    lines[one], lines[other] = lines[other], lines[one]


def cut(rng: random.Random, lines: list[bytes]) -> None:
    place = pick(rng, lines)
    lines[place] = lines[place][: rng.randrange(len(lines[place]))]


def junk(rng: random.Random, lines: list[bytes]) -> None:
    lines.insert(pick(rng, lines), rng.choice([b"", b"{}", b"\xff", b"null", b'{"row":1}']))


def torn(rng: random.Random, lines: list[bytes]) -> None:
    del lines[rng.randrange(len(lines)) :]


EDITS_OF_ROWS = (
    flipped,
    edited,
    without_check,
    dropped,
    doubled,
    swapped,
    cut,
    junk,
    torn,
)


def damage_rows(run: Path, rng: random.Random, change: Callable[..., None]) -> str:
    name = rng.choice(["samples.jsonl", "outputs-rank0.jsonl", "scores-rank0.jsonl"])
    path = run / layout.ROWS / name
    lines = path.read_bytes().split(b"\n")[:-1]
    change(rng, lines)
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return f"{change.__name__} {name}"


def damage_a_picture(run: Path, rng: random.Random) -> str:
    pictures = sorted(path for path in (run / layout.IMAGES).rglob("*") if path.is_file())
    path = rng.choice(pictures)
    if rng.random() < 0.5:
        path.unlink()
    else:
        path.write_bytes(rng.choice(pictures).read_bytes()[: rng.choice([None, 60])])
    return f"picture {path.name[:8]}"


def damage(run: Path, rng: random.Random, number: int) -> str:
    """One or two edits."""
    change = EDITS_OF_ROWS[number % len(EDITS_OF_ROWS)]
    done = damage_rows(run, rng, change)
    return f"{done}, {damage_a_picture(run, rng)}" if number % 3 == 0 else done


def test_a_run_that_goes_on_ends_as_the_undisturbed_one(runs: Runs, tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs.stopped, tmp_path / "run"))
    assert "made again" not in run_into(run)
    assert contents(run) == runs.files


@pytest.mark.parametrize("name", ["samples", "outputs-rank0", "scores-rank0"])
def test_a_torn_line_in_any_rows_file_is_owed_again(runs: Runs, tmp_path: Path, name: str) -> None:
    run = Path(shutil.copytree(runs.stopped, tmp_path / "run"))
    path = run / layout.ROWS / f"{name}.jsonl"
    data = path.read_bytes()
    assert data.endswith(b"\n")
    start = data.rfind(b"\n", 0, -1) + 1
    path.write_bytes(data[: start + (len(data) - start) // 2])
    run_into(run)
    assert contents(run) == runs.files


@pytest.mark.parametrize("part", parts())
def test_edited_rows_end_as_the_undisturbed_ones(runs: Runs, tmp_path: Path, part: int) -> None:
    for number in range(part * EDITS // PARTS, (part + 1) * EDITS // PARTS):
        run = Path(shutil.copytree(runs.stopped, tmp_path / str(number) / "run"))
        done = damage(run, random.Random(f"edit {number}"), number)
        run_into(run)
        assert contents(run) == runs.files, done


def said(run: Path) -> Iterator[str]:
    """What the journal says of damage."""
    for line in (run / layout.JOURNAL).read_text().splitlines():
        event = json.loads(line)
        if event["event"] == "damage":
            yield event["what"]


def test_damage_is_told_and_noted(runs: Runs, tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs.stopped, tmp_path / "run"))
    path = run / layout.ROWS / "scores-rank0.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"value":1.0', b'"value":0.0', 2))
    told = run_into(run)
    assert "scores-rank0.jsonl: 2 rows were damaged and dropped (lines " in told
    assert [line for line in told.splitlines() if "damaged" in line] == list(said(run))
    assert contents(run) == runs.files


def test_a_report_of_an_unfinished_run_says_what_it_leaves_out(runs: Runs, tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs.stopped, tmp_path / "run"))
    assert open_run(run).soundness == (0, 0, False, 0)
    path = run / layout.ROWS / "scores-rank0.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"value":1.0', b'"value":0.0', 2))
    before = path.read_bytes()
    page = build_report(open_run(run), tmp_path / "out", {})
    assert "> Damaged rows that are left out: 2." in page.with_name("report.md").read_text()
    assert path.read_bytes() == before, "a reader changes nothing"


@pytest.mark.parametrize("name", ["outputs-rank0", "scores-rank0", "samples"])
def test_rows_of_another_run_are_dropped_told_and_made_again(
    runs: Runs, tmp_path: Path, name: str
) -> None:
    run = Path(shutil.copytree(runs.stopped, tmp_path / "run"))
    path = Path("rows") / f"{name}.jsonl"
    shutil.copyfile(runs.other / path, run / path)
    count = (run / path).read_bytes().count(b"\n")
    assert f"{name}.jsonl: {count} rows were damaged and dropped (lines 1, 2, 3," in run_into(run)
    assert contents(run) == runs.files


def test_two_truths_are_a_sentence(runs: Runs, tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs.stopped, tmp_path / "run"))
    path, address = run / layout.ROWS / "outputs-rank0.jsonl", read_run_card(run).rows_address
    lines = path.read_bytes().split(b"\n")[:-1]
    row = json.loads(lines[0]) | {"tokens": 7}
    fields = set(Output.__struct_fields__) - {"parts"}
    other = Output(**{key: value for key, value in row.items() if key in fields})
    path.write_bytes(path.read_bytes() + checked_line(other, len(lines) + 1, address))
    with pytest.raises(UserError, match=f"lines 1 and {len(lines) + 1}: two different rows of"):
        run_into(run)
    (run / layout.ROWS / "outputs-rank0.jsonl").write_bytes(b"\n".join(lines[1:]) + b"\n")
    run_into(run)
    assert contents(run) == runs.files, "deleting both is the way that was named"


def test_the_plan_and_cards_of_an_unfinished_run_are_compared(runs: Runs, tmp_path: Path) -> None:
    for name in ("plan.json", "run.json", "cards/tiny-mme.json"):
        run = Path(shutil.copytree(runs.stopped, tmp_path / name.replace("/", "-") / "run"))
        data = (run / name).read_bytes()
        (run / name).write_bytes(data.replace(b"tiny", b"tine", 1))
        with pytest.raises(UserError, match="it is changed since the run wrote it") as refused:
            run_into(run)
        assert f"Delete {run / 'run.json'}" in (refused.value.hint or "")
        (run / "run.json").unlink()
        run_into(run)
        assert contents(run) == runs.files, "and that is the way back"


def test_another_order_of_the_benchmarks_is_the_same_question(runs: Runs, tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs.stopped, tmp_path / "run"))
    backwards = RunSettings(
        checkpoint="scribbler", out=run, benchmarks=BENCHMARKS[::-1] * 2, limit=4
    )
    measure(backwards, Console(quiet=True), Scribbler())
    assert contents(run) == runs.files
    fresh = RunSettings(
        checkpoint="scribbler", out=tmp_path / "new" / "run", benchmarks=BENCHMARKS[::-1], limit=4
    )
    measure(fresh, Console(quiet=True), Scribbler())
    assert contents(fresh.out) == runs.files


def test_outputs_that_are_replayed_from_a_lost_picture_say_so(runs: Runs, tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs.whole, tmp_path / "run"))
    drawn = json.loads(StoredRun(run).outputs["parts"].iloc[0])[0]["image"]
    layout.image_path(run, drawn).unlink()
    settings = RunSettings(
        checkpoint=f"replay:{run}", out=tmp_path / "again", benchmarks=BENCHMARKS, limit=4
    )
    model = load_model(settings.checkpoint, None, LoadOptions())
    measure(settings, Console(quiet=True), model)
    errors = StoredRun(tmp_path / "again").outputs["error"].dropna()
    assert set(errors) == {"the replayed run: the picture is missing from the run folder"}
