"""ImgEdit Basic from files in upstream's form: photographs, made-up prompts, judges that fail."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image
from support.fake_judge import WrittenJudge, drawn, marked, ready

from pairuni_eval.catalog import find_card
from pairuni_eval.errors import UserError
from pairuni_eval.judges.judge import JudgeReply
from pairuni_eval.records import ImagePart, Item, Status
from pairuni_eval.scorers import rubric
from pairuni_eval.stats.aggregate import GradedRows, make_aggregate

EDITS = {
    "7": {"id": "animal/chelsea.png", "prompt": "Remove the cat.", "edit_type": "remove"},
    "3": {"id": "daily object/coffee.png", "prompt": "Make it tea.", "edit_type": "replace"},
    "12": {"id": "human/absent.png", "prompt": "Add a hat.", "edit_type": "add"},
    "13": {"id": "animal/chelsea.png", "prompt": "Fly.", "edit_type": "levitate"},
}
PROMPTS = {
    "remove": "Gone? <edit_prompt>",
    "replace": "<edit_prompt> Done?",
    "add": "<edit_prompt>",
}
GOOD = "Brief reasoning: fine\nPrompt Compliance: 5\nVisual Naturalness: 4\nIntegrity: 4"


@pytest.fixture
def folder(tmp_path: Path, photographs: dict[str, bytes]) -> Path:
    """A checkout: the JSON files in Benchmark/Basic, the pictures of Benchmark.tar unpacked."""
    basic = tmp_path / "Benchmark" / "Basic"
    basic.mkdir(parents=True)
    (basic / "basic_edit.json").write_text(json.dumps(EDITS))
    (basic / "prompts.json").write_text(json.dumps(PROMPTS))
    for edit in list(EDITS.values())[:2]:
        path = tmp_path / "Benchmark" / "singleturn" / edit["id"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photographs[path.name])
    return tmp_path


@pytest.fixture
def edited() -> Image.Image:
    return Image.new("RGB", (6, 4), "white")


def test_samples_hold_picture_and_instruction(folder: Path, photographs: dict[str, bytes]) -> None:
    _, items = ready("imgedit", folder)
    assert [item.sample.key for item in items] == ["7", "3", "12", "13"]
    assert items[0].pictures[0].data == photographs["chelsea.png"]
    assert items[0].sample.text == "Remove the cat."
    assert items[0].sample.tags == {"edit_type": "remove"}
    assert items[0].sample.unit == items[3].sample.unit  # the same picture, one cluster
    assert items[2].pictures[0].data == b""  # the runner records it on the row


def test_pictures_may_lie_beside_the_json(tmp_path: Path, photographs: dict[str, bytes]) -> None:
    (tmp_path / "basic_edit.json").write_text(json.dumps(EDITS))
    (tmp_path / "animal").mkdir()
    (tmp_path / "animal" / "chelsea.png").write_bytes(photographs["chelsea.png"])
    _, items = ready("imgedit", tmp_path)
    assert items[0].pictures[0].data == photographs["chelsea.png"]
    assert items[1].pictures[0].data == b""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", "expected an object of edits, found list"),
        ('{"1": 2}', "key '1': expected an object, found int"),
        ('{"1": {"id": "a", "promt": "b", "edit_type": "add"}}', "Is it 'promt'?"),
        ('{"1": {"id": 5, "prompt": "b", "edit_type": "add"}}', "'id' must be a text, not int"),
        ('{"1": ', "not JSON"),
        ("[" * 100_000, "not JSON"),
        (
            json.dumps({str(i): EDITS["7"] for i in range(737)}),
            "as many rows as the official data, but SHA-256",
        ),
    ],
)
def test_another_form_is_named(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "basic_edit.json").write_text(content)
    with pytest.raises(UserError, match=r"basic_edit\.json") as caught:
        ready("imgedit", tmp_path)
    assert said in caught.value.message


def test_the_judge_sees_prompt_original_and_edit(folder: Path, edited: Image.Image) -> None:
    benchmark, items = ready("imgedit", folder)
    judge = WrittenJudge(lambda _: GOOD)
    (marks,) = marked(benchmark, [drawn(items[0], edited)], judge, "official")
    ((question,),) = judge.batches
    assert question.prompt == "Gone? Remove the cat."
    original = Image.open(io.BytesIO(items[0].pictures[0].data))
    assert [image.size for image in question.images] == [original.size, (6, 4)]
    # (5 + 4 + 4) / 3, rounded to two decimals.
    assert marks["score"].value == 4.33
    assert str(marks["score"].judge).startswith("written/1 with another prompt, sha256 ")


def test_what_cannot_be_asked_says_why(folder: Path, edited: Image.Image) -> None:
    benchmark, items = ready("imgedit", folder)
    judge = WrittenJudge(lambda _: GOOD)
    answers = [drawn(item, edited) for item in items]
    marks = [row["score"] for row in marked(benchmark, answers, judge, "lmms-eval")]
    assert [mark.status for mark in marks] == [
        Status.SCORED,
        Status.SCORED,
        Status.MISSING_OUTPUT,  # the original is not there
        Status.SKIPPED,
    ]
    assert marks[3].verdict == "no judge prompt: there is none for the edit type 'levitate'"
    assert judge.calls == [("7", 0), ("3", 0)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no judge prompt: put prompts.json of https://github.com/PKU-YuanGroup/ImgEdit"),
        ("{", "prompts.json: not JSON"),
        ('["x"]', "is not an object of texts by edit type"),
    ],
)
def test_without_prompts_rows_are_skipped(
    folder: Path, edited: Image.Image, content: str | None, said: str
) -> None:
    path = folder / "Benchmark" / "Basic" / "prompts.json"
    path.unlink() if content is None else path.write_text(content)
    benchmark, items = ready("imgedit", folder)
    (marks,) = marked(
        benchmark, [drawn(items[0], edited)], WrittenJudge(lambda _: GOOD), "official"
    )
    assert marks["score"].status is Status.SKIPPED
    assert said in str(marks["score"].verdict)


@pytest.mark.parametrize(
    ("reply", "official", "lmms"),
    [
        ("A: 5\nB: 4\nC: 3", 4.0, 4.0),
        ("I cannot help with that.", None, 0.0),
        ("**A:** 5\n**B:** 4\n**C:** 3", None, 4.0),  # lmms-eval: the ends of lines
        ("A: 5/5\nB: 4/5\nC: 3/5", None, 4.0),
        ("A: 9\nB: 9\nC: 9", 9.0, 9.0),  # no range is checked
        ('{"A": 5, "B":', None, 0.0),
        ("A: 5\nB: 4", 4.5, 0.0),
        ("A: \u00b2", None, 0.0),  # a superscript is a digit and no number
        (f"A: {'9' * 5000}", None, 0.0),
        ("five\nreally 4\nand 3", None, 0.0),
        ("5\n4\n3", None, 4.0),
        (JudgeReply("refused", Status.REFUSED), None, 0.0),
        (JudgeReply("500", Status.JUDGE_FAILED), None, 0.0),
    ],
)
def test_replies_under_both_protocols(
    folder: Path, edited: Image.Image, reply: Any, official: float | None, lmms: float
) -> None:
    benchmark, items = ready("imgedit", folder)
    judge = WrittenJudge(lambda _: reply)
    answer = drawn(items[0], edited)
    (first,) = marked(benchmark, [answer], judge, "official")
    (second,) = marked(benchmark, [answer], judge, "lmms-eval")
    assert (first["score"].value, second["score"].value) == (official, lmms)
    unscored = reply.status if isinstance(reply, JudgeReply) else Status.JUDGE_FAILED
    assert first["score"].status is (unscored if official is None else Status.SCORED)
    assert len(judge.calls) == 2  # the official script asks once


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(ValueError, match="vlmevalkit"):
        rubric.imgedit_marks(JudgeReply(GOOD), "vlmevalkit")


def overall(values: list[float], types: list[str], protocol: str, metric: str) -> float:
    spec = find_card("imgedit").protocols[protocol].metric(metric)
    tags = {"edit_type": np.array(types, dtype=object)}
    count = len(values)
    rows = GradedRows(np.array(values), np.arange(count), np.zeros(count, dtype=np.int64), tags)
    aggregate = make_aggregate(spec, rows)
    return float(aggregate.finish(aggregate.features(rows).sum(axis=0)))


def test_official_overall_is_the_mean_of_rounded_type_means() -> None:
    values, types = [1.0, 1.0, 2.0, 5.0], ["add", "add", "add", "remove"]
    # add 4/3 = 1.33, remove 5.0; over edits 9/4.
    assert overall(values, types, "official", "overall") == pytest.approx((1.33 + 5.0) / 2)
    assert overall(values, types, "lmms-eval", "average") == pytest.approx(2.25)


def test_official_files_are_accepted(shared: Path) -> None:
    benchmark, items = ready("imgedit", shared / "data")
    assert len(items) == benchmark.card.expected == 737
    judge = WrittenJudge(lambda _: GOOD)
    (marks,) = marked(benchmark, [_with_source(items[0])], judge, "official")
    assert marks["score"].judge == "written/1"  # the official prompts


def _with_source(item: Any) -> Any:
    """An answer whose original is at hand, which the shared folder does not hold."""
    picture = Image.new("RGB", (4, 4))
    parts = (ImagePart(item.sample.images[0]), *item.sample.parts[1:])
    whole = Item(msgspec.structs.replace(item.sample, parts=parts), item.pictures)
    return msgspec.structs.replace(drawn(whole, picture), load_image=lambda _: picture)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("/etc/passwd", "'/etc/passwd' leads out of the dataset's folder"),
        ("../secret.png", "'../secret.png' leads out of the dataset's folder"),
        ("animal/../../../../secret.png", "leads out of the dataset's folder"),
        ("x\0.png", "'x\\x00.png' holds a zero byte"),
        ("x" * 5000, "a text of 5000 characters, too long for a path"),
        ("prompts.json", "the file 'prompts.json' is not an image"),
    ],
)
def test_an_id_never_leads_out_of_the_pictures(
    tmp_path: Path, photographs: dict[str, bytes], name: str, told: str
) -> None:
    folder = tmp_path / "above" / "given"
    folder.mkdir(parents=True)
    for outside in ("secret.png", "above/secret.png"):
        (tmp_path / outside).write_bytes(photographs["coffee.png"])
    (folder / "prompts.json").write_text("{}")
    (folder / "basic_edit.json").write_text(json.dumps({"9": EDITS["7"] | {"id": name}}))
    (item,) = ready("imgedit", folder)[1]
    assert item.pictures[0].data == b""
    flaw = str(item.pictures[0].flaw)
    assert flaw.startswith("basic_edit.json, key '9': ")
    assert told in flaw


def test_pictures_of_another_folder_are_not_taken_for_unpacked_ones(
    tmp_path: Path, photographs: dict[str, bytes]
) -> None:
    given = tmp_path / "home" / "given"
    given.mkdir(parents=True)
    (tmp_path / "home" / "private.png").write_bytes(photographs["coffee.png"])
    row = EDITS["7"] | {"id": "private.png"}
    (given / "basic_edit.json").write_text(json.dumps({"9": row}))
    (item,) = ready("imgedit", given)[1]
    assert item.pictures[0].data == b""
