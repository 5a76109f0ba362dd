"""A finished run is what COMPLETE says it is, or every reader says what is not."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import example_run as example

from pairuni_eval.errors import UserError
from pairuni_eval.report.build import build_report
from pairuni_eval.store import layout
from pairuni_eval.store.archive import pack, unpacked
from pairuni_eval.store.partial_run import open_run
from pairuni_eval.store.read import StoredRun
from pairuni_eval.store.seal import remove_rows


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sealed")
    benchmarks = [example.cards(8)[3], example.cards(8)[4]]  # POPE, GenEval
    example.write_run(root / "other", name="other", skill=0.3, count=8, benchmarks=benchmarks)
    example.write_run(root / "run", count=8, benchmarks=benchmarks)
    return root


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole / "other", tmp_path / "other")
    return Path(shutil.copytree(whole / "run", tmp_path / "run"))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def refusal(run: Path) -> UserError:
    with pytest.raises(UserError) as refused:
        stored = open_run(run)
        _ = stored.samples, stored.outputs, stored.scores, stored.figures
    return refused.value


@pytest.mark.parametrize("table", ["samples", "outputs", "scores"])
@pytest.mark.parametrize(
    "command",
    [
        ["report", "run"],
        ["report", "other", "--baseline", "a=run"],
        ["compare", "run", "other"],
        ["compare", "other", "run", "--json"],
        ["show", "run", "q0003"],
    ],
    ids=" ".join,
)
def test_every_reader_refuses_a_changed_table(
    cli: Any, run: Path, table: str, command: list[str]
) -> None:
    flip(run / f"{table}.parquet")
    ran = cli(*command)
    assert ran.code == 2 and ran.out == ""
    assert ran.error.startswith(f"run/{table}.parquet: it is changed since the run wrote it")
    assert "Copy the run folder again; or delete run/COMPLETE and measure again:" in ran.next
    assert "pairuni-eval run --checkpoint tiny --suite tiny --seed 7 --out run" in ran.next


def test_values_turned_around_are_noticed(run: Path) -> None:
    path = run / "scores.parquet"
    frame = pd.read_parquet(path)
    frame.assign(value=1 - frame["value"]).to_parquet(path)
    assert "scores.parquet: it is changed" in refusal(run).message


def test_the_mark_of_another_run_is_refused(run: Path) -> None:
    shutil.copy(run.parent / "other" / "COMPLETE", run / "COMPLETE")
    assert "run.json: it is changed" in refusal(run).message
    without = msgspec.json.decode((run / "COMPLETE").read_bytes()) | {"files": {}}
    (run / "COMPLETE").write_bytes(msgspec.json.encode(without))
    assert "outputs.parquet: it is changed" in refusal(run).message


@pytest.mark.parametrize("name", ["run.json", "cards/tiny-pope.json"])
def test_the_runs_own_json_is_compared_too(run: Path, name: str) -> None:
    path = run / name
    path.write_bytes(path.read_bytes().replace(b"\n", b" \n", 1))
    assert f"{path}: it is changed" in refusal(run).message


def test_what_a_kill_left_beside_the_mark_goes_with_the_rows(run: Path) -> None:
    rows = run / layout.ROWS
    rows.mkdir()
    for name in ("outputs.jsonl", ".outputs.jsonl.abc.tmp", layout.PLANNED):
        (rows / name).write_bytes(b"cut")
    remove_rows(run)
    assert not rows.exists()


def test_what_an_earlier_version_did_not_list_is_not_compared(run: Path) -> None:
    plain = json.loads((run / "COMPLETE").read_bytes())
    old = {"rows": plain["rows"], "sha256": plain["sha256"]}
    (run / "COMPLETE").write_text(json.dumps(old))
    path = run / "run.json"
    path.write_bytes(path.read_bytes().replace(b"\n", b" \n", 1))
    assert len(StoredRun(run).outputs) == 16
    assert StoredRun(run).unchecked and not StoredRun(run.parent / "other").unchecked


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "cannot be read"),
        (b"{}", "missing required field `rows`"),
        (b'{"rows": {"samples": "8"}, "sha256": {}}', "rows[...]: Expected `int`, got `str`"),
        (b'{"rows": {}, "sha256": {}}', "COMPLETE does not name this table"),
    ],
)
def test_a_damaged_mark_is_a_sentence(run: Path, content: bytes, told: str) -> None:
    (run / "COMPLETE").write_bytes(content)
    assert told in refusal(run).message


def test_a_missing_table_is_named(run: Path) -> None:
    (run / "outputs.parquet").unlink()
    assert "outputs.parquet: cannot be read: No such file" in refusal(run).message


def test_a_table_that_the_mark_does_not_name_is_none_of_the_run(run: Path) -> None:
    shutil.copy(run / "scores.parquet", run / "opinions.parquet")
    with pytest.raises(UserError, match=r"opinions\.parquet: COMPLETE does not name"):
        _ = StoredRun(run).opinions


def test_the_same_command_over_a_changed_run_does_not_say_that_all_is_well(
    cli: Any, tmp_path: Path
) -> None:
    (tmp_path / "s.jsonl").write_text('{"prompt": "*", "text": "yes"}\n')
    command = ["run", "--checkpoint", "scripted:s.jsonl", "--benchmarks", "tiny-pope", "--limit", 4]
    command += ["--report", "none"]
    assert cli(*command, "--out", "r").code == 0
    for name in ("samples.parquet", "plan.json"):
        before = (tmp_path / "r" / name).read_bytes()
        flip(tmp_path / "r" / name)
        for more in ([], ["--plan"]):
            ran = cli(*command, "--out", "r", *more)
            assert ran.code == 2 and f"r/{name}: it is changed" in ran.error
        (tmp_path / "r" / name).write_bytes(before)
    assert cli(*command, "--out", "r").code == 0
    flip(tmp_path / "r" / "scores.parquet")
    (tmp_path / "r" / "COMPLETE").unlink()  # the way back that is offered
    assert cli(*command, "--out", "r").code == 0


# Pictures


def drawn(run: Path) -> list[Path]:
    """The pictures that outputs hold."""
    cells = pd.read_parquet(run / "outputs.parquet")["parts"]
    parts = [part for cell in cells for part in json.loads(cell)]
    return [layout.image_path(run, part["image"]) for part in parts if "image" in part]


def page(run: Path, out: Path) -> str:
    return build_report(StoredRun(run), out, {}).with_name("report.md").read_text()


def test_a_sound_run_says_nothing_of_pictures(run: Path, tmp_path: Path) -> None:
    assert StoredRun(run).soundness == (0, 0, False, 0)
    text = page(run, tmp_path / "out")
    assert "pictures are" not in text and "| Rows | every row was checked |" in text


def in_page(picture: bytes) -> str:
    """What a report's page holds of a small picture."""
    return base64.b64encode(picture).decode()


def test_the_report_counts_what_is_lost_and_shows_no_changed_picture(
    run: Path, tmp_path: Path
) -> None:
    first, second, third = list(dict.fromkeys(drawn(run)))[:3]
    lost, replaced = first.read_bytes(), second.read_bytes()
    first.unlink()
    second.write_bytes(third.read_bytes())  # another picture of the run, whole in itself
    sound = StoredRun(run).soundness
    assert (sound.missing, sound.changed) == (1, 1)
    text = page(run, tmp_path / "out")
    assert "> 1 picture is missing from the run folder: what rests on it stands as it was" in text
    assert "> 1 picture is changed since the run stored it: what rests on it stands" in text
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert in_page(third.read_bytes()) in html
    assert not any(in_page(data) in html for data in (lost, replaced))
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["missing_pictures"], summary["changed_pictures"]) == (1, 1)


def test_a_picture_that_an_earlier_report_copied_is_copied_anew_if_it_differs(
    run: Path, tmp_path: Path
) -> None:
    page(run, tmp_path / "out")
    copied = next(iter((tmp_path / "out" / "images").iterdir()))
    right = copied.read_bytes()
    flip(copied)
    page(run, tmp_path / "out")
    assert copied.read_bytes() == right


def test_show_says_what_is_wrong_with_a_picture(cli: Any, run: Path) -> None:
    path = drawn(run)[0]
    samples, outputs = StoredRun(run).samples, StoredRun(run).outputs
    sample = outputs[outputs["parts"].str.contains(path.name)]["sample"].iloc[0]
    assert sample in set(samples["uid"])
    assert "(the picture" not in cli("show", "run", sample).out
    flip(path)
    assert (
        f"{path.name}  (the picture is changed since it was stored)"
        in cli("show", "run", sample).out
    )
    path.unlink()
    assert "(the picture is missing from the run folder)" in cli("show", "run", sample).out


# What a table must be, whoever wrote it


Change = Callable[[pa.Table], pa.Table]


def set_column(name: str, values: Callable[[list[Any]], list[Any]]) -> Change:
    def change(table: pa.Table) -> pa.Table:
        cells = values(table.column(name).to_pylist())
        return table.set_column(table.column_names.index(name), name, pa.array(cells))

    return change


def first(value: Any) -> Callable[[list[Any]], list[Any]]:
    return lambda cells: [value, *cells[1:]]


ID = "0" * 64
TABLES: dict[str, tuple[str, Change, str]] = {
    "no column": ("outputs", lambda t: t.drop_columns(["sample"]), "'sample' is missing"),
    "tags no JSON": ("samples", set_column("tags", first("{")), "'tags' holds in row 1 what"),
    "tags a list": ("samples", set_column("tags", first("[]")), "'tags' holds in row 1 what"),
    "reference": ("samples", set_column("reference", first("7")), "'reference' holds in row 1"),
    "empty uid": ("samples", set_column("uid", first(None)), "'uid' has 1 empty cells"),
    "infinite": ("scores", set_column("value", first(float("inf"))), "a number that is not finite"),
    "NaN": ("scores", set_column("value", first(float("nan"))), "a number that is not finite"),
    "text": ("scores", set_column("value", lambda c: ["1"] * len(c)), "holds string, not number"),
    "status": ("scores", set_column("status", first("fine")), "holds 'fine', which is not one of"),
    "capability": (
        "samples",
        set_column("capability", first("fly")),
        "holds 'fly', which is not one of",
    ),
    "draw": ("outputs", set_column("draw", lambda c: [0.5] * len(c)), "double, not whole number"),
    "twice": ("scores", lambda t: pa.concat_tables([t, t.slice(0, 1)]), "two rows of"),
    "output twice": ("outputs", lambda t: pa.concat_tables([t, t.slice(2, 1)]), "two rows of"),
}
PATHS = ["../../../outside", "/etc/passwd", ID[:-1], ID + "0", ID.replace("0", "A"), ID + "\n", ""]
for place in PATHS:
    cell = json.dumps([{"kind": "image", "image": place}])
    for table in ("samples", "outputs"):
        TABLES[f"{table} {place!r}"] = (table, set_column("parts", first(cell)), "regex")


@pytest.mark.parametrize(("table", "change", "told"), TABLES.values(), ids=TABLES.keys())
def test_a_table_of_another_form_is_a_sentence_though_its_hash_is_right(
    run: Path, table: str, change: Change, told: str
) -> None:
    path = run / f"{table}.parquet"
    pq.write_table(change(pq.read_table(path)), path)
    refused = refusal(example.reseal(run))
    assert refused.message.startswith(str(path)) and told in refused.message


def test_a_column_that_an_older_table_lacks_has_its_default(run: Path) -> None:
    path = run / "outputs.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["skipped", "tokens"]), path)
    outputs = StoredRun(example.reseal(run)).outputs
    assert outputs["skipped"].isna().all() and (outputs["tokens"] == 0).all()


def test_more_rows_than_the_mark_says_are_noticed(run: Path) -> None:
    seal = json.loads((run / "COMPLETE").read_bytes())
    seal["rows"]["scores"] -= 1
    (run / "COMPLETE").write_text(json.dumps(seal))
    assert f"it holds {seal['rows']['scores'] + 1} rows, COMPLETE says" in refusal(run).message


# The run's own JSON


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    plain = json.loads(path.read_bytes())
    changed = change(plain)
    path.write_text(json.dumps(plain if changed is None else changed))


DOCUMENTS: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "a list": ("run.json", lambda _: [], "Expected `object`, got `array`"),
    "no seed": ("run.json", lambda p: p.pop("seed") and p, "missing required field `seed`"),
    "planned": (
        "run.json",
        lambda p: p["benchmarks"]["tiny-pope"].update(planned="many"),
        "benchmarks[...].planned: Expected `int`, got `str`",
    ),
    "a path": (
        "run.json",
        lambda p: p["benchmarks"].update({"../x": p["benchmarks"]["tiny-pope"]}),
        "'../x' cannot be the name of a benchmark",
    ),
    "no protocols": (
        "run.json",
        lambda p: p["benchmarks"]["tiny-pope"].update(protocols=[]),
        "benchmarks.tiny-pope.protocols: there is none",
    ),
    "card": ("cards/tiny-pope.json", lambda _: {}, "missing required field `name`"),
    "capability": (
        "cards/tiny-pope.json",
        lambda p: p.update(capability="fly"),
        "capability: Invalid enum value 'fly'",
    ),
    "headline": (
        "cards/tiny-pope.json",
        lambda p: p["protocols"]["official"].update(headline="f2"),
        "protocols.official.headline is 'f2', which is none of its metrics",
    ),
    "protocol": (
        "cards/tiny-pope.json",
        lambda p: p["protocols"].update(other=p["protocols"].pop("official")),
        "protocols: it has no 'tiny-pope@official', which run.json names",
    ),
}


@pytest.mark.parametrize(("name", "change", "told"), DOCUMENTS.values(), ids=DOCUMENTS.keys())
def test_a_document_of_another_form_is_a_sentence_with_its_key(
    run: Path, name: str, change: Callable[[Any], Any], told: str
) -> None:
    edit(run / name, change)
    refused = refusal(example.reseal(run))
    assert refused.message.startswith(str(run / name)) and told in refused.message


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b'{"name": "\xe9"}'])
@pytest.mark.parametrize("name", ["run.json", "cards/tiny-pope.json"])
def test_a_document_that_is_no_json_is_a_sentence(run: Path, name: str, content: bytes) -> None:
    (run / name).write_bytes(content)
    assert f"{run / name}: cannot be read" in refusal(example.reseal(run)).message


def test_keys_of_a_later_version_are_left_out_with_a_note(cli: Any, run: Path) -> None:
    before = cli("compare", "run", "other", "--json").out
    edit(run / "cards" / "tiny-pope.json", add_keys)
    edit(run / "run.json", lambda p: p.update(site="here"))
    example.reseal(run)
    ran = cli("compare", "run", "other", "--json")
    assert ran.out == before
    notes = [line for line in ran.err.splitlines() if line.startswith("Note: ")]
    assert len(notes) == 2 and "run/run.json: pairuni" in notes[0] and "'site'" in notes[0]
    assert notes[1].startswith("Note: run/cards/tiny-pope.json: pairuni")
    for key in ("'mood'", "'data.mirror'", "'protocols.official.metrics.color'"):
        assert key in notes[1]


def add_keys(card: Any) -> None:
    card["mood"] = "good"
    card["data"]["mirror"] = {"at": 1}
    for metric in card["protocols"]["official"]["metrics"]:
        metric["color"] = "red"


# Packed runs


def test_a_packed_run_is_compared_where_it_is_unpacked(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    pack(run, tmp_path / "a.zip")
    folder = unpacked(tmp_path / "a.zip")
    sound = StoredRun(folder).soundness
    assert (sound.missing, sound.changed) == (0, 0), "what it leaves out is not missing"
    flip(folder / "scores.parquet")
    refused = refusal(tmp_path / "a.zip")
    assert "scores.parquet: it is changed" in refused.message
    assert refused.hint == f"Delete {folder}: it is unpacked anew when the run is named again."
    shutil.rmtree(folder)
    assert len(open_run(tmp_path / "a.zip").scores) == 24


def test_a_changed_run_is_not_packed(run: Path, tmp_path: Path) -> None:
    picture = drawn(run)[0]
    flip(picture)
    with pytest.raises(UserError, match="the picture is changed since it was stored"):
        pack(run, tmp_path / "a.zip")
    flip(picture)
    flip(run / "samples.parquet")
    with pytest.raises(UserError, match=r"samples\.parquet: it is changed"):
        pack(run, tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()


def test_a_file_that_anybody_can_drop_makes_no_packed_run(run: Path) -> None:
    drawn(run)[0].unlink()
    (run / "plan.json").unlink(missing_ok=True)
    before = StoredRun(run).soundness
    (run / ".packed").touch()
    stored = StoredRun(run)
    assert stored.soundness == before and before.missing == 1 and not stored.packed
    assert stored.way_back.startswith("Copy the run folder again")


# Places


@pytest.mark.parametrize("name", ["~", "exp:1", "file:x", "s3:", "a b%20"])
def test_the_bytes_that_are_compared_are_those_that_are_read(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    home = Path(shutil.copytree(run.parent / "other", tmp_path / "home"))
    expected = StoredRun(run).scores
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, tmp_path / name)
    read = StoredRun(Path(name))
    assert read.scores.equals(expected) and not read.scores.equals(StoredRun(home).scores)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("files", "/etc/passwd"),
        ("files", "../x"),
        ("files", "cards/../../x.json"),
        ("files", "cards//etc/x.json"),
        ("files", "journal.jsonl"),
        ("sha256", "../x"),
        ("sha256", "/tmp/x"),
        ("rows", "../x"),
    ],
)
def test_a_mark_that_names_files_outside_the_run_is_refused(
    run: Path, monkeypatch: pytest.MonkeyPatch, key: str, name: str
) -> None:
    mark = msgspec.json.decode((run / "COMPLETE").read_bytes())
    mark[key][name] = 3 if key == "rows" else "0" * 64
    (run / "COMPLETE").write_bytes(msgspec.json.encode(mark))
    opened: list[str] = []
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: (opened.append(str(self)), real(self))[1])
    with pytest.raises(UserError, match=f"{key}: '{name}' is n") as refused:
        StoredRun(run).verify()
    assert refused.value.message.startswith(f"{run / 'COMPLETE'}: ")
    assert opened == [str(run / "run.json"), str(run / "COMPLETE")]


# Text of a stranger's run


def test_text_of_a_run_cannot_steer_the_terminal(cli: Any, run: Path) -> None:
    card = msgspec.json.decode((run / "run.json").read_bytes())
    card["a\x1b[2J\nNote: b\u202e"] = 1
    (run / "run.json").write_bytes(msgspec.json.encode(card))
    example.reseal(run)
    ran = cli("report", "run")
    assert "does not know the key 'a\ufffd[2J\ufffdNote: b\ufffd'; it is left out." in ran.err
    card["format"] = "x\x07\nNext:  y"
    (run / "run.json").write_bytes(msgspec.json.encode(card))
    ran = cli("report", "run")
    assert ran.code == 2 and "written in format 'x\ufffd\n       Next:  y'" in ran.err


@pytest.mark.parametrize(
    "command",
    [
        "rm -rf x",
        "pairuni-eval run; rm -rf x",
        "pairuni-eval run $(x)",
        "pairuni-eval run\nrm x",
        "pairuni-eval run \x1b[8m",
        "pairuni-evaluate run",
        "pairuni-eval 'run",
    ],
)
def test_what_is_no_command_of_this_program_is_not_offered(run: Path, command: str) -> None:
    card = msgspec.json.decode((run / "run.json").read_bytes()) | {"command": command}
    (run / "run.json").write_bytes(msgspec.json.encode(card))
    example.reseal(run)
    (run / "outputs.parquet").write_bytes(b"")
    hint = refusal(run).hint
    assert hint is not None and command not in hint
    assert hint.endswith("its run.json does not hold a command of pairuni-eval to be repeated.")


def test_a_run_of_an_earlier_version_is_measured_again_elsewhere(run: Path) -> None:
    card = msgspec.json.decode((run / "run.json").read_bytes()) | {"code": "0.0.1"}
    (run / "run.json").write_bytes(msgspec.json.encode(card))
    example.reseal(run)
    (run / "outputs.parquet").write_bytes(b"")
    assert refusal(run).hint == (
        "Copy the run folder again; or measure into another: pairuni-eval run --checkpoint tiny "
        f"--suite tiny --seed 7 --out {run}-again"
    )
