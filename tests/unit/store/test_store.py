"""The store: nothing half-written is ever taken for whole, nothing whole is lost."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pairuni_eval.errors import UserError
from pairuni_eval.records import Capability, Output, Picture, Sample, Score, TextPart, make_item
from pairuni_eval.store import layout
from pairuni_eval.store.locks import exclusive
from pairuni_eval.store.pictures import Pictures
from pairuni_eval.store.read import StoredRun, read_run_card
from pairuni_eval.store.rows import RowLog
from pairuni_eval.store.seal import compact
from pairuni_eval.store.tables import read_records
from pairuni_eval.store.write import (
    RunJournal,
    clear_temporaries,
    partial_name,
    write_record,
    write_whole,
)


def row(number: int, text: str = "yes") -> Output:
    return Output(
        id=f"o{number}",
        sample="s",
        draw=number,
        seed=number,
        decoding="d",
        parts=(TextPart(text),),
    )


def log(folder: Path) -> RowLog[Output]:
    return RowLog(folder / "rows" / "outputs-rank0.jsonl", Output)


def files_in(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_rows_come_back_as_they_were_appended(tmp_path: Path) -> None:
    log(tmp_path).append([row(0, "a\nb"), row(1, "é \u2028 \x85")])
    log(tmp_path).append([row(2)])
    assert log(tmp_path).recover().rows == [row(0, "a\nb"), row(1, "é \u2028 \x85"), row(2)]


def test_a_log_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    assert log(tmp_path).recover().rows == []
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("cut", [1, 2, 30])
def test_torn_last_line_is_owed_again(tmp_path: Path, cut: int) -> None:
    rows = log(tmp_path)
    rows.append([row(0), row(1)])
    whole = rows.path.read_bytes()
    os.truncate(rows.path, len(whole) - cut)
    assert rows.recover().rows == [row(0)]
    rows.append([row(1)])
    assert rows.path.read_bytes() == whole


def test_a_record_file_is_readable_json_with_a_last_newline(tmp_path: Path) -> None:
    write_record(tmp_path / "one.json", row(0))
    data = (tmp_path / "one.json").read_bytes()
    assert data.endswith(b"}\n")
    assert b'\n  "sample": "s"' in data
    assert msgspec.json.decode(data, type=Output) == row(0)


def test_a_mapping_keeps_its_order(tmp_path: Path) -> None:
    # The first protocol of a card is its default, in the run's copy of the card too.
    write_record(tmp_path / "card.json", {"protocols": {"zeta": {}, "alpha": {}}})
    plain = msgspec.json.decode((tmp_path / "card.json").read_bytes())
    assert list(plain["protocols"]) == ["zeta", "alpha"]


def test_a_write_that_fails_leaves_no_partial_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.json"
    write_whole(path, b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="disk is full while writing"):
        write_whole(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    clear_temporaries(tmp_path)
    assert files_in(tmp_path) == ["run.json"]


def test_a_picture_is_stored_once_under_its_id(tmp_path: Path) -> None:
    picture = Picture.from_image(Image.new("RGB", (2, 2), "red"))
    with Pictures(tmp_path) as pictures:
        assert pictures.add(picture) == picture.id
    path = layout.image_path(tmp_path, picture.id)
    assert path == tmp_path / "images" / picture.id[:2] / picture.id
    before = path.stat().st_mtime_ns, path.stat().st_ino
    with Pictures(tmp_path) as again:
        again.add(picture)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before
    assert files_in(tmp_path) == [f"images/{picture.id[:2]}/{picture.id}"]


HOLD = """
import sys
from pathlib import Path
from typing import Any
from pairuni_eval.store.locks import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def hold(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    run = tmp_path / "run"
    holder = hold(run)
    with pytest.raises(UserError, match="Another process is working on"), exclusive(run):
        pass
    holder.communicate("\n")
    with exclusive(run):
        pass


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    holder = hold(tmp_path)
    holder.kill()
    holder.wait()
    with exclusive(tmp_path):
        pass
    for stream in (holder.stdin, holder.stdout):
        assert stream is not None
        stream.close()


def records_in(path: Path, kind: type[Any], *, rows: int) -> list[Any]:
    return read_records(path, path.read_bytes(), kind, rows=rows, hint="")


def test_a_compacted_run_reads_back_as_records(tmp_path: Path) -> None:
    sample = make_item(
        benchmark="b",
        version="1",
        key="k",
        capability=Capability.GENERATE,
        parts=("draw",),
        reference={"n": [1, {"deep": None}]},
        tags={"task": "colors"},
    ).sample
    log(tmp_path).append([row(0)])
    compact(tmp_path, {"samples": [sample], "outputs": [row(0), row(1)], "scores": []})
    assert records_in(tmp_path / "samples.parquet", Sample, rows=1) == [sample]
    assert records_in(tmp_path / "outputs.parquet", Output, rows=2) == [row(0), row(1)]
    assert records_in(tmp_path / "scores.parquet", Score, rows=0) == []
    assert not (tmp_path / "rows").exists()


def test_the_marker_tells_counts_and_digests_of_the_tables(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes(b"{}")
    compact(tmp_path, {"outputs": [row(0), row(1)]}, pictures={"00": "11"}, unchecked=3)
    marker = json.loads((tmp_path / "COMPLETE").read_bytes())
    table = (tmp_path / "outputs.parquet").read_bytes()
    assert marker == {
        "rows": {"outputs": 2},
        "sha256": {"outputs": hashlib.sha256(table).hexdigest()},
        "files": {"run.json": hashlib.sha256(b"{}").hexdigest()},
        "pictures": {"00": "11"},
        "unchecked": 3,
    }
    names = [name for name in Output.__struct_fields__ if name != "refused"]  # where one is set
    assert pq.read_table(tmp_path / "outputs.parquet").column_names == names


def test_rows_stay_until_the_marker_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log(tmp_path).append([row(0)])
    replace = Path.replace

    def refuse_marker(self: Path, target: Path) -> Path:
        if Path(target).name == "COMPLETE":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refuse_marker)
    with pytest.raises(UserError, match="disk is full"):
        compact(tmp_path, {"outputs": [row(0)]})
    assert log(tmp_path).recover().rows == [row(0)]
    assert not (tmp_path / "COMPLETE").exists()


def test_only_the_journal_knows_the_time(tmp_path: Path) -> None:
    RunJournal(tmp_path).note("batch", rows=3)
    RunJournal(tmp_path).note("complete")
    events = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert [(e["event"], e.get("rows")) for e in events] == [("batch", 3), ("complete", None)]
    assert all(e["time"] > 1.6e9 for e in events)


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not a run folder: it has no run\.json"):
        read_run_card(tmp_path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"format": "pairuni-records/0"}', "written in format 'pairuni-records/0'"),
        (b"[]", "Expected `object`, got `array`"),
        (b"{", "cannot be read"),
        (b'{"format": "pairuni-records/1"}', "missing required field `code`"),
        (b'{"format": "pairuni-records/1", "code": "\xff"}', "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
    ],
)
def test_a_card_of_another_format_is_named(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(UserError, match=told):
        StoredRun(tmp_path)


def test_records_refuse_pickle_by_having_no_need_of_it(tmp_path: Path) -> None:
    compact(tmp_path, {"outputs": [row(0)]})
    assert not any(path.suffix in (".pkl", ".pt", ".bin") for path in tmp_path.rglob("*"))
    assert msgspec.json.decode((tmp_path / "COMPLETE").read_bytes())


def test_two_threads_never_write_into_one_temporary(tmp_path: Path) -> None:
    """Replies of an endpoint come at once, and two of them may hold the same picture."""
    path = str(tmp_path / "picture")
    with ThreadPoolExecutor(max_workers=1) as other:
        assert other.submit(partial_name, path).result() != partial_name(path)
    assert partial_name(path) == partial_name(path)
