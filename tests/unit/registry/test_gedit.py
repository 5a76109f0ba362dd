"""GEdit-Bench from parquet in upstream's columns, with judges that official code cannot bear."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from support.fake_judge import WrittenJudge, drawn, marked, ready
from support.upstream import write_parquet

from pairuni_eval.catalog import find_card
from pairuni_eval.errors import DatasetError, UserError
from pairuni_eval.judges.judge import JudgeReply, Question
from pairuni_eval.records import Status
from pairuni_eval.scorers import viescore
from pairuni_eval.stats.aggregate import GradedRows, make_aggregate

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
SCHEMA = pa.schema(
    [
        ("task_type", pa.string()),
        ("key", pa.string()),
        ("instruction", pa.string()),
        ("instruction_language", pa.string()),
        ("input_image", PICTURE),
        ("input_image_raw", PICTURE),
        ("Intersection_exist", pa.bool_()),
    ]
)
ROWS = [
    ("style_change", "a1", "Make it a drawing.", "en", "chelsea.png", True),
    ("style_change", "c1", "\u753b\u6210\u7d20\u63cf", "cn", "chelsea.png", True),
    ("text_change", "a2", "Write TEA.", "en", "coffee.png", False),
    ("ps_human", "a3", "Smile.", "en", "astronaut.png", True),
]
SC = '{"score" : [9, 4], "reasoning" : "x"}'
PQ = '{"score" : [9, 10], "reasoning" : "y"}'


@pytest.fixture
def folder(tmp_path: Path, photographs: dict[str, bytes]) -> Path:
    rows = [
        {
            "task_type": group,
            "key": key,
            "instruction": instruction,
            "instruction_language": language,
            "input_image": {"bytes": photographs[name], "path": name},
            "input_image_raw": None,
            "Intersection_exist": both,
        }
        for group, key, instruction, language, name, both in ROWS
    ]
    write_parquet(tmp_path / "data" / "train-00000-of-00001.parquet", rows, SCHEMA)
    return tmp_path


@pytest.fixture
def edited() -> Image.Image:
    return Image.new("RGB", (10, 20), "white")


def is_quality(question: Question) -> bool:
    return len(question.images) == 1


def both(semantics: str, quality: str = PQ) -> WrittenJudge:
    return WrittenJudge(lambda question: quality if is_quality(question) else semantics)


def test_files_of_other_languages_are_named(tmp_path: Path) -> None:
    row = dict(zip(SCHEMA.names, ("style_change", "a", "b", "zh", None, None, True), strict=True))
    write_parquet(tmp_path / "train-0.parquet", [row, row | {"instruction_language": "fr"}], SCHEMA)
    for name, language in (("gedit", "en"), ("gedit-cn", "cn")):
        with pytest.raises(UserError) as refused:
            ready(name, tmp_path)
        assert f"the files hold the languages fr, zh, not {language}" in refused.value.message


def test_each_language_reads_its_rows(folder: Path, photographs: dict[str, bytes]) -> None:
    _, english = ready("gedit", folder)
    _, chinese = ready("gedit-cn", folder)
    assert [item.sample.key for item in english] == ["a1", "a2", "a3"]
    assert [item.sample.key for item in chinese] == ["c1"]
    assert english[0].sample.tags == {"task_type": "style_change", "intersection": "yes"}
    assert english[1].sample.tags["intersection"] == "no"
    assert english[1].pictures[0].data == photographs["coffee.png"]
    assert english[1].sample.text == "Write TEA."


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    schema = pa.schema([("task_type", pa.string()), ("Key", pa.string())])
    write_parquet(tmp_path / "train-0.parquet", [{"task_type": "x", "Key": "y"}], schema)
    with pytest.raises(UserError, match=r"column 'key' is missing\. Is it 'Key'"):
        ready("gedit", tmp_path)


def test_two_questions_an_edit(folder: Path, edited: Image.Image) -> None:
    benchmark, items = ready("gedit", folder)
    judge = both(SC)
    answers = [drawn(item, edited) for item in items[:2]]
    first, _ = marked(benchmark, answers, judge, "official")
    ((semantics, quality, *others),) = judge.batches
    assert len(others) == 2
    size = Image.open(io.BytesIO(items[0].pictures[0].data)).size
    assert [image.size for image in semantics.images] == [size, size]  # the edit is scaled
    assert [image.size for image in quality.images] == [size]
    assert semantics.prompt.endswith("Editing instruction: Make it a drawing.\n")
    assert "drawing" not in quality.prompt
    # The lowest of each list, and sqrt(4 * 9).
    values = {name: mark.value for name, mark in first.items()}
    assert values == {"semantics": 4.0, "quality": 9.0, "overall": 6.0}


def test_both_questions_are_asked_again_where_one_reply_is_bad(
    folder: Path, edited: Image.Image
) -> None:
    benchmark, items = ready("gedit", folder)

    def reply(question: Question) -> str:
        bad = question.facts["key"] == "a2" and question.attempt == 0
        return "no JSON" if bad and is_quality(question) else PQ if is_quality(question) else SC

    judge = WrittenJudge(reply)
    answers = [drawn(item, edited) for item in items]
    marks = marked(benchmark, answers, judge, "official")
    assert [len(batch) for batch in judge.batches] == [6, 2]
    assert judge.calls[6:] == [("a2", 1), ("a2", 1)]
    assert [m["overall"].value for m in marks] == [6.0, 6.0, 6.0]


@pytest.mark.parametrize(
    ("reply", "value", "tries"),
    [
        ("[9, 4]", 6.0, 1),  # read on the first try only
        ("7", pytest.approx((7 * 9) ** 0.5), 1),
        ("```json\n" + SC + "\n```", 6.0, 1),
        ('{"score": 4}', 6.0, 1),
        ("{score: 4, reasoning: bare}", 6.0, 1),
        ('{"score": [70]}', pytest.approx((70 * 9) ** 0.5), 1),  # no range is checked
        ("I cannot help with that.", None, 2),  # official code draws a number
        ("", None, 2),
        ('{"score": [9, 4', None, 2),  # half of a JSON has no closing brace
        ('{"reasoning": "x"}', None, viescore.TRIES),  # official code asks for ever
        ('{"score": [9, 4], "reasoning": "a "quoted" word"}', None, viescore.TRIES),
        ("{" * 5000 + "}", None, viescore.TRIES),
        ('{"score": [-4]}', None, 1),  # no root
        ('{"score": []}', None, 1),
        ('{"score": ["4"]}', None, 1),
        ('{"score": [null]}', None, 1),
        ('{"score": [NaN]}', None, 1),
        ('{"score": [1e400]}', None, 1),
        ('{"score": [%s]}' % ("9" * 400), None, 1),
        ("rate_limit_exceeded", None, 1),
        (JudgeReply("429 for ever", Status.JUDGE_FAILED), None, 2),
        (JudgeReply("declined", Status.REFUSED), None, 2),
    ],
)
def test_replies_end_in_a_score_or_a_status(
    folder: Path, edited: Image.Image, reply: Any, value: Any, tries: int
) -> None:
    benchmark, items = ready("gedit", folder)
    judge = both(reply)
    answer = drawn(items[0], edited)
    (marks,) = marked(benchmark, [answer], judge, "official")
    failed = reply.status if isinstance(reply, JudgeReply) else Status.JUDGE_FAILED
    assert marks["overall"].value == value
    assert marks["overall"].status is (failed if value is None else Status.SCORED)
    assert [attempt for _, attempt in judge.calls] == [n for n in range(tries) for _ in range(2)]
    (lmms,) = marked(benchmark, [answer], both(reply), "lmms-eval")
    assert lmms["overall"].value == (0.0 if value is None else value)
    assert marked(benchmark, [answer], both(reply), "official") == [marks]  # nothing is drawn


def test_without_a_judge_or_a_source_there_is_no_score(folder: Path, edited: Image.Image) -> None:
    benchmark, items = ready("gedit", folder)
    for protocol in ("official", "lmms-eval"):
        (marks,) = marked(benchmark, [drawn(items[0], edited)], None, protocol)
        assert {(m.status, m.value) for m in marks.values()} == {(Status.SKIPPED, None)}
        assert marks["overall"].verdict == "no judge"

    def fail(_: str) -> Image.Image:
        raise DatasetError("cut off")

    broken = msgspec.structs.replace(drawn(items[0], edited), load_image=fail)
    judge = both(SC)
    first, second = marked(benchmark, [broken, drawn(items[1], edited)], judge, "lmms-eval")
    assert (first["overall"].status, first["overall"].value) == (Status.MISSING_OUTPUT, None)
    assert second["overall"].value == 6.0
    assert judge.calls == [("a2", 0), ("a2", 0)]


def test_official_is_the_mean_of_groups_lmms_eval_of_edits() -> None:
    # style 2 and 4, text 9: groups (3 + 9) / 2, edits 15 / 3; both languages: style 2, text 9.
    values = np.array([2.0, 4.0, 9.0])
    tags = {
        "task_type": np.array(["style_change", "style_change", "text_change"], dtype=object),
        "intersection": np.array(["yes", "no", "yes"], dtype=object),
    }
    rows = GradedRows(values, np.arange(3), np.zeros(3, dtype=np.int64), tags)
    card = find_card("gedit")

    def figure(protocol: str, metric: str) -> float:
        spec = card.protocols[protocol].metric(metric)
        kept = [spec.where.items() <= {"intersection": t}.items() for t in tags["intersection"]]
        mine = rows.take(np.array(kept))
        aggregate = make_aggregate(spec, mine)
        return float(aggregate.finish(aggregate.features(mine).sum(axis=0)))

    assert figure("official", "overall") == pytest.approx(6.0)
    assert figure("official", "overall_intersection") == pytest.approx(5.5)
    assert figure("lmms-eval", "overall") == pytest.approx(5.0)
    assert figure("lmms-eval", "overall_intersection") == pytest.approx(5.5)


def test_the_two_cards_differ_in_nothing_but_the_language() -> None:
    english, chinese = find_card("gedit"), find_card("gedit-cn")
    assert english.protocols == chinese.protocols
    assert english.data == chinese.data
    assert english.judge == chinese.judge
    assert english.expected == chinese.expected == 606
