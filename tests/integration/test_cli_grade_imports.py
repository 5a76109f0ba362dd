"""`pairuni-eval grade` on the files of lmms-eval and VLMEvalKit."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

# Question, photograph, gold answer, what was said. MMStar's index is the place in the list plus 10.
MMSTAR = [
    ("Which animal? A: cat, B: dog", "chelsea.png", "A", "A"),
    ("Which suit? A: red, B: orange", "astronaut.png", "B", "(B)"),
    ("What is it? A: tea, B: coffee", "coffee.png", "B", "A"),
    ("How many? A: one, B: two", "rocket.jpg", "A", "none of them"),
]
FIRST = 10

# Question, photograph, gold answer, split, and question_id, which counts anew in every split. The
# dog is asked in two splits.
POPE = [
    ("Is there a cat?", "chelsea.png", "yes", "random", "1"),
    ("Is there a dog?", "astronaut.png", "no", "popular", "1"),
    ("Is there a dog?", "astronaut.png", "no", "adversarial", "1"),
    ("Is there a cup?", "coffee.png", "yes", "adversarial", "2"),
]


@pytest.fixture
def data(tmp_path: Path, photographs: dict[str, bytes], write_mmstar: Any, write_pope: Any) -> Path:
    """A folder with both benchmarks in their own columns."""
    write_mmstar(
        tmp_path / "data",
        [
            {
                "index": FIRST + i,
                "question": question,
                "image": {"bytes": photographs[name], "path": None},
                "answer": gold,
                "category": "math",
                "l2_category": "counting",
                "meta_info": {"source": "test", "split": "val", "image_path": name},
            }
            for i, (question, name, gold, _) in enumerate(MMSTAR)
        ],
    )
    write_pope(
        tmp_path / "data",
        [
            {
                "id": str(i),
                "question_id": number,
                "question": question,
                "answer": gold,
                "image_source": Path(name).stem,
                "image": {"bytes": photographs[name], "path": None},
                "category": split,
            }
            for i, (question, name, gold, split, number) in enumerate(POPE)
        ],
    )
    return tmp_path / "data"


def lmms_row(position: int, gold: str, said: str, **more: Any) -> dict[str, Any]:
    """A line as lmms-eval 0.7 writes it: the document is gone, equal `resps` are left out."""
    row = {
        "doc_id": position,
        "target": gold,
        "filtered_resps": said,
        "token_counts": [None],
        "doc_hash": "d41d8cd9",
        "input": "Question?",
    }
    return row | more


def mmstar_line(i: int) -> dict[str, Any]:
    _, _, gold, said = MMSTAR[i]
    entry = {"question_id": FIRST + i, "l2_category": "counting", "score": 0.0}
    return lmms_row(i, gold, said, average=entry)


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def grade(cli: Any, data: Path) -> Any:
    def grade(benchmark: str, responses: Path, *more: object) -> Any:
        asked = ("--benchmark", benchmark, "--data", data, "--responses", responses)
        return cli("grade", *asked, "--protocol", "official", "--json", *more)

    return grade


def accuracy(ran: Any) -> tuple[float, int]:
    assert ran.code == 0, ran.err
    entry = json.loads(ran.out)["metrics"]["accuracy"]
    return entry["value"], entry["scored"]


# A and (B) are right under the official rule, A for B and "none of them" are not.


def test_lmms_eval_samples_meet_by_the_ids_in_their_metrics(grade: Any, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "samples.jsonl", [mmstar_line(i) for i in (2, 0, 3, 1)])
    ran = grade("mmstar", path)
    assert accuracy(ran) == (2 / 4, 4)
    assert "samples.jsonl: lmms-eval format" in ran.err
    assert "4 of 4 rows matched by 'question_id'" in ran.err
    assert "4 of 4 agree with the dataset's own rows" in ran.err


def test_lmms_eval_samples_meet_by_the_ids_of_their_documents(grade: Any, tmp_path: Path) -> None:
    """As older files have it, the row itself and the answers nested once more."""
    rows = [
        {"doc_id": 0, "doc": {"index": FIRST + i}, "target": gold, "resps": [[said]]}
        for i, (_, _, gold, said) in enumerate(MMSTAR[:3])
    ]
    for position, row in enumerate(rows):
        row["doc_id"] = 99 + position  # of another order: the id decides
    ran = grade("mmstar", write_lines(tmp_path / "samples.jsonl", rows))
    assert accuracy(ran) == (2 / 3, 3)
    assert "matched by 'index'" in ran.err


def test_lmms_eval_samples_without_ids_meet_by_position(grade: Any, tmp_path: Path) -> None:
    """POPE's question_id counts anew in every split, so the row's number decides."""
    said = ["Yes", "no", "no", "No"]
    entry = {"score": 1.0, "prediction": "yes", "ground_truth": "yes"}
    rows = [
        lmms_row(i, POPE[i][2], said[i], pope_accuracy={"question_id": POPE[i][4], **entry})
        for i in (3, 2, 1, 0)
    ]
    ran = grade("pope", write_lines(tmp_path / "samples.jsonl", rows))
    # Three samples for four rows; the dog counts in two splits: 3 of 4 right.
    assert accuracy(ran) == (3 / 4, 3)
    assert "4 of 4 rows matched by position" in ran.err


def test_the_filtered_answer_is_graded(grade: Any, tmp_path: Path) -> None:
    thought = lmms_row(0, "A", "A", resps=[["<think>B?</think> A"]])
    ran = grade("mmstar", write_lines(tmp_path / "samples.jsonl", [thought]))
    assert accuracy(ran) == (1.0, 1)


def test_the_first_of_several_answers_is_graded(grade: Any, tmp_path: Path) -> None:
    rows = [lmms_row(0, "A", "", filtered_resps=["A", "B"])]
    ran = grade("mmstar", write_lines(tmp_path / "samples.jsonl", rows))
    assert accuracy(ran) == (1.0, 1)
    assert "the first 1 of each counts" in ran.err


def test_another_order_is_refused(grade: Any, tmp_path: Path) -> None:
    rows = [lmms_row(i, {"A": "B", "B": "A"}[row[2]], row[3]) for i, row in enumerate(MMSTAR)]
    ran = grade("mmstar", write_lines(tmp_path / "samples.jsonl", rows))
    assert ran.code == 2
    assert "4 of 4 rows carry another question or gold answer" in ran.error
    assert "row 1 (sample '10')" in ran.error


def test_a_position_outside_the_data_is_refused(grade: Any, tmp_path: Path) -> None:
    ran = grade("mmstar", write_lines(tmp_path / "samples.jsonl", [lmms_row(4, "A", "A")]))
    assert ran.code == 2
    assert "position 4" in ran.error
    assert "has 4 rows" in ran.error


def test_a_file_of_two_runs_is_refused(grade: Any, tmp_path: Path) -> None:
    rows = [mmstar_line(0), mmstar_line(1), {**mmstar_line(0), "filtered_resps": "B"}]
    ran = grade("mmstar", write_lines(tmp_path / "samples.jsonl", rows))
    assert ran.code == 2
    assert "doc_id 0 stands on lines 1 and 3, with different answers" in ran.error


def test_rows_that_a_rank_padded_count_once(grade: Any, tmp_path: Path) -> None:
    rows = [mmstar_line(0), mmstar_line(1), mmstar_line(0)]
    ran = grade("mmstar", write_lines(tmp_path / "samples.jsonl", rows))
    assert json.loads(ran.out)["statuses"] == {"missing_output": 2, "scored": 2}
    assert "Rows that repeat an earlier one word for word and count once: 1" in ran.err


def test_a_line_that_is_no_sample_is_named(grade: Any, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "samples.jsonl", [mmstar_line(0), {"doc_id": "one"}])
    ran = grade("mmstar", path)
    assert ran.code == 2
    assert "line 2: no lmms-eval sample" in ran.error


# VLMEvalKit


def sheet(rows: Sequence[Mapping[str, Any]], path: Path) -> Path:
    import pandas as pd

    pytest.importorskip("openpyxl")
    pd.DataFrame(rows).to_excel(path, index=False)
    return path


def prediction(i: int) -> dict[str, Any]:
    question, _, gold, said = MMSTAR[i]
    return {
        "index": FIRST + i,
        "question": question.partition(" A:")[0],
        "A": "one thing",
        "B": "another",
        "answer": gold,
        "category": "math",
        "prediction": said,
    }


def test_vlmevalkit_predictions_meet_by_index(grade: Any, tmp_path: Path) -> None:
    path = sheet([prediction(i) for i in (3, 1, 0, 2)], tmp_path / "Janus_MMStar.xlsx")
    ran = grade("mmstar", path)
    assert accuracy(ran) == (2 / 4, 4)
    assert "vlmevalkit format" in ran.err
    assert "4 of 4 rows matched by 'index'" in ran.err


def test_a_tsv_is_read_as_well(grade: Any, tmp_path: Path) -> None:
    import pandas as pd

    path = tmp_path / "Janus_MMStar.tsv"
    pd.DataFrame([prediction(i) for i in range(4)]).to_csv(path, sep="\t", index=False)
    assert accuracy(grade("mmstar", path)) == (2 / 4, 4)


def test_one_row_a_question_meets_the_questions(grade: Any, tmp_path: Path) -> None:
    """VLMEvalKit's POPE has each different question once, its splits joined by commas."""
    rows = [
        {"index": i, "question": q, "answer": gold.capitalize(), "category": c, "prediction": said}
        for i, (q, gold, c, said) in enumerate(
            [
                ("Is there a cat?", "yes", "random", "Yes"),
                ("Is there a dog?", "no", "adversarial,popular", "No"),
                ("Is there a cup?", "yes", "adversarial", "No"),
            ]
        )
    ]
    ran = grade("pope", sheet(rows, tmp_path / "p.xlsx"))
    assert accuracy(ran) == (3 / 4, 3)


def test_rows_of_another_split_are_left_out(grade: Any, tmp_path: Path) -> None:
    others = [{**prediction(0), "index": 5000 + i} for i in range(3)]
    path = sheet([*others, *(prediction(i) for i in range(4))], tmp_path / "p.xlsx")
    ran = grade("mmstar", path)
    assert accuracy(ran) == (2 / 4, 4)
    assert "4 of 7 rows matched by 'index'" in ran.err


def test_a_failed_call_and_an_empty_cell_are_missing(grade: Any, tmp_path: Path) -> None:
    failed = {**prediction(0), "prediction": "Failed to obtain answer via API."}
    path = sheet([failed, {**prediction(1), "prediction": ""}, prediction(2)], tmp_path / "p.xlsx")
    ran = grade("mmstar", path)
    statuses = json.loads(ran.out)["statuses"]
    assert statuses == {"missing_output": 3, "scored": 1}
    assert "Rows that hold no answer, whose samples are missing and not wrong: 2" in ran.err


def test_a_sheet_of_another_dataset_is_refused(grade: Any, tmp_path: Path) -> None:
    rows = [{**prediction(i), "question": f"What is {i} plus {i}?"} for i in range(4)]
    ran = grade("mmstar", sheet(rows, tmp_path / "p.xlsx"))
    assert ran.code == 2
    assert "4 of 4 rows carry another question or gold answer" in ran.error


def test_a_sheet_without_predictions_names_the_column(grade: Any, tmp_path: Path) -> None:
    rows = [{"index": 10, "predictions": "A"}]
    ran = grade("mmstar", sheet(rows, tmp_path / "p.xlsx"))
    assert ran.code == 2
    assert "column 'prediction' is missing. Is it 'predictions'?" in ran.error


def test_a_file_that_is_no_sheet_is_refused(grade: Any, tmp_path: Path) -> None:
    path = tmp_path / "p.xlsx"
    path.write_bytes(b"index,prediction\n1,A\n")
    ran = grade("mmstar", path)
    assert ran.code == 2
    assert "not a readable table" in ran.error


def test_without_openpyxl_the_extra_is_named(data: Path, tmp_path: Path) -> None:
    path = sheet([prediction(0)], tmp_path / "p.xlsx")
    code = "import sys; sys.modules['openpyxl'] = None; from pairuni_eval.cli import main; main()"
    asked = ["grade", "--benchmark", "mmstar", "--data", str(data), "--responses", str(path)]
    words = [sys.executable, "-c", code, *asked]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "[vlmevalkit]'" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_the_format_can_be_named(grade: Any, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "samples.jsonl", [mmstar_line(0)])
    ran = grade("mmstar", path, "--format", "pairuni")
    assert ran.code == 2
    assert "`id`" in ran.error
    assert accuracy(grade("mmstar", path, "--format", "lmms-eval")) == (1.0, 1)
