"""Rows of datasets, of recorded answers and of pair sources, as a stranger may write them.

What is sound beside them keeps its value: a broken row costs itself, or the file is refused.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile.conftest import Ground
from hostile.strangers import SECRET, bent, changed, path_out, picture, value
from PIL import Image
from rich.console import Console
from support import upstream, upstream_data

from pairuni_eval.errors import UserError
from pairuni_eval.models.base import Model, Reply, Request
from pairuni_eval.records import Capability, ModelIdentity
from pairuni_eval.runner.recorded import grade_recorded
from pairuni_eval.runner.run import measure
from pairuni_eval.runner.settings import RunSettings
from pairuni_eval.store.read import StoredRun, decode_cell

QUIET = Console(quiet=True)
PICTURES = {name: picture((40 * i, 90, 200 - 40 * i)) for i, name in enumerate("abcd")}
SCORES = "Consistency: 2\nRealism: 1\nAesthetic Quality: 1"


class Plain(Model):
    """Says "A" or "Yes" and draws one picture; live, so that it sees what the rows hold."""

    capabilities = frozenset(Capability)
    identity = ModelIdentity(adapter="plain", name="plain", weights="0")

    @classmethod
    def load(cls, checkpoint: str, options: Any) -> Plain:
        return cls()

    def answer(self, requests: Any) -> list[Reply]:
        return [Reply(text="Yes" if "yes or no" in r.text else "A") for r in requests]

    def draw(self, requests: Any) -> list[Reply]:
        return [Reply(image=Image.new("RGB", (16, 16), (9, 9, 9))) for _ in requests]

    def edit(self, requests: list[Request]) -> list[Reply]:
        return self.draw(requests)


def run(folder: Path, benchmark: str) -> dict[str, tuple[float | None, str]]:
    """Measure, and give value and status by the sample's key (of the first metric by name)."""
    settings = RunSettings(
        checkpoint="plain",
        out=folder / "run",
        benchmarks=(benchmark,),
        data=folder,
        judge="none",
        device="cpu",
    )
    return values(measure(settings, QUIET, Plain()))


def values(folder: Path) -> dict[str, tuple[float | None, str]]:
    stored = StoredRun(folder)
    keys = dict(zip(stored.samples["uid"], stored.samples["key"], strict=True))
    samples = dict(zip(stored.outputs["id"], stored.outputs["sample"], strict=True))
    rows = stored.scores.sort_values(["protocol", "metric"])
    found: dict[str, tuple[float | None, str]] = {}
    for row in rows.itertuples():
        number = None if row.value is None or row.value != row.value else float(row.value)
        found.setdefault(keys[samples[row.output]], (number, str(row.status)))
    shown = {
        part["image"]
        for cell in stored.samples["parts"]
        for part in decode_cell(cell)
        if "image" in part
    }
    for image in shown:
        path = stored.image_path(image)
        assert not path.is_file() or SECRET.encode() not in path.read_bytes()
    return found


# Parquet: one column in another form, or single cells of text

_COLUMN_KINDS: tuple[Callable[[random.Random, Ground, Path, list[Any]], pa.Array], ...] = (
    lambda rng, g, here, old: pa.array([path_out(rng, g.away, here) for _ in old]),
    lambda rng, g, here, old: pa.array([_clean(value(rng, g.away, here)) for _ in old]),
    lambda rng, g, here, old: pa.array([[_bytes(rng)] * rng.randint(0, 2) for _ in old]),
    lambda rng, g, here, old: pa.array(
        [{"bytes": None, "path": path_out(rng, g.away, here)} for _ in old], upstream.PICTURE
    ),
    lambda rng, g, here, old: pa.array(
        [{"bytes": _bytes(rng), "path": None} for _ in old], upstream.PICTURE
    ),
    lambda rng, g, here, old: pa.array([{"src": "x"} for _ in old]),
    lambda rng, g, here, old: pa.array([rng.random() for _ in old]),
    lambda rng, g, here, old: pa.nulls(len(old)),
    lambda rng, g, here, old: pa.array([list(_bytes(rng)[:50]) for _ in old]),
    lambda rng, g, here, old: pa.array([_bytes(rng) for _ in old]),
)


def _clean(one: Any) -> str:
    """A value as text that parquet can hold."""
    text = one if isinstance(one, str) else json.dumps(one)
    return text.encode("utf-8", "replace").decode()


def _bytes(rng: random.Random) -> bytes:
    return bent(rng, rng.choice(list(PICTURES.values())))[:200_000]


PARQUET = {
    "mmmu": ("mmmu/data/validation-00000-of-00001.parquet", lambda: upstream_data.mmmu(PICTURES)),
    "mmstar": ("mmstar/mmstar.parquet", lambda: upstream_data.mmstar(PICTURES)),
    "mme": (
        "mme/data/test-00000-of-00001.parquet",
        lambda: list(upstream.mme(list(PICTURES.values()), 6)),
    ),
    "pope": (
        "pope/Full/popular-00000-of-00001.parquet",
        lambda: list(upstream.pope(list(PICTURES.values()), 6)),
    ),
}


@pytest.mark.parametrize("benchmark", list(PARQUET))
def test_columns_of_parquet_files(ground: Ground, benchmark: str) -> None:
    name, rows = PARQUET[benchmark]
    schema = pa.schema(list(upstream.SCHEMAS[benchmark].items()))
    sound = pa.Table.from_pylist(list(rows()), schema=schema)

    def make(rng: random.Random, folder: Path) -> Callable[[], object]:
        path = folder / name
        path.parent.mkdir(parents=True)
        if rng.random() < 0.2:
            pq.write_table(sound, path)
            path.write_bytes(bent(rng, path.read_bytes()))
        else:
            column = rng.randrange(sound.num_columns)
            old = sound.column(column).to_pylist()
            kind = rng.choice(_COLUMN_KINDS)
            strange = kind(rng, ground, folder, old)
            pq.write_table(sound.set_column(column, sound.column_names[column], strange), path)
        if benchmark == "pope":
            for split in ("adversarial", "random"):
                pq.write_table(sound.slice(0, 0), path.parent / f"{split}-00000-of-00001.parquet")
        return lambda: run(folder, benchmark)

    ground.hold(f"columns of {benchmark}", 150, make)


# JSON: single rows


def test_rows_of_wise(ground: Ground) -> None:
    def make(rng: random.Random, folder: Path) -> Callable[[], object]:
        def draw() -> Any:
            return value(rng, ground.away, folder)

        files = upstream_data.wise()
        place = rng.randrange(len(files))
        files[place] = changed(rng, files[place], draw)
        upstream_data.write_wise(folder / "wise", files)
        if rng.random() < 0.2:
            path = folder / "wise" / "data" / upstream_data.WISE_FILES[place]
            path.write_bytes(bent(rng, path.read_bytes()))
        return lambda: run(folder, "wise")

    ground.hold("rows of wise", 150, make)


def test_rows_of_imgedit(ground: Ground) -> None:
    def make(rng: random.Random, folder: Path) -> Callable[[], object]:
        names = dict(zip(upstream_data_photographs(), PICTURES.values(), strict=False))
        edits: Any = upstream_data.imgedit()
        key = rng.choice(list(edits))
        upstream_data.write_imgedit(folder / "imgedit", edits, names)
        edits[key] = (
            dict(edits[key], id=path_out(rng, ground.away, folder))
            if rng.random() < 0.5
            else changed(rng, edits[key], lambda: value(rng, ground.away, folder))
        )
        path = folder / "imgedit" / "basic_edit.json"
        path.write_text(json.dumps(edits))
        if rng.random() < 0.2:
            path.write_bytes(bent(rng, path.read_bytes()))
        return lambda: run(folder, "imgedit")

    ground.hold("rows of imgedit", 150, make)


def upstream_data_photographs() -> list[str]:
    return sorted({name for _, name, *_ in upstream_data.IMGEDIT})


# Recorded answers


def _answers() -> list[dict[str, Any]]:
    return [{"id": str(i), "text": "ABCD"[i % 4]} for i in range(6)]


def test_rows_of_answers(ground: Ground) -> None:
    """A sound row keeps its value beside a broken one, unless the file is refused."""
    name, rows = PARQUET["mmstar"]
    schema = pa.schema(list(upstream.SCHEMAS["mmstar"].items()))
    data = ground.home / "data"
    (data / name).parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(list(rows()), schema=schema), data / name)
    right = _graded(ground.home / "right", data, _write(ground.home / "right.jsonl", _answers()))

    def make(rng: random.Random, folder: Path) -> Callable[[], object]:
        answers = _answers()
        at = rng.randrange(len(answers))
        strange = changed(rng, answers[at], lambda: value(rng, ground.away, folder))
        path = _write(folder / "answers.jsonl", [*answers[:at], strange, *answers[at + 1 :]])
        broken = rng.random() < 0.25
        if broken:
            path.write_bytes(bent(rng, path.read_bytes()))

        def check() -> None:
            found = _graded(folder / "run", data, path)
            if not broken:
                for key in found.keys() - {str(at), str(strange.get("id"))}:
                    assert found[key] == right[key]

        return check

    ground.hold("rows of answers", 300, make)


def _write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _graded(out: Path, data: Path, path: Path) -> Mapping[str, tuple[float | None, str]]:
    settings = RunSettings(
        checkpoint=f"recorded:{path}",
        out=out,
        benchmarks=("mmstar",),
        protocols=("official",),
        data=data,
    )
    return values(grade_recorded(settings, path, None, QUIET).folder)


def test_pictures_of_answers(ground: Ground) -> None:
    """Recorded pictures come from beside the file, and from nowhere else."""

    def make(rng: random.Random, folder: Path) -> Callable[[], object]:
        (folder / "images").mkdir()
        (folder / "images" / "0.png").write_bytes(picture())
        named = [path_out(rng, ground.away, folder), "images/0.png"]
        rows = [{"id": f"{i:05d}", "image": rng.choice(named)} for i in range(4)]
        path = _write(folder / "answers.jsonl", rows)
        settings = RunSettings(
            checkpoint=f"recorded:{path}",
            out=folder / "run",
            benchmarks=("tiny-geneval",),
            protocols=("official",),
            limit=4,
        )
        return lambda: values(grade_recorded(settings, path, None, QUIET).folder)

    ground.hold("pictures of answers", 60, make)


# Sources of pairs


def test_rows_of_pair_sources(ground: Ground) -> None:
    from pairuni_train.pair_data.config import Columns, FileSource
    from pairuni_train.pair_data.sources import locate, read_source

    columns = Columns(image="images", question="question", answer="answer", id="id")
    source = FileSource(name="asked", files=("*.*",), columns=columns, licence="MIT", folder=".")

    def make(rng: random.Random, folder: Path) -> Callable[[], object]:
        rows: list[Any] = [
            {"id": f"u{i}", "images": "a.png", "question": f"What is {i}?", "answer": "A"}
            for i in range(3)
        ]
        rows = changed(rng, rows, lambda: value(rng, ground.away, folder))
        rows[-1:] = [
            {
                "id": "last",
                "images": path_out(rng, ground.away, folder),
                "question": "?",
                "answer": "B",
            }
        ]
        path = _write(folder / "rows.jsonl", rows)
        if rng.random() < 0.2:
            path.write_bytes(bent(rng, path.read_bytes()))

        def read() -> None:
            for found in read_source(source, locate(source, folder), "understanding", 0):
                half = found.half
                assert half is None or SECRET.encode() not in half.image

        return read

    ground.hold("rows of pair sources", 200, make)


def test_the_trial_itself_sees_a_door(ground: Ground) -> None:
    """What reads, writes, raises or refuses without words is found."""

    def harmful(act: Callable[[], object]) -> None:
        with pytest.raises(AssertionError, match="1 of 1 inputs do harm"):
            ground.hold(f"{act}", 1, lambda *_: act)

    for path in ground.home.iterdir():
        assert path.is_dir()
    harmful(lambda: Path(ground.away.text).read_text())
    (ground.home / "0").rmdir()
    harmful(lambda: (ground.away.folder / "new").write_text("x"))
    (ground.home / "0").rmdir()
    harmful(lambda: {}["x"])
    (ground.home / "0").rmdir()

    def refuse() -> None:
        raise UserError("")

    harmful(refuse)
