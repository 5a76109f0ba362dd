"""What a person can get wrong, through the real command line.

Each time: exit code 2, one error line that names the culprit, a way on, no traceback, nothing lost.
A row that is broken is a status on that row, and the run goes on.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support import example_run as example

from pairuni_eval import catalog
from pairuni_eval.errors import UserError, writing
from pairuni_eval.store import write as store_write

YES = {"*": "yes"}


def refused(ran: Any, *named: str, hint: str = "") -> None:
    """Assert a refusal that names all this."""
    assert ran.code == 2, ran.out + ran.err
    assert "Traceback" not in ran.out + ran.err
    for part in named:
        assert part in ran.error, f"{part!r} is not in {ran.error!r}"
    assert hint in (ran.next if hint else "")


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (".lock", "journal.jsonl", "cost.md", "cost.svg")
    }


@pytest.fixture
def folder(untrained: Path, tmp_path: Path) -> Path:
    """A checkpoint that a test may damage."""
    return Path(shutil.copytree(untrained, tmp_path / "checkpoint"))


@pytest.fixture
def asked(write_script: Any) -> list[object]:
    """A quick run of a scripted model in the folder `r`."""
    return [
        *("run", "--checkpoint", write_script(YES), "--benchmarks", "tiny-pope"),
        *("--limit", 8, "--batch-size", 2, "--out", "r", "--report", "none"),
    ]


REPORTED = ("--report", "report")


# Checkpoints


def test_an_unknown_checkpoint_offers_the_nearest(cli: Any) -> None:
    ran = cli("run", "--checkpoint", "tinny", "--suite", "tiny")
    refused(ran, "'tinny'", "Did you mean 'tiny'", hint="--checkpoint tiny")


def test_a_checkpoint_is_looked_for_before_what_its_suite_needs(cli: Any) -> None:
    ran = cli("run", "--checkpoint", "tinny")
    refused(ran, "'tinny'", "Did you mean 'tiny'", hint="--checkpoint tiny")


def test_an_unknown_adapter_offers_the_nearest(cli: Any) -> None:
    ran = cli("run", "--checkpoint", "tiny", "--model", "januss")
    refused(ran, "'januss'", "Did you mean 'janus'", hint="pairuni-eval list models")


def test_a_folder_without_config_is_refused(cli: Any, folder: Path) -> None:
    (folder / "config.json").unlink()
    ran = cli("run", "--checkpoint", folder, "--suite", "tiny")
    refused(ran, str(folder), "config.json", "model.safetensors", hint="save_pretrained")


def truncate(folder: Path) -> str:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    return "model.safetensors: cut off or damaged"


def pickle_only(folder: Path) -> str:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    return "pytorch_model.bin is not an archive as torch.save writes them"


def lose_a_shard(folder: Path) -> str:
    index = {"metadata": {}, "weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    return "model-00002-of-00002.safetensors"


def empty_config(folder: Path) -> str:
    (folder / "config.json").write_text("")
    return "config.json: not JSON"


def no_tokenizer(folder: Path) -> str:
    for name in ("tokenizer.json", "tokenizer_config.json", "processor_config.json"):
        (folder / name).unlink()
    return "cannot be loaded as Janus"


@pytest.mark.parametrize(
    "damage", [truncate, pickle_only, lose_a_shard, empty_config, no_tokenizer]
)
def test_damaged_checkpoints_are_refused_before_anything_is_written(
    cli: Any, folder: Path, tmp_path: Path, damage: Any
) -> None:
    told = damage(folder)
    ran = cli("run", "--checkpoint", folder, "--suite", "tiny", "--out", "r")
    refused(ran, str(folder), told)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("content", ['{"prompt": 1}\n', "not json\n", '{"promt": "x"}\n'])
def test_a_script_in_another_form_is_refused(cli: Any, tmp_path: Path, content: str) -> None:
    (tmp_path / "s.jsonl").write_text(content)
    ran = cli("run", "--checkpoint", "scripted:s.jsonl", "--benchmarks", "tiny-pope")
    refused(ran, "s.jsonl")


# Benchmarks and data


def test_an_unknown_benchmark_offers_the_nearest(cli: Any, asked: list[object]) -> None:
    ran = cli(*asked, "--benchmarks", "tiny-pop")
    refused(ran, "'tiny-pop'", "Did you mean 'tiny-pope'", hint="pairuni-eval list benchmarks")


def test_an_unknown_suite_offers_the_nearest(cli: Any, write_script: Any) -> None:
    ran = cli("run", "--checkpoint", write_script(YES), "--suite", "smokee")
    refused(ran, "'smokee'", "Did you mean 'smoke'", hint="pairuni-eval list suites")


def test_an_unknown_judge_offers_the_nearest(cli: Any, asked: list[object]) -> None:
    ran = cli(*asked, "--benchmarks", "tiny-wise", "--judge", "tinny")
    refused(ran, "'tinny'", "Did you mean 'tiny'", hint="pairuni-eval list judges")


def test_a_card_with_an_unknown_key_is_named(
    cli: Any, asked: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = catalog.benchmark_folders()["tiny-pope"]
    own = Path(shutil.copytree(found.folder, tmp_path / "tiny_pope"))
    text = (own / "card.toml").read_text()
    (own / "card.toml").write_text(text.replace("licence =", "license =", 1))
    folders = {"tiny-pope": found._replace(folder=own)}
    monkeypatch.setattr(catalog, "benchmark_folders", lambda: folders)
    refused(cli(*asked), str(own / "card.toml"), "'license'", "Did you mean 'licence'")


def test_data_that_is_not_there_says_what_was_looked_for(
    cli: Any, asked: list[object], tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "notes.txt").touch()
    ran = cli(*asked, "--benchmarks", "mmstar", "--data", tmp_path / "data")
    refused(ran, "'mmstar'", "*.parquet", str(tmp_path / "data" / "mmstar"), "notes.txt")
    assert "--data DIR" in ran.next


def test_a_data_folder_that_is_none_is_named(cli: Any, asked: list[object]) -> None:
    refused(cli(*asked, "--data", "nowhere"), "--data nowhere")


def test_data_in_other_columns_names_the_column(
    cli: Any, asked: list[object], tmp_path: Path, write_mmstar: Any
) -> None:
    path = write_mmstar(tmp_path / "data", [])
    target = tmp_path / "data" / "pope" / "test.parquet"
    target.parent.mkdir()
    path.rename(target)
    ran = cli(*asked, "--benchmarks", "pope", "--data", tmp_path / "data")
    refused(ran, str(target), "column 'question_id' is missing", hint="as published")


# Broken rows


def pope_row(number: int, image: bytes, question: str = "Is there a cat?") -> dict[str, Any]:
    return {
        "id": str(number),
        "question_id": str(number),
        "question": question,
        "answer": "yes",
        "image_source": f"image-{number}",
        "image": {"bytes": image, "path": None},
        "category": "random",
    }


def broken_images(photographs: Mapping[str, bytes]) -> dict[str, bytes]:
    whole = photographs["chelsea.png"]
    jpeg = photographs["rocket.jpg"]
    huge = bytearray(whole)
    huge[16:24] = (60_000).to_bytes(4, "big") * 2
    return {
        "empty": b"",
        "text": b"<html>Not found</html>",
        "cut": whole[: len(whole) // 2],
        "cut jpeg": jpeg[:500],
        "scrambled": whole[:100] + bytes(len(whole) - 100),
        "bomb": bytes(huge),
        "no header": whole[:20],
    }


def test_a_broken_image_is_a_status_on_its_row_and_the_run_goes_on(
    cli: Any, asked: list[object], tmp_path: Path, photographs: dict[str, bytes], write_pope: Any
) -> None:
    import pandas as pd

    broken = broken_images(photographs)
    whole = [photographs[name] for name in ("chelsea.png", "coffee.png", "rocket.jpg")]
    images = [whole[0], *broken.values(), *whole[1:]]
    write_pope(tmp_path / "data", [pope_row(i, image) for i, image in enumerate(images)])
    ran = cli(
        *asked,
        *("--benchmarks", "pope", "--data", tmp_path / "data", "--limit", 100),
        *("--batch-size", 10, *REPORTED),
    )
    assert ran.code == 0, ran.err
    outputs = pd.read_parquet(tmp_path / "r" / "outputs.parquet")
    errors = list(outputs["error"])
    assert [error is None or error != error for error in errors] == [
        True,
        *(False for _ in broken),
        *(True, True),
    ]
    assert errors[1] == "the image is missing from the dataset row"
    scores = pd.read_parquet(tmp_path / "r" / "scores.parquet")
    correct = scores[(scores["protocol"] == "pope@official") & (scores["metric"] == "correct")]
    assert list(correct["status"]).count("missing_output") == len(broken)
    assert correct["value"].isna().sum() == len(broken)  # not zero
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    rule = summary["benchmarks"]["pope"]["protocols"]["official"]
    assert rule["metrics"]["accuracy"]["value"] == 1.0
    assert rule["metrics"]["accuracy"]["scored"] == 3
    assert rule["metrics"]["accuracy"]["groups"]["random"]["outputs"] == len(images)
    missing = [row["rows"] for row in rule["statuses"] if row["status"] == "missing_output"]
    assert sum(missing) >= len(broken)


def test_a_prompt_without_an_answer_is_a_status_on_its_row(
    cli: Any,
    asked: list[object],
    tmp_path: Path,
    photographs: dict[str, bytes],
    write_pope: Any,
    write_script: Any,
) -> None:
    from pairuni_eval.prompts import pope_prompt

    image = photographs["chelsea.png"]
    rows = [pope_row(i, image, f"Is there a cat in row {i}?") for i in range(4)]
    write_pope(tmp_path / "data", rows)
    known = {pope_prompt(row["question"]): "yes" for row in rows[:3]}
    ran = cli(
        *asked,
        *("--benchmarks", "pope", "--data", tmp_path / "data", "--batch-size", 4),
        *("--checkpoint", write_script(known), *REPORTED),
    )
    assert ran.code == 0, ran.err
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    rule = summary["benchmarks"]["pope"]["protocols"]["official"]
    assert rule["metrics"]["accuracy"]["scored"] == 3


def test_a_model_that_only_fails_stops_the_run_and_is_tried_again(
    cli: Any, asked: list[object], tmp_path: Path, write_script: Any
) -> None:
    script = write_script({"something else": "yes"})
    for _ in range(2):
        ran = cli(*asked, "--checkpoint", script)
        refused(ran, "3 batches in a row failed entirely", "no line for this prompt", hint="same")
        rows = tmp_path / "r" / "rows" / "outputs-rank0.jsonl"
        assert not rows.exists(), "a row that is stored would never be tried again"


# Disks and folders


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """Let the operating system refuse files beyond a size, as a full disk would."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # none may be cut off
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        sys.dont_write_bytecode = before


@pytest.mark.parametrize("size", [1500, 6000, pytest.param(12_000, marks=pytest.mark.slow)])
def test_a_full_disk_keeps_what_was_written_and_the_run_continues(
    cli: Any, asked: list[object], tmp_path: Path, size: int
) -> None:
    assert cli(*asked, *REPORTED).code == 0
    whole = files(tmp_path / "r") | files(tmp_path / "report")
    shutil.rmtree(tmp_path / "r")
    shutil.rmtree(tmp_path / "report")
    with small_files(size):
        ran = cli(*asked, *REPORTED)
    refused(ran, "The disk is full while writing", hint="the same command again")
    assert cli(*asked, *REPORTED).code == 0
    assert files(tmp_path / "r") | files(tmp_path / "report") == whole


@pytest.mark.parametrize("nth", [1, pytest.param(4, marks=pytest.mark.slow), 9])
def test_a_disk_that_fills_up_between_two_writes_is_told(
    cli: Any, asked: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    left = nth

    def full(handle: int) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store_write.os, "fsync", full)
    refused(cli(*asked, *REPORTED), "The disk is full while writing", hint="the same command again")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert cli(*asked, *REPORTED).code == 0


@pytest.mark.parametrize("out", ["file", "file/below", "x" * 300])
def test_an_output_folder_that_cannot_be_is_refused(
    cli: Any, asked: list[object], tmp_path: Path, out: str
) -> None:
    (tmp_path / "file").write_text("precious")
    refused(cli(*asked, "--out", out), "Cannot write", out.partition("/")[0], hint="--out")
    assert (tmp_path / "file").read_text() == "precious"


def test_a_report_folder_that_cannot_be_keeps_the_run(
    cli: Any, asked: list[object], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("precious")
    refused(cli(*asked, "--report", "file"), "Cannot write", "file")
    assert (tmp_path / "r" / "COMPLETE").is_file()
    assert cli("report", "r", "--out", "elsewhere").code == 0


# Run folders


def rewrite(path: Path, **changes: Any) -> None:
    card = json.loads(path.read_text())
    path.write_text(json.dumps(card | changes))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"code": "0.0.1"}, "was written by pairuni 0.0.1"),
        ({"format": "pairuni-records/0"}, "written in format 'pairuni-records/0'"),
    ],
)
@pytest.mark.parametrize("complete", [True, False])
def test_a_run_folder_of_another_version_is_left_alone(
    cli: Any, asked: list[object], tmp_path: Path, changes: Any, told: str, complete: bool
) -> None:
    assert cli(*asked).code == 0
    if not complete:
        (tmp_path / "r" / "COMPLETE").unlink()
    rewrite(tmp_path / "r" / "run.json", **changes)
    if complete:
        example.reseal(tmp_path / "r")
    before = files(tmp_path / "r")
    refused(cli(*asked), "r", told, hint="--out")
    assert files(tmp_path / "r") == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (["--seed", 1], "its seed is 0, now it is 1"),
        (["--limit", 6], "its limit is 8, now it is 6"),
        (["--batch-size", 3], "its batch size is"),
        (["--benchmarks", "tiny-mme"], "its benchmarks is"),
    ],
)
def test_a_run_folder_of_another_command_is_left_alone(
    cli: Any, asked: list[object], tmp_path: Path, change: list[object], told: str
) -> None:
    assert cli(*asked).code == 0
    before = files(tmp_path / "r")
    refused(cli(*asked, *change), "r holds another run", told, hint="--out")
    assert files(tmp_path / "r") == before


HOLD = (
    "import sys; from pathlib import Path; from pairuni_eval.store.locks import exclusive\n"
    "with exclusive(Path('r')):\n    print('held', flush=True); sys.stdin.readline()"
)


def test_two_processes_on_one_run_folder_do_not_mix(
    cli: Any, asked: list[object], tmp_path: Path
) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    refused(cli(*asked), "Another process is working on r", hint="--out")
    assert files(tmp_path / "r") == {}
    holder.communicate("\n")
    assert cli(*asked).code == 0


# Options


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--limit", 0, "--limit is 0"),
        ("--limit", -3, "--limit is -3"),
        ("--batch-size", 0, "--batch-size is 0"),
    ],
)
def test_numbers_out_of_range_are_named(
    cli: Any, asked: list[object], tmp_path: Path, option: str, value: int, told: str
) -> None:
    refused(cli(*asked, option, value), told)
    assert not (tmp_path / "r").exists()


def test_a_seed_that_is_no_number_is_named(cli: Any, asked: list[object]) -> None:
    ran = cli(*asked, "--seed", "text")
    assert ran.code == 2
    assert "--seed" in ran.err
    assert "Traceback" not in ran.err


def test_an_unknown_option_offers_the_nearest(cli: Any, asked: list[object]) -> None:
    ran = cli(*asked, "--benchmark", "pope")
    assert ran.code == 2
    assert "--benchmarks" in ran.err


@pytest.mark.parametrize("option", ["grpo", "=r", "grpo=", ""])
def test_a_baseline_in_another_form_is_refused_before_the_work(
    cli: Any, asked: list[object], tmp_path: Path, option: str
) -> None:
    ran = cli(*asked, "--baseline", option)
    refused(ran, f"'{option}'", "NAME=FOLDER", hint="--baseline grpo=")
    assert not (tmp_path / "r").exists()


def test_a_baseline_that_is_no_run_is_refused_before_the_work(
    cli: Any, asked: list[object], tmp_path: Path
) -> None:
    refused(cli(*asked, "--baseline", "grpo=nowhere"), "nowhere is not a run folder")
    assert not (tmp_path / "r").exists()


def test_a_report_of_an_incomplete_run_says_how_to_finish_it(
    cli: Any, asked: list[object], tmp_path: Path
) -> None:
    assert cli(*asked, "--plan").code == 0
    ran = cli("report", "r")
    refused(ran, "The run in r is not complete", hint="pairuni-eval run")
    assert ran.next.startswith("Continue it: ")
    again = ran.next.removeprefix("Continue it: pairuni-eval ").split()
    assert cli(*again).code == 0
    assert cli("report", "r").code == 0


def test_a_report_of_no_run_is_refused(cli: Any) -> None:
    refused(cli("report", "nowhere"), "nowhere is not a run folder", hint="--out FOLDER")


def test_a_complete_run_with_a_damaged_table_is_named(
    cli: Any, asked: list[object], tmp_path: Path
) -> None:
    assert cli(*asked).code == 0
    (tmp_path / "r" / "scores.parquet").write_bytes(b"no parquet")
    refused(cli("report", "r"), "scores.parquet")


LONG = "x" * 300
QUICK = ("--checkpoint", "tiny", "--benchmarks", "tiny-pope", "--limit", "2")


@pytest.mark.parametrize("name", [LONG, f"{LONG}/b"], ids=["long", "below"])
@pytest.mark.parametrize(
    "words",
    [
        ("run", *QUICK, "--out", "{}"),
        ("report", "{}"),
        ("report", "{}", "--baseline", "a={}"),
        ("compare", "{}", "{}"),
        ("show", "{}", "x"),
        ("run", "--checkpoint", "{}", *QUICK[2:], "--out", "r"),
        ("run", "--checkpoint", "scripted:{}", *QUICK[2:], "--out", "r"),
        ("run", "--checkpoint", "replay:{}", *QUICK[2:], "--out", "r"),
        ("run", "--checkpoint", "recorded:{}", *QUICK[2:], "--out", "r"),
        ("run", *QUICK, "--judge", "{}.toml"),
        ("run", *QUICK, "--data", "{}"),
        ("validate", "tiny-pope", "--data", "{}"),
        ("grade", "--benchmark", "tiny-pope", "--responses", "{}"),
        ("fetch", "--benchmarks", "tiny-pope", "--to", "{}"),
    ],
    ids=" ".join,
)
def test_a_name_that_no_file_can_have_is_a_sentence(
    cli: Any, words: tuple[object, ...], name: str
) -> None:
    refused(cli(*(str(word).replace("{}", name) for word in words)), name[:1])


def test_a_folder_that_the_system_does_not_make_is_a_sentence(cli: Any) -> None:
    refused(cli("run", *QUICK, "--out", "/proc/x"), "Cannot write /proc/x", hint="--out")


@pytest.mark.parametrize(
    "words", [("run", *QUICK), ("grade", "--benchmark", "b", "--responses", "f")]
)
def test_an_empty_name_is_no_folder_to_write(cli: Any, words: tuple[object, ...]) -> None:
    refused(cli(*words, "--out", ""), "The name of the folder to write is empty", hint="--out")


def test_a_run_whose_card_gained_a_protocol_goes_on_with_those_it_began_with(
    cli: Any, asked: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = catalog.find_card
    protocols = list(find("tiny-pope").protocols)
    began = protocols[:-1]

    def before(name: str) -> Any:
        card = find(name)
        kept = {name: card.protocols[name] for name in began}
        return msgspec.structs.replace(card, protocols=kept)

    monkeypatch.setattr(catalog, "find_card", before)
    assert cli(*asked).code == 0
    made = files(tmp_path / "r")
    monkeypatch.setattr(catalog, "find_card", find)
    assert cli(*asked).code == 0
    assert files(tmp_path / "r") == made
    refused(cli(*asked, "--seed", 1), "its seed is 0, now it is 1", hint="--out")
    assert cli(*asked, "--out", "new").code == 0
    new = json.loads((tmp_path / "new" / "run.json").read_bytes())
    assert new["benchmarks"]["tiny-pope"]["protocols"] == protocols
    monkeypatch.setattr(catalog, "find_card", before)
    now = ", ".join(began)
    told = f"its benchmarks is tiny-pope: {now}, {protocols[-1]}; now {now}."
    refused(cli(*asked, "--out", "new"), told)


def test_a_name_with_a_nul_character_is_a_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match="no name holds a NUL character"),
        writing(f"{tmp_path}/a\0b"),
    ):
        Path(f"{tmp_path}/a\0b").mkdir()
