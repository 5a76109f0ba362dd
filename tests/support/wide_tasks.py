"""One made-up row of each task of the suite `understanding-wide`, in the columns of its dataset."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from support.upstream import PICTURE, write_columns

Columns = Mapping[str, pa.DataType]


class Row(NamedTuple):
    """A task's row, and what is said of it.

    Attributes:
        file: Where it lies below --data, as the dataset is laid out.
        columns, cells: What the file holds; a cell "IMAGE" is a picture.
        asked: A part of the question as the model reads it.
        right, wrong: An answer of either kind, as models give them.
        figure: The task's headline for the right answer.
    """

    file: str
    columns: Columns
    cells: Mapping[str, Any]
    asked: str
    right: str
    wrong: str
    figure: tuple[str, float]


IMAGE = "IMAGE"
_TEXTS = pa.list_(pa.string())


def _text(*names: str) -> dict[str, pa.DataType]:
    return dict.fromkeys(names, pa.string())


_MMBENCH = {
    "index": pa.int64(),
    **_text("question", "hint", "answer", "A", "B", "C", "D", "category"),
    "image": PICTURE,
    **_text("source", "L2-category", "comment", "split"),
}
_GQA = {
    **_text("id", "imageId", "question", "answer", "fullAnswer"),
    "isBalanced": pa.bool_(),
    **_text("semanticStr"),
}
_METADATA = (
    *("category", "context", "grade", "language", "source", "split", "task"),
    *("img_height", "img_width"),
)
_MATHVISTA = {
    **_text("pid", "question", "image"),
    "decoded_image": PICTURE,
    "choices": _TEXTS,
    "unit": pa.string(),
    "precision": pa.float64(),
    **_text("answer", "question_type", "answer_type"),
    "metadata": pa.struct(
        [(name, pa.string()) for name in _METADATA] + [("skills", _TEXTS)],
    ),
    "query": pa.string(),
}

ROWS: Mapping[str, Row] = {
    "mmbench_en_dev_static": Row(
        "en/dev-00000-of-00001.parquet",
        _MMBENCH,
        {
            **{"index": 241, "question": "What stands on the table?", "hint": "nan"},
            **{"answer": "B", "A": "a lamp", "B": "a cup", "C": "a rocket", "D": "nan"},
            **{"category": "object_localization", "L2-category": "finegrained_perception"},
            **{"image": IMAGE, "source": "made", "comment": "nan", "split": "dev"},
        },
        "B. a cup",
        "B",
        "C. a rocket",
        ("gpt_eval_score", 100.0),
    ),
    "mmvet": Row(
        "data/test-00000-of-00001.parquet",
        {**_text("question_id"), "image": PICTURE, **_text("question", "answer", "capability")},
        {
            **{"question_id": "v1_0", "image": IMAGE, "question": "What is x?"},
            **{"answer": "-1<AND>-5", "capability": "ocr,math"},
        },
        "What is x?",
        "x = -1 or x = -5",
        "x = 3",
        ("gpt_eval_score", 100.0),
    ),
    "seedbench": Row(
        "data/test-00000-of-00001.parquet",
        {
            **_text("answer", "choice_a", "choice_b", "choice_c", "choice_d"),
            **_text("data_id", "data_type", "question", "question_id"),
            "question_type_id": pa.int64(),
            "image": pa.list_(PICTURE),
        },
        {
            **{"answer": "C", "choice_a": "One", "choice_b": "Two", "choice_c": "Three"},
            **{"choice_d": "Four", "data_id": "1_1", "data_type": "image"},
            **{"question": "How many cups are there?", "question_id": "101", "image": [IMAGE]},
            "question_type_id": 5,
        },
        "C. Three",
        "C. Three",
        "A",
        ("seed_all", 1.0),
    ),
    "gqa": Row(
        "testdev_balanced_instructions/testdev-00000-of-00001.parquet",
        _GQA,
        {
            **{"id": "1", "imageId": "n7", "question": "Which color is the cup?"},
            **{"answer": "red", "fullAnswer": "The cup is red.", "isBalanced": True},
            "semanticStr": "select: cup",
        },
        "Answer the question using a single word or phrase.",
        "Red.",
        "blue",
        ("exact_match", 1.0),
    ),
    "ai2d": Row(
        "data/test-00000-of-00001.parquet",
        {**_text("question", "answer"), "options": _TEXTS, "image": PICTURE},
        {
            **{"question": "What eats grass?", "answer": "1", "image": IMAGE},
            "options": ["owl", "rabbit", "fox", "sun"],
        },
        "B. rabbit",
        "B. rabbit",
        "C",
        ("exact_match,flexible-extract", 1.0),
    ),
    "mmvp": Row(
        "data/train-00000-of-00001.parquet",
        {"Index": pa.int64(), **_text("Question", "Options", "Correct Answer"), "image": PICTURE},
        {
            **{"Index": 1, "Question": "Is the door open?", "Options": "(a) Open (b) Closed"},
            **{"Correct Answer": "(b)", "image": IMAGE},
        },
        "B. Closed",
        "The answer is B",
        "A",
        ("mmvp_accuracy", 1.0),
    ),
    "realworldqa": Row(
        "data/test-00000-of-00001.parquet",
        {**_text("question", "answer", "image_path"), "image": PICTURE},
        {
            "question": "Which way does the arrow point?\nA. Left\nB. Right\nPlease answer "
            "directly with only the letter of the correct option and nothing else.",
            **{"answer": "A", "image_path": "1.webp", "image": IMAGE},
        },
        "A. Left",
        "A",
        "B",
        ("exact_match", 1.0),
    ),
    "chartqa": Row(
        "data/test-00000-of-00001.parquet",
        {**_text("type", "question", "answer"), "image": PICTURE},
        {
            **{"type": "human_test", "question": "How tall is the bar?", "answer": "40"},
            "image": IMAGE,
        },
        "Answer the question with a single word.",
        "41.5",
        "43",
        ("relaxed_overall", 1.0),
    ),
    "mathvista_testmini_format": Row(
        "data/testmini-00000-of-00001.parquet",
        _MATHVISTA,
        {
            **{"pid": "1", "question": "How many cups?", "image": "images/1.jpg"},
            **{"decoded_image": IMAGE, "choices": None, "unit": None, "precision": None},
            **{"answer": "3", "question_type": "free_form", "answer_type": "integer"},
            "metadata": dict.fromkeys(_METADATA, "made")
            | {"split": "testmini", "skills": ["arithmetic reasoning"]},
            "query": "Hint: Answer with an integer.\nQuestion: How many cups?",
        },
        "How many cups?",
        "There are three of them.",
        "There are four of them.",
        ("llm_as_judge_eval", 100.0),
    ),
}
_IMAGES = "testdev_balanced_images/testdev-00000-of-00001.parquet"


def write_rows(folder: Path, image: bytes) -> Path:
    """The row of every task as a parquet file, and the images that GQA's questions name."""
    for task, row in ROWS.items():
        cells = {name: _shown(cell, image) for name, cell in row.cells.items()}
        write_columns(folder / "lmms" / task / row.file, row.columns, [cells])
    named = {"id": "n7", "image": _shown(IMAGE, image)}
    columns = {"id": pa.string(), "image": PICTURE}
    write_columns(folder / "lmms/gqa" / _IMAGES, columns, [named])
    return folder


def _shown(cell: Any, image: bytes) -> Any:
    if isinstance(cell, list):
        return [_shown(one, image) for one in cell]
    return {"bytes": image, "path": "1.jpg"} if cell == IMAGE else cell
