"""A stranger's run: its own JSON, its tables, its pictures and its archive, opened and reported.

The stranger seals what was changed, so that no hash gives it away: what is checked here is what the
content may do.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile.conftest import SHARES, Ground
from hostile.strangers import SECRET, bent, changed, path_out, picture, value
from support import example_run as example

from pairuni_eval.report.build import build_report
from pairuni_eval.store import layout
from pairuni_eval.store.archive import pack
from pairuni_eval.store.partial_run import open_run

# Each of these inputs ends in a report or in a refusal: less than the usual share by default.
pytestmark = pytest.mark.parametrize(
    "ground", [pytest.param(60, id="a sixtieth"), *SHARES[1:]], indirect=True
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small finished run with questions and pictures."""
    folder = tmp_path_factory.mktemp("stranger") / "run"
    cards = [*example.choice_cards(4)[:1], *example.picture_cards(4)[:1]]
    return example.write_run(folder, count=4, benchmarks=cards)


def sealed(run: Path) -> None:
    """Let the run's marker hold the hashes of what lies there now."""
    path = run / layout.COMPLETE
    marker = json.loads(path.read_bytes())
    for name in marker["sha256"]:
        held = next((f for f in (run / name, run / f"{name}.parquet") if f.is_file()), None)
        if held is not None:
            marker["sha256"][name] = hashlib.sha256(held.read_bytes()).hexdigest()
    path.write_text(json.dumps(marker))


def copied(run: Path, folder: Path) -> Path:
    return Path(shutil.copytree(run, folder / "run"))


def reported(run: Path, out: Path) -> None:
    """Open a run and write its report, as `pairuni-eval report` does."""
    opened = open_run(run)
    build_report(opened, out, {})
    for path in out.rglob("*"):
        assert not path.is_symlink()
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes()


def test_json_of_a_run(ground: Ground, run: Path) -> None:
    names = [
        *(
            layout.RUN_FILE,
            layout.COMPLETE,
            layout.PLAN_FILE,
            layout.EXTERNAL_METRICS,
            layout.JOURNAL,
        ),
        *(f"{layout.CARDS}/{path.name}" for path in (run / layout.CARDS).iterdir()),
        f"{layout.JUDGE}/{layout.USAGE}",
    ]

    def make(rng: random.Random, folder: Path) -> Callable[[], object]:
        strange = copied(run, folder)
        path = strange / rng.choice([*names, *names[-3:-1] * 2])
        path.parent.mkdir(exist_ok=True)
        if not path.is_file():
            path.write_text("[]")
        if rng.random() < 0.3:
            path.write_bytes(bent(rng, path.read_bytes()))
        else:
            table = json.loads(path.read_bytes())
            new = changed(rng, table, lambda: value(rng, ground.away, folder))
            path.write_text(json.dumps(new))
        if path.name != layout.COMPLETE:
            sealed(strange)
        return lambda: reported(strange, folder / "report")

    ground.hold("json of a run", 400, make)


_JSON_CELLS = ("parts", "reference", "tags")


def test_tables_of_a_run(ground: Ground, run: Path) -> None:
    def make(rng: random.Random, folder: Path) -> Callable[[], object]:
        strange = copied(run, folder)
        path = strange / f"{rng.choice(layout.TABLES)}.parquet"
        table = pq.read_table(path)
        pq.write_table(_changed_table(rng, table, ground, folder), path)
        sealed(strange)
        return lambda: reported(strange, folder / "report")

    ground.hold("tables of a run", 300, make)


def _changed_table(rng: random.Random, table: pa.Table, ground: Ground, folder: Path) -> pa.Table:
    how = rng.randrange(8)
    at = rng.randrange(table.num_columns)
    name = table.column_names[at]
    cells = table.column(at).to_pylist()
    if how == 0:
        return table.drop_columns([name])
    if how == 1:
        return pa.concat_tables([table, table.slice(rng.randrange(table.num_rows), 1)])
    if how == 2:
        return table.slice(0, rng.randrange(table.num_rows))
    if how == 3:
        return table.set_column(at, name, pa.array([rng.random() for _ in cells]))
    row = rng.randrange(len(cells))
    old = cells[row]
    if isinstance(old, str) and name in _JSON_CELLS:
        new = changed(rng, json.loads(old), lambda: value(rng, ground.away, folder))
        cells[row] = rng.choice([json.dumps(new), path_out(rng, ground.away, folder), "[" * 99_999])
    elif isinstance(old, str):
        text = value(rng, ground.away, folder)
        cells[row] = (
            (text if isinstance(text, str) else json.dumps(text))
            .encode("utf-8", "replace")
            .decode()
        )
    elif isinstance(old, float):
        cells[row] = rng.choice([float("nan"), float("inf"), 1e308, -1.0, None])
    else:
        cells[row] = rng.choice([None, -1, 2**62, 7])
    if not isinstance(old, str | float) and not all(isinstance(c, int | None) for c in cells):
        return table
    return table.set_column(at, name, pa.array(cells))


def test_ids_of_pictures(ground: Ground, run: Path) -> None:
    """An id that is a path is never followed, neither for reading nor for writing."""

    def make(rng: random.Random, folder: Path) -> Callable[[], object]:
        strange = copied(run, folder)
        path = strange / f"{rng.choice(['samples', 'outputs'])}.parquet"
        table = pq.read_table(path)
        cells = table.column("parts").to_pylist()
        identity = rng.choice(
            [
                path_out(rng, ground.away, folder),
                str(ground.away.picture),
                f"../../../{ground.away.folder.name}/new",
                "A" * 64,
                "0" * 63,
                f"{'0' * 64}\n",
                f"{'0' * 62}/0",
                f"{ground.away.folder}/new",
                f"{ground.away.folder}/new",
                "../../away/new",
            ]
        )
        _placed(strange, identity)
        part = {"kind": "image", "image": identity.encode("utf-8", "replace").decode()}
        cells = [json.dumps([part]) if cell and "image" in cell else cell for cell in cells]
        at = table.column_names.index("parts")
        pq.write_table(table.set_column(at, "parts", pa.array(cells)), path)
        sealed(strange)
        return lambda: reported(strange, folder / "report")

    ground.hold("ids of pictures", 100, make)


def _placed(run: Path, identity: str) -> None:
    """Put a picture where the id leads, if that is inside of the run: so would its author."""
    place = layout.image_path(run, identity)
    if "\0" in identity or len(identity) > 200 or not place.resolve().is_relative_to(run.resolve()):
        return
    if place.resolve() == run.resolve() or place.is_dir():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(picture())


def test_archives_of_a_run(ground: Ground, run: Path) -> None:
    whole = ground.home / "whole.zip"
    pack(run, whole)
    names = zipfile.ZipFile(whole).namelist()

    def make(rng: random.Random, folder: Path) -> Callable[[], object]:
        path = folder / "run.zip"
        path.write_bytes(_changed_archive(rng, whole.read_bytes(), names, ground, folder))
        return lambda: reported(path, folder / "report")

    ground.hold("archives of a run", 250, make)


def _changed_archive(
    rng: random.Random, data: bytes, names: list[str], ground: Ground, folder: Path
) -> bytes:
    how = rng.randrange(8)
    if how == 0:
        return bent(rng, data)
    if how == 1:  # a few flipped bits anywhere
        flipped = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        return bytes(flipped)
    if how in (2, 3, 4):  # flags (encrypted), method, sizes in the central directory
        offset, size, new = {
            2: (8, 2, rng.choice([1, 0x41, 0x2000])),
            3: (10, 2, rng.choice([1, 6, 12, 14, 93, 97, 99, 65535])),
            4: (rng.choice([20, 24]), 4, rng.choice([0, 1, 2**31, 2**32 - 1])),
        }[how]
        changed_data = bytearray(data)
        start = -1
        for _ in range(rng.randint(1, len(names))):
            start = data.find(b"PK\x01\x02", start + 1)
        struct.pack_into("<H" if size == 2 else "<I", changed_data, start + offset, new)
        if how == 2:
            local = struct.unpack_from("<I", data, start + 42)[0]
            struct.pack_into("<H", changed_data, local + 6, new)
        return bytes(changed_data)
    return _rewritten(rng, data, ground, folder, bomb=how == 7)


def _rewritten(
    rng: random.Random, data: bytes, ground: Ground, folder: Path, *, bomb: bool
) -> bytes:
    """The members under another name, beside a link, doubled, or beside very much of nothing."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(target, "w") as new:
        victim = rng.choice(old.namelist())
        for name in old.namelist():
            strange = path_out(rng, ground.away, folder)[:60_000]
            strange = strange.encode("utf-8", "replace").decode().replace("\0", "?")
            outside = rng.choice([strange, f"../{name}", f"/{name}", f"..\\{name}", f"{name}/x"])
            new.writestr(outside if name == victim else name, old.read(name))
        if rng.random() < 0.3:
            link = zipfile.ZipInfo("images/link")
            link.external_attr = 0o120777 << 16
            new.writestr(link, str(ground.away.text))
        if bomb:
            new.writestr("bomb", b"\0" * 40_000_000, zipfile.ZIP_DEFLATED)
    return target.getvalue()
