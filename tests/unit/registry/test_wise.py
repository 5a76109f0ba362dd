"""WISE and WISE-Verified from files in upstream's form, with judges that misbehave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from pairuni_registry.wise.judge_script import NoPromptError, read_prompt
from PIL import Image
from support.fake_judge import WrittenJudge, drawn, marked, ready

from pairuni_eval.catalog import find_card, load_benchmark, plugin_names
from pairuni_eval.data import Data
from pairuni_eval.errors import DatasetError, UserError
from pairuni_eval.judges.judge import JudgeReply
from pairuni_eval.records import Status, TextPart
from pairuni_eval.scorers import rubric
from pairuni_eval.stats.aggregate import GradedRows, find_maker, make_aggregate

# Stands where upstream's scripts are; the texts are made up.
SCRIPT = '''
raise RuntimeError("a judge script must not be run")


def build_evaluation_messages(prompt_data, image_base64):
    return [
        {"role": "system", "content": [{"type": "text", "text": "You look at {pictures}."}]},
        {
            "role": "user",
            "content": [
                {
                    "type": "text",
                    "text": f"""Is it right? Say {{"score"}}.
PROMPT: {prompt_data['Prompt']}
MEANT: {prompt_data['Explanation']}""",
                },
                {"type": "image_url", "image_url": {"url": f"data:{image_base64}"}},
            ],
        },
    ]
'''
GOOD = "Consistency: 2\nRealism: 1\nAesthetic Quality: 1"
LEGACY_FILES = (
    "cultural_common_sense.json",
    "spatio-temporal_reasoning.json",
    "natural_science.json",
)


def row(prompt_id: int, category: str) -> dict[str, Any]:
    return {
        "Prompt": f"prompt {prompt_id}",
        "Explanation": f"meaning {prompt_id} {{with}} braces",
        "Category": category,
        "Subcategory": "sub",
        "prompt_id": prompt_id,
    }


ROWS = (
    [row(1, "Cultural knowledge"), row(400, "Cultural knowledge")],
    [row(567, "time"), row(568, "Space")],
    [row(701, "Biology"), row(900, "Physical Knowledge"), row(1000, "Chemistry")],
)


def write(folder: Path, rows: Any = ROWS, *, script: str | None = SCRIPT) -> Path:
    """Legacy files as in a checkout: `data/*.json` and the script one folder above."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for name, part in zip(LEGACY_FILES, rows, strict=True):
        (folder / "data" / name).write_text(json.dumps(part), encoding="utf-8")
    if script is not None:
        (folder / "gpt_eval.py").write_text(script, encoding="utf-8")
    return folder


def write_verified(folder: Path) -> Path:
    rows = ([row(1, "Cultural knowledge")], [row(521, "Space")], [row(641, "Biology")])
    for name, part in zip(LEGACY_FILES, rows, strict=True):
        (folder / name.replace(".json", "_verified.json")).write_text(json.dumps(part))
    (folder / "vllm_eval.py").write_text(SCRIPT)
    return folder


@pytest.fixture
def picture() -> Image.Image:
    return Image.new("RGB", (8, 8), "green")


# Data


def test_categories_follow_the_ids(tmp_path: Path) -> None:
    _, items = ready("wise", write(tmp_path))
    assert [(i.sample.key, i.sample.tags["category"]) for i in items] == [
        ("1", "CULTURE"),
        ("400", "CULTURE"),
        ("567", "TIME"),
        ("568", "SPACE"),
        ("701", "BIOLOGY"),
        ("900", "PHYSICS"),
        ("1000", "CHEMISTRY"),
    ]
    assert items[0].sample.parts == (TextPart("prompt 1"),)
    _, items = ready("wise-verified", write_verified(tmp_path))
    assert [i.sample.tags["category"] for i in items] == ["CULTURE", "SPACE", "BIOLOGY"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (([row(1, "x"), row(1, "y")], [], []), "prompt_id 1 occurs twice"),
        (([row(0, "x")], [], []), "prompt_id is 0, not 1 to 1000"),
        (([row(1, "x") | {"prompt_id": "1"}], [], []), "prompt_id is '1'"),
        (([row(1, "x") | {"Prompt": 3}], [], []), "'Prompt' must be a text, not int"),
        (([], [row(520, "Space")], []), "called 'Space', but that id is TIME"),
        ((["text"], [], []), "expected an object, found str"),
        (({"a": 1}, [], []), "expected a list of prompts, found dict"),
        (
            ([{"prompt": "x", "Explanation": "", "Category": "", "Subcategory": ""}], [], []),
            "column 'Prompt' is missing. Is it 'prompt'?",
        ),
    ],
)
def test_rows_of_another_form_are_named(tmp_path: Path, rows: Any, said: str) -> None:
    with pytest.raises(UserError, match=r".") as caught:
        ready("wise", write(tmp_path, rows))
    assert said in caught.value.message
    assert "cultural_common_sense.json" in caught.value.message or "spatio" in caught.value.message


def test_complete_files_must_be_the_official_ones(tmp_path: Path) -> None:
    rows = [row(i, "any word") for i in range(1, 1001)]
    with pytest.raises(UserError, match=r"cultural_common_sense\.json.*another version"):
        ready("wise", write(tmp_path, (rows[:400], rows[400:700], rows[700:])))
    _, items = ready("wise", write(tmp_path, (rows[:400], rows[400:700], rows[700:999])))
    assert len(items) == 999  # one is missing: no official data, and the run is PARTIAL


@pytest.mark.parametrize(("name", "sizes"), [("wise", "legacy"), ("wise-verified", "verified")])
def test_official_files_are_accepted(name: str, sizes: str, shared: Path) -> None:
    benchmark = load_benchmark(name)
    data = Data(benchmark.card, benchmark.folder, shared / "data")
    categories = [item.sample.tags["category"] for item in benchmark.samples(data)]
    counts = {category: categories.count(category) for category in categories}
    expected = {
        "legacy": [400, 167, 133, 100, 100, 100],
        "verified": [400, 120, 120, 120, 120, 120],
    }
    assert list(counts.values()) == expected[sizes]
    assert len(categories) == benchmark.card.expected


# Judge prompt


def test_the_prompt_is_read_and_the_script_not_run(tmp_path: Path, picture: Any) -> None:
    benchmark, items = ready("wise", write(tmp_path))
    judge = WrittenJudge(lambda _: GOOD)
    marked(benchmark, [drawn(items[0], picture)], judge, "official")
    ((question,),) = judge.batches
    assert question.system == "You look at {pictures}."
    assert question.prompt == (
        'Is it right? Say {"score"}.\nPROMPT: prompt 1\nMEANT: meaning 1 {with} braces'
    )
    assert [image.size for image in question.images] == [(8, 8)]


def test_line_ends_do_not_change_the_prompt(tmp_path: Path) -> None:
    unix, windows = tmp_path / "unix.py", tmp_path / "windows.py"
    unix.write_bytes(SCRIPT.encode())
    windows.write_bytes(SCRIPT.replace("\n", "\r\n").encode())
    assert read_prompt(unix) == read_prompt(windows)
    assert read_prompt(unix).system == "You look at {pictures}."


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("def (", "is not Python"),
        ("x = 1", "no system and user message"),
        (SCRIPT.replace("'Explanation'", "'Hint'"), "is neither text nor a field"),
        (SCRIPT.replace("MEANT: {prompt_data['Explanation']}", ""), "'Explanation'"),
    ],
)
def test_another_script_skips_the_rows_with_the_reason(
    tmp_path: Path, picture: Any, script: str, said: str
) -> None:
    (tmp_path / "script.py").write_text(script)
    with pytest.raises(NoPromptError, match=r"."):
        read_prompt(tmp_path / "script.py")
    benchmark, items = ready("wise", write(tmp_path, script=script))
    judge = WrittenJudge(lambda _: GOOD)
    (marks,) = marked(benchmark, [drawn(items[0], picture)], judge, "official")
    assert marks["wiscore"].status is Status.SKIPPED
    assert said in (marks["wiscore"].verdict or "")
    assert judge.batches == []


@pytest.mark.parametrize("protocol", ["official", "lmms-eval"])
def test_without_the_script_rows_are_skipped_and_say_what_to_do(
    tmp_path: Path, picture: Any, protocol: str
) -> None:
    benchmark, items = ready("wise", write(tmp_path, script=None))
    (marks,) = marked(benchmark, [drawn(items[0], picture)], None, protocol)
    assert {(m.status, m.value) for m in marks.values()} == {(Status.SKIPPED, None)}
    assert "no judge prompt: put gpt_eval.py of https://github.com" in str(marks["wiscore"].verdict)


def test_another_prompt_is_named_beside_the_judge(tmp_path: Path, picture: Any) -> None:
    benchmark, items = ready("wise", write(tmp_path))
    judge = WrittenJudge(lambda _: GOOD)
    (marks,) = marked(benchmark, [drawn(items[0], picture)], judge, "official")
    digest = read_prompt(tmp_path / "gpt_eval.py").sha256[:12]
    assert marks["wiscore"].judge == f"written/1 with another prompt, sha256 {digest}"


# Judging


def test_scores_of_a_picture(tmp_path: Path, picture: Any) -> None:
    benchmark, items = ready("wise", write(tmp_path))
    (marks,) = marked(
        benchmark, [drawn(items[0], picture)], WrittenJudge(lambda _: GOOD), "official"
    )
    values = {name: mark.value for name, mark in marks.items()}
    # (0.7 * 2 + 0.2 * 1 + 0.1 * 1) / 2
    assert values == pytest.approx(
        {"consistency": 2, "realism": 1, "aesthetic_quality": 1, "wiscore": 0.85}
    )


def test_any_digit_is_a_score_officially(tmp_path: Path, picture: Any) -> None:
    benchmark, items = ready("wise", write(tmp_path))
    judge = WrittenJudge(lambda _: GOOD.replace("2", "9"))
    (marks,) = marked(benchmark, [drawn(items[0], picture)], judge, "official")
    assert marks["wiscore"].value == pytest.approx((0.7 * 9 + 0.2 + 0.1) / 2)


BAD = {
    "1": "I would rather not say.",
    "400": "**Consistency:** 2\n**Realism:** 2\n**Aesthetic Quality:** 2",
    "567": '{"consistency": 2, "rea',
    "568": "Consistency: 2\nRealism: 2",
    "701": "Consistency: 12\nRealism: -1\nAesthetic Quality: 1",
    "900": JudgeReply("429 for ever", Status.JUDGE_FAILED),
    "1000": GOOD,
}


def test_only_unreadable_replies_are_asked_for_again_and_twice(
    tmp_path: Path, picture: Any
) -> None:
    benchmark, items = ready("wise", write(tmp_path))
    judge = WrittenJudge(lambda question: BAD[question.facts["key"]])
    marks = marked(benchmark, [drawn(item, picture) for item in items], judge, "official")
    assert [len(batch) for batch in judge.batches] == [7, 6, 6]
    assert {attempt for _, attempt in judge.calls[7:13]} == {1}
    assert {attempt for _, attempt in judge.calls[13:]} == {2}
    statuses = {i.sample.key: m["wiscore"].status for i, m in zip(items, marks, strict=True)}
    # "Consistency: 12" reads as 1, and "Realism: -1" not at all.
    assert [key for key, status in statuses.items() if status is Status.SCORED] == ["1000"]
    assert set(statuses.values()) == {Status.SCORED, Status.JUDGE_FAILED}
    assert marks[0]["wiscore"].verdict == "unreadable reply: I would rather not say."


def test_a_later_reply_counts(tmp_path: Path, picture: Any) -> None:
    benchmark, items = ready("wise", write(tmp_path))
    failed = JudgeReply("time-out", Status.JUDGE_FAILED)
    replies = [failed, "2\n2\nnothing more", GOOD]
    judge = WrittenJudge(lambda question: replies[question.attempt])
    (marks,) = marked(benchmark, [drawn(items[0], picture)], judge, "official")
    assert marks["wiscore"].value == pytest.approx(0.85)
    assert judge.calls == [("1", 0), ("1", 1), ("1", 2)]


def test_lmms_eval_counts_a_failed_judge_as_zero(tmp_path: Path, picture: Any) -> None:
    benchmark, items = ready("wise", write(tmp_path))
    judge = WrittenJudge(lambda question: BAD[question.facts["key"]])
    marks = marked(benchmark, [drawn(item, picture) for item in items], judge, "lmms-eval")
    assert [m["wiscore"].value for m in marks] == [0.0] * 6 + [pytest.approx(0.85)]
    assert {m["wiscore"].status for m in marks} == {Status.SCORED}
    assert marks[5]["wiscore"].verdict == "no verdict, counts 0: 429 for ever"


def test_a_broken_picture_is_missing_and_not_asked_about(tmp_path: Path, picture: Any) -> None:
    benchmark, items = ready("wise", write(tmp_path))

    def fail(_: str) -> Image.Image:
        raise DatasetError("cut off")

    whole = drawn(items[0], picture)
    broken = msgspec.structs.replace(drawn(items[1], picture), load_image=fail)
    judge = WrittenJudge(lambda _: GOOD)
    first, second = marked(benchmark, [broken, whole], judge, "official")
    assert (first["wiscore"].status, first["wiscore"].verdict) == (Status.MISSING_OUTPUT, "cut off")
    assert second["wiscore"].value == pytest.approx(0.85)
    assert judge.calls == [("1", 0)]


# Verified


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("Score: 1", 1.0),
        ("Score: 0\nScore: 1", 0.0),  # the first one
        ("<think>Score: 1, or is it?</think>\nScore: 0", 0.0),
        ("It fits.</think> Score: 1", 1.0),
        ("1", 1.0),
        ("**Score**: 1", 1.0),
        ("Score: 10", None),  # one digit, then a word boundary
        ("Score: 2", None),
        ("1\n0", None),
        ("yes", None),
    ],
)
def test_verified_replies(tmp_path: Path, picture: Any, reply: str, value: float | None) -> None:
    benchmark, items = ready("wise-verified", write_verified(tmp_path))
    judge = WrittenJudge(lambda _: reply)
    (marks,) = marked(benchmark, [drawn(items[0], picture)], judge, "official")
    assert list(marks) == ["correct"]
    expected = Status.SCORED if value is not None else Status.JUDGE_FAILED
    assert (marks["correct"].value, marks["correct"].status) == (value, expected)
    assert len(judge.calls) == (1 if value is not None else 3)


# Cards


@pytest.mark.parametrize(
    ("name", "edition"), [("wise", rubric.LEGACY), ("wise-verified", rubric.VERIFIED)]
)
def test_card_and_rules_agree(name: str, edition: rubric.Edition) -> None:
    card = find_card(name)
    assert sum(edition.weights.values()) == pytest.approx(1.0)
    for protocol in card.protocols.values():
        assert protocol.metric("overall").weights == edition.weights
    assert card.judge is not None
    assert card.judge.temperature == 0.0
    assert list(edition.last_id.values())[-1] == card.expected == 1000


JUDGED = (
    "wise",
    "wise-verified",
    "imgedit",
    "gedit",
    "gedit-cn",
    "hpsv2",
    "dpg-bench",
    "geneval2",
    "unigenbench",
    "unigenbench-long",
    "unigenbench-zh",
    "unigenbench-zh-long",
)


@pytest.mark.parametrize("name", JUDGED)
def test_cards_name_only_what_exists(name: str) -> None:
    card = find_card(name)
    metrics = {metric.name for p in card.protocols.values() for metric in p.metrics}
    assert {figure.metric for figure in card.published} <= metrics
    for protocol in card.protocols.values():
        for metric in protocol.metrics:
            find_maker(metric.aggregate)
    if card.judge is not None:
        assert card.judge.name in plugin_names("judges")


def test_an_overall_by_hand(tmp_path: Path, picture: Any) -> None:
    benchmark, items = ready("wise", write(tmp_path))
    replies = dict.fromkeys(BAD, GOOD) | {"1": "0\n0\n0", "701": "2\n2\n2"}
    judge = WrittenJudge(lambda question: replies[question.facts["key"]])
    marks = marked(benchmark, [drawn(item, picture) for item in items], judge, "official")
    values = [m["wiscore"].value for m in marks]
    tags = {"category": np.array([i.sample.tags["category"] for i in items], dtype=object)}
    rows = GradedRows(np.array(values), np.arange(7), np.zeros(7, dtype=np.int64), tags)
    spec = benchmark.card.protocols["official"].metric("overall")
    aggregate = make_aggregate(spec, rows)
    overall = float(aggregate.finish(aggregate.features(rows).sum(axis=0)))
    # Culture (0 + 0.85) / 2, biology 1, the other four 0.85.
    assert overall == pytest.approx(0.4 * 0.425 + 0.1 * 1 + 0.85 * (0.167 + 0.133 + 0.1 + 0.1))
