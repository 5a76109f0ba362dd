"""`pairuni-eval grade`: recorded answers and images, graded without a model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

# Question, photograph, gold answer, split, what was recorded. The dog is asked in two splits.
POPE = [
    ("Is there a cat in the image?", "chelsea.png", "yes", "random", "Yes, there is."),
    ("Is there a car in the image?", "chelsea.png", "no", "random", "No."),
    ("Is there a person in the image?", "astronaut.png", "yes", "popular", "yes"),
    ("Is there a dog in the image?", "astronaut.png", "no", "popular", "Yes"),
    ("Is there a cup in the image?", "coffee.png", "yes", "adversarial", "I see no cup."),
    ("Is there a dog in the image?", "astronaut.png", "no", "adversarial", "Yes"),
]


def pope_row(number: int, photographs: Mapping[str, bytes]) -> dict[str, Any]:
    question, name, answer, split, _ = POPE[number]
    return {
        "id": str(number),
        "question_id": str(number),
        "question": question,
        "answer": answer,
        "image_source": Path(name).stem,
        "image": {"bytes": photographs[name], "path": None},
        "category": split,
    }


def recorded(number: int) -> dict[str, Any]:
    """A row by the dataset's own id."""
    return {"id": f"{POPE[number][3]}/{number}", "text": POPE[number][4]}


@pytest.fixture
def data(tmp_path: Path, photographs: dict[str, bytes], write_pope: Any) -> Path:
    """A folder with the six rows in POPE's own columns."""
    folder = tmp_path / "data"
    write_pope(folder, [pope_row(i, photographs) for i in range(len(POPE))])
    return folder


Write = Callable[[Sequence[Mapping[str, Any]]], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write rows to answers.jsonl."""

    def write(rows: Sequence[Mapping[str, Any]]) -> Path:
        path = tmp_path / "answers.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


@pytest.fixture
def grade(cli: Any, data: Path) -> Any:
    """`pairuni-eval grade --benchmark pope` on the six rows."""

    def grade(responses: Path, *more: object, protocol: str | None = "official") -> Any:
        asked = ("--benchmark", "pope", "--data", data, "--responses", responses)
        named = ("--protocol", protocol) if protocol else ()
        return cli("grade", *asked, *named, *more)

    return grade


ALL = range(len(POPE))


def test_recorded_answers_give_the_numbers_worked_out_by_hand(grade: Any, write: Write) -> None:
    ran = grade(write([recorded(i) for i in ALL]), "--json", protocol="official,vlmevalkit")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert (found["benchmark"], found["protocol"], found["headline"]) == ("pope", "official", "f1")
    # Over six rows, official: yes to cat, person, dog, dog; no to car and cup ("no" is a word of
    # the sentence). TP 2, FP 2, FN 1, TN 1.
    metrics = found["metrics"]
    assert metrics["precision"]["value"] == pytest.approx(2 / 4)
    assert metrics["recall"]["value"] == pytest.approx(2 / 3)
    assert metrics["accuracy"]["value"] == pytest.approx(3 / 6)
    assert (metrics["f1"]["scored"], metrics["f1"]["expected"]) == (5, 5127)
    low, value, high = (metrics["f1"][key] for key in ("low", "value", "high"))
    assert value == pytest.approx(4 / 7)
    assert 0.0 <= low <= value <= high <= 1.0
    assert found["statuses"] == {"scored": 5}
    assert found["coverage"] == pytest.approx(5 / 5127)
    assert list(found["protocols"]) == ["official", "vlmevalkit"]
    # VLMEvalKit takes "I see no cup." for a no as well, "Yes, there is." for a yes.
    assert found["flips"] == []


def test_flips_name_the_rows_and_what_each_protocol_makes_of_them(grade: Any, write: Write) -> None:
    ran = grade(write([recorded(i) for i in ALL]), "--json", protocol="official,lmms-eval")
    # lmms-eval wants the bare word: "Yes, there is." and "No." are wrong there.
    assert json.loads(ran.out)["flips"] == [
        {
            "protocols": ["official", "lmms-eval"],
            "id": key,
            "draw": 0,
            "values": [1.0, 0.0],
            "answer": text,
        }
        for key, text in [("random/0", "Yes, there is."), ("random/1", "No.")]
    ]


def test_without_json_the_numbers_are_lines(grade: Any, write: Write) -> None:
    ran = grade(write([recorded(i) for i in ALL]), protocol="official,lmms-eval")
    assert "pope@official: 5 of 5127 outputs (0.1%); 5 scored" in ran.out
    assert "2 outputs flip between official and lmms-eval:" in ran.out
    assert "random/1: 1 -> 0  No." in ran.out
    assert ran.next.startswith("pairuni-eval grade --benchmark pope --protocol official,lmms-eval")


def test_only_the_protocols_asked_for_are_graded(grade: Any, write: Write, tmp_path: Path) -> None:
    import pandas as pd

    ran = grade(write([recorded(i) for i in ALL]), "--out", "kept", protocol="vlmevalkit")
    assert ran.code == 0, ran.err
    scores = pd.read_parquet(tmp_path / "kept" / "scores.parquet")
    assert set(scores["protocol"]) == {"pope@vlmevalkit"}
    assert ran.next == "pairuni-eval report kept"


def test_all_protocols_are_graded_if_none_is_named(grade: Any, write: Write) -> None:
    found = json.loads(grade(write([recorded(0)]), "--json", protocol=None).out)
    assert list(found["protocols"]) == ["official", "lmms-eval", "vlmevalkit"]


def test_without_out_nothing_is_left_behind(grade: Any, write: Write, tmp_path: Path) -> None:
    path = write([recorded(0)])
    assert grade(path).code == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["answers.jsonl", "data"]


def test_a_sample_without_a_row_is_missing_and_never_zero(grade: Any, write: Write) -> None:
    rows = [recorded(0), recorded(2), {"id": "random/1", "text": None}]
    found = json.loads(grade(write(rows), "--json").out)
    assert found["statuses"] == {"missing_output": 3, "scored": 2}
    assert found["metrics"]["accuracy"]["value"] == 1.0
    assert found["metrics"]["accuracy"]["scored"] == 2


def test_an_empty_answer_is_an_answer(grade: Any, write: Write) -> None:
    ran = grade(write([{"id": "random/0", "text": ""}]), "--json", protocol="vlmevalkit")
    assert json.loads(ran.out)["statuses"] == {"missing_output": 4, "unparsed": 1}


def test_a_sample_goes_by_its_key_and_by_the_id_of_any_row(grade: Any, write: Write) -> None:
    for name in ("adversarial/5,popular/3", "popular/3", "adversarial/5", "5"):
        ran = grade(write([{"id": name, "text": "no"}]), "--json")
        found = json.loads(ran.out)
        assert found["statuses"] == {"missing_output": 4, "scored": 1}
        assert found["metrics"]["accuracy"]["value"] == 1.0


def test_two_rows_of_one_sample_that_differ_are_told(grade: Any, write: Write) -> None:
    rows = [{"id": "popular/3", "text": "no"}, {"id": "adversarial/5", "text": "yes"}]
    ran = grade(write(rows), "--json")
    assert json.loads(ran.out)["metrics"]["accuracy"]["value"] == 1.0  # the first one counts
    assert "1 rows name a sample that an earlier row answered differently" in ran.err
    assert "'adversarial/5'" in ran.err


def test_a_row_that_is_there_twice_counts_once(grade: Any, write: Write) -> None:
    ran = grade(write([recorded(0), recorded(1), recorded(0)]), "--json")
    assert json.loads(ran.out)["statuses"] == {"missing_output": 3, "scored": 2}
    assert "Rows that repeat an earlier one word for word and count once: 1" in ran.err


def test_a_limit_leaves_the_rows_of_other_samples_out(grade: Any, write: Write) -> None:
    rows = [recorded(i) for i in ALL]
    found = json.loads(grade(write(rows), "--limit", 2, "--json").out)
    assert found["statuses"] == {"scored": 2}


def test_a_broken_image_of_the_dataset_does_not_lose_a_recorded_answer(
    grade: Any, write: Write, data: Path, photographs: dict[str, bytes], write_pope: Any
) -> None:
    row = pope_row(0, photographs)
    write_pope(data, [{**row, "image": {"bytes": b"no image", "path": None}}])
    found = json.loads(grade(write([recorded(0)]), "--json").out)
    assert found["statuses"] == {"scored": 1}


def test_many_missing_rows_do_not_stop_the_command(cli: Any, write: Write) -> None:
    """A live model that fails 60 times in a row is given up; a file that is short is not."""
    path = write([{"id": "nothing", "text": "yes", "benchmark": "pope"}])
    asked = ("--benchmark", "tiny-pope", "--protocol", "official", "--responses", path)
    ran = cli("grade", *asked, "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["statuses"] == {"missing_output": 296}
    assert json.loads(ran.out)["metrics"]["f1"]["value"] is None


# Images


def test_recorded_images_are_graded_by_draw(cli: Any, tmp_path: Path, write: Write) -> None:
    import random

    from pairuni_eval.catalog import load_benchmark
    from pairuni_eval.tiny import prompts
    from pairuni_eval.tiny.world import Scene, render

    benchmark = load_benchmark("tiny-geneval")
    sample = next(iter(benchmark.samples(benchmark.data(None)))).sample
    right = render(prompts.sample_scene(random.Random(0), sample.reference))
    (tmp_path / "images").mkdir()
    right.save(tmp_path / "images" / "right.png")
    render(Scene(())).save(tmp_path / "images" / "empty.png")
    (tmp_path / "images" / "cut.png").write_bytes(
        (tmp_path / "images" / "right.png").read_bytes()[:60]
    )
    images = ["right.png", "empty.png", "cut.png"]
    path = write(
        [{"id": sample.key, "image": f"images/{n}", "draw": i} for i, n in enumerate(images)]
    )
    asked = ("--benchmark", "tiny-geneval", "--responses", path, "--limit", 1, "--out", "r")
    ran = cli("grade", *asked, "--json")
    found = json.loads(ran.out)
    assert found["statuses"] == {"missing_output": 2, "scored": 2}  # cut off, and no fourth row
    assert found["metrics"]["images"]["value"] == pytest.approx(1 / 2)
    shown = cli("show", "r", sample.key).out
    assert "the recorded image cannot be read" in shown
    assert "the file has no row for this sample" in shown


def test_a_text_where_an_image_is_asked_is_missing(cli: Any, write: Write) -> None:
    from pairuni_eval.catalog import load_benchmark

    benchmark = load_benchmark("tiny-geneval")
    sample = next(iter(benchmark.samples(benchmark.data(None)))).sample
    path = write([{"id": sample.key, "text": "a red circle"}])
    asked = ("--benchmark", "tiny-geneval", "--responses", path, "--limit", 1)
    assert json.loads(cli("grade", *asked, "--json").out)["statuses"] == {"missing_output": 4}


def test_what_a_judge_is_asked_is_kept(cli: Any, write: Write, tmp_path: Path) -> None:
    path = write([{"id": "x", "text": "x", "benchmark": "another"}])
    ran = cli("grade", "--benchmark", "tiny-wise", "--responses", path, "--limit", 1)
    assert ran.code == 0, ran.err
    assert (tmp_path / "runs" / "answers-tiny-wise-limit1" / "COMPLETE").is_file()


# What must be said before the numbers


def tagged(number: int) -> dict[str, Any]:
    """The right answer in the form that reasoning models are taught."""
    return {**recorded(number), "text": f"<think>no, yes</think><answer>{POPE[number][2]}</answer>"}


def test_answers_in_tags_are_read_by_a_protocol_of_their_own(grade: Any, write: Write) -> None:
    path = write([tagged(i) for i in ALL])
    found = json.loads(grade(path, "--json", protocol=None).out)
    # "<think>no" is not "no", so the official rule takes all five answers for a yes; two are.
    assert found["metrics"]["accuracy"]["value"] == pytest.approx(2 / 6 + 1 / 6)
    assert found["protocols"]["reasoning"]["metrics"]["accuracy"]["value"] == 1.0
    notice = (
        "pope: 5 of 5 answers carry <think>/<answer> tags; the official rule reads them whole. "
        "See protocol reasoning."
    )
    assert found["tagged"] == notice
    lines = grade(path, protocol=None).out.splitlines()
    assert lines[0] == notice
    assert "No protocol of this run reads them alone." in grade(path).out
    assert "tags" not in grade(path, protocol="reasoning").out


def test_a_few_tags_are_no_notice(grade: Any, cli: Any, write: Write) -> None:
    found = json.loads(grade(write([recorded(i) for i in ALL]), "--json", protocol=None).out)
    assert found["tagged"] is None
    asked = grade(write([recorded(i) for i in ALL]), "--json", protocol="official,reasoning")
    assert list(json.loads(asked.out)["protocols"]) == ["official", "reasoning"]


def test_why_outputs_have_no_value_is_said(grade: Any, cli: Any, write: Write) -> None:
    path = write([recorded(0), {"id": "random/1", "text": None}])
    ran = grade(path)
    assert "  no value for 3 missing_output: the file has no row for this sample" in ran.out
    assert "  no value for 1 missing_output: the file records no answer for this" in ran.out
    assert json.loads(grade(path, "--json").out)["reasons"] == [
        {
            "status": "missing_output",
            "reason": "the file has no row for this sample",
            "outputs": 3,
        },
        {
            "status": "missing_output",
            "reason": "the file records no answer for this sample",
            "outputs": 1,
        },
    ]


def test_reasons_that_differ_in_a_name_are_one(cli: Any, write: Write, tmp_path: Path) -> None:
    from pairuni_eval.catalog import load_benchmark

    benchmark = load_benchmark("tiny-geneval")
    sample = next(iter(benchmark.samples(benchmark.data(None)))).sample
    names = ["images\\lost-1.png", "images/lost-2.png", "../out.png", "/etc/passwd"]
    path = write([{"id": sample.key, "image": name, "draw": i} for i, name in enumerate(names)])
    asked = ("--benchmark", "tiny-geneval", "--responses", path, "--limit", 1, "--json")
    reasons = json.loads(cli("grade", *asked).out)["reasons"]
    assert [one["outputs"] for one in reasons] == [2, 2]
    assert any("the recorded image cannot be read" in one["reason"] for one in reasons)
    assert any("leads out of the folder" in one["reason"] for one in reasons)


def test_a_run_and_its_report_say_the_same_at_the_top(
    cli: Any, write: Write, data: Path, tmp_path: Path
) -> None:
    path = write([tagged(i) for i in (0, 1)])
    asked = ("--checkpoint", f"recorded:{path}", "--benchmarks", "pope", "--data", data)
    ran = cli("run", *asked, "--out", "r", "--report", "report")
    assert ran.code == 0, ran.err
    words = "2 of 2 answers carry <think>/<answer> tags; the official rule reads them whole."
    assert f"Note: pope: {words} See protocol reasoning." in ran.err
    # Its rows are the same under every protocol, and are told once.
    why = "no value for 3 missing_output: the file has no row for this sample"
    assert [line for line in ran.err.splitlines() if why in line] == [f"Note: pope@official: {why}"]
    page = (tmp_path / "report" / "report.html").read_text()
    assert "2 of 2 answers carry &lt;think&gt;/&lt;answer&gt; tags" in page.partition("<nav")[0]
    text = (tmp_path / "report" / "report.md").read_text()
    assert "2 of 2 answers carry" in text.partition("## Headline")[0]
    again = cli("report", "r", "--out", "again")
    assert f"Note: pope: {words}" in again.err


def test_final_answers_are_compared_with_a_run_that_has_no_tags(
    cli: Any, write: Write, data: Path, tmp_path: Path
) -> None:
    """The trained model thinks aloud, its base does not: what they end with is compared."""
    asked = ("--benchmarks", "pope", "--data", data, "--report", "none")
    for name, make in (("thinks", tagged), ("base", recorded)):
        rows = write([make(i) for i in range(5)])
        ran = cli("run", "--checkpoint", f"recorded:{rows}", *asked, "--out", name)
        assert ran.code == 0, ran.err
    found = json.loads(cli("compare", "thinks", "base", "--json").out)
    assert "reasoning" in {row["protocol"] for row in found["differences"]}
    assert not [words for words in found["refusals"] if "not graded" in words]
    # Neither of two runs without tags has the same numbers twice.
    again = json.loads(cli("compare", "base", "base", "--json").out)
    assert {row["protocol"] for row in again["differences"]} == {
        "official",
        "lmms-eval",
        "vlmevalkit",
    }


# What a person can get wrong


def refused(ran: Any, *named: str) -> None:
    assert ran.code == 2, ran.out + ran.err
    for part in named:
        assert part in ran.error, f"{part!r} is not in {ran.error!r}"


def test_unknown_ids_are_named_with_the_nearest(grade: Any, write: Write) -> None:
    rows = [recorded(0), {"id": "random/11", "text": "no"}, {"id": "nonsense", "text": "no"}]
    ran = grade(write(rows))
    refused(ran, "2 of 3 ids", "'random/11' (line 2)", "'nonsense' (line 3)", "'random/1'")


def test_an_id_of_several_samples_is_refused(
    grade: Any, write: Write, data: Path, photographs: dict[str, bytes], write_pope: Any
) -> None:
    """POPE counts its questions anew in every split."""
    rows = [{**pope_row(i, photographs), "question_id": "1"} for i in (0, 2)]
    write_pope(data, rows)
    ran = grade(write([{"id": "1", "text": "yes"}]))
    refused(ran, "'1' (line 1)", "Several samples go by '1'", "/1'")
    assert grade(write([{"id": "random/1", "text": "yes"}])).code == 0


def test_a_repeated_row_is_named_with_both_lines(grade: Any, write: Write) -> None:
    other = {**recorded(0), "text": "No."}
    ran = grade(write([recorded(0), recorded(1), other]))
    refused(ran, "'random/0', draw 0", "lines 1 and 3, with different answers")
    assert '"draw"' in ran.next


def test_a_draw_that_is_not_asked_for_is_named(grade: Any, write: Write) -> None:
    ran = grade(write([{"id": "random/0", "text": "yes", "draw": 1}]))
    refused(ran, "line 1", "draw 1", "asks for 1 a sample")


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("{", "line 1"),
        ('"yes"', "line 1"),
        ('{"text": "yes"}', "`id`"),
        ('{"id": "random/0", "text": ["yes"]}', "`$.text`"),
        ('{"id": "random/0", "text": "yes", "draw": -1}', "`$.draw`"),
        ('{"id": "random/0", "txt": "yes"}', "Is it 'txt'?"),
        ('{"id": "random/0", "prediction": "yes"}', "It has: id, prediction"),
        ("", "holds no rows"),
    ],
)
def test_a_row_in_another_form_is_named(grade: Any, tmp_path: Path, line: str, named: str) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(line + "\n")
    refused(grade(path), "answers.jsonl", named)


def test_an_unknown_protocol_offers_the_nearest(grade: Any, write: Write) -> None:
    ran = grade(write([recorded(0)]), protocol="oficial")
    refused(ran, "Unknown protocol 'oficial' of 'pope'.", "Did you mean 'official'")


def test_a_missing_file_is_named(grade: Any) -> None:
    refused(grade(Path("nowhere.jsonl")), "nowhere.jsonl")


def test_another_file_in_the_same_folder_is_refused(grade: Any, write: Write) -> None:
    assert grade(write([recorded(0)]), "--out", "kept").code == 0
    refused(grade(write([recorded(1)]), "--out", "kept"), "kept holds another run", "checkpoint")


def test_the_same_command_twice_says_the_same(grade: Any, write: Write) -> None:
    path = write([recorded(i) for i in ALL])
    first, second = (grade(path, "--out", "kept", "--json") for _ in range(2))
    assert first.out == second.out


# The same file as a model


def test_run_takes_a_responses_file_as_a_checkpoint(
    cli: Any, write: Write, data: Path, tmp_path: Path
) -> None:
    path = write([{"id": "random/0", "text": "yes"}, {"id": "random/1", "text": "yes"}])
    asked = ("--checkpoint", f"recorded:{path}", "--benchmarks", "pope", "--data", data)
    ran = cli("run", *asked, "--out", "r", "--report", "report")
    assert ran.code == 0, ran.err
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    accuracy = summary["benchmarks"]["pope"]["protocols"]["official"]["metrics"]["accuracy"]
    assert (accuracy["value"], accuracy["scored"]) == (0.5, 2)


def test_a_file_that_names_no_benchmark_serves_one(cli: Any, write: Write) -> None:
    from pairuni_eval.catalog import load_benchmark

    names = ("tiny-mme", "tiny-mmstar")
    made = [load_benchmark(name) for name in names]
    keys = [next(iter(one.samples(one.data(None)))).sample.key for one in made]
    asked = ("--benchmarks", ",".join(names), "--limit", 2, "--report", "none")
    both = [{"id": key, "text": "A"} for key in keys]
    ran = cli("run", "--checkpoint", f"recorded:{write(both)}", *asked, "--out", "mixed")
    refused(ran, "'tiny-mme' and 'tiny-mmstar'")
    named = [{**row, "benchmark": name} for row, name in zip(both, names, strict=True)]
    ran = cli("run", "--checkpoint", f"recorded:{write(named)}", *asked, "--out", "named")
    assert ran.code == 0, ran.err


# Full files


def test_mmstar_in_ten_styles_gives_the_recorded_totals(
    cli: Any, shared: Path, write: Write, tmp_path: Path, write_mmstar: Any
) -> None:
    """1,500 answers in ten styles: official 39.1 %, lmms-eval 74.1 % (protocols, section 2)."""
    path = shared / "data" / "golden" / "files" / "mmstar" / "mixed_formats.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    write_mmstar(
        tmp_path / "data",
        [
            {
                "index": row["index"],
                "question": f"Question {row['index']}",
                "image": {"bytes": b"nobody looks at it", "path": None},
                "answer": row["answer"],
                "category": row["category"],
                "l2_category": row["l2_category"],
                "meta_info": {"source": row["bench"], "split": "val", "image_path": ""},
            }
            for row in rows
        ],
    )
    answers = write([{"id": row["index"], "text": row["prediction"]} for row in rows])
    asked = ("--benchmark", "mmstar", "--protocol", "official,lmms-eval", "--responses", answers)
    ran = cli("grade", *asked, "--data", tmp_path / "data", "--json")
    assert ran.code == 0, ran.err
    parts = json.loads(ran.out)["protocols"]
    assert round(100 * parts["official"]["metrics"]["accuracy"]["value"], 1) == 39.1
    assert round(100 * parts["lmms-eval"]["metrics"]["average"]["value"], 1) == 74.1
    assert parts["official"]["coverage"] == 1.0
