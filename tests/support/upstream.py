"""Small parquet files in the columns of the published datasets, with real photographs.

The files carry the metadata that `datasets` writes, so that every reader finds the images. Rows,
images and gold answers follow a fixed pattern; nothing here is taken from the datasets.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

SIZE = (640, 480)
Rows = Iterator[dict[str, Any]]

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_IMAGE = {"_type": "Image"}

MMSTAR_CATEGORIES = {
    "coarse perception": ("image scene and topic", "image emotion"),
    "fine-grained perception": ("object counting", "localization"),
    "math": ("geometry",),
}
MME_CATEGORIES = ("existence", "color", "OCR", "code_reasoning", "text_translation")
MMMU_SUBJECTS = ("Accounting", "Art_Theory", "Clinical_Medicine", "Physics")
MMMU_IMAGES = tuple(f"image_{i}" for i in range(1, 8))


def pictures(photographs: Mapping[str, bytes], count: int) -> list[bytes]:
    """Different views of photographs, as JPEG of the size of COCO's images."""
    sources = [Image.open(io.BytesIO(data)).convert("RGB") for data in photographs.values()]
    made = []
    for i in range(count):
        source = sources[i % len(sources)]
        left, top = (7 * i) % (source.width // 3), (5 * i) % (source.height // 3)
        width = source.width // 2 + i // 8 % 40
        box = (left, top, left + width, top + source.height // 2)
        buffer = io.BytesIO()
        source.resize(SIZE, box=box).save(buffer, format="JPEG", quality=85)
        made.append(buffer.getvalue())
    return made


def mmstar(images: Sequence[bytes], count: int) -> Rows:
    """Questions with four options inline; gold A, B, C, D in turn."""
    kinds = [(c, fine) for c, fines in MMSTAR_CATEGORIES.items() for fine in fines]
    for i in range(count):
        category, fine = kinds[i % len(kinds)]
        yield {
            "index": i,
            "question": f"What is in view {i}?\nOptions: A: a cat, B: a cup, C: a rocket, D: suit",
            "image": {"bytes": images[i % len(images)], "path": f"{i}.jpg"},
            "answer": "ABCD"[i % 4],
            "category": category,
            "l2_category": fine,
            "meta_info": {"source": "made", "split": "val", "image_path": f"images/{i}.jpg"},
        }


def pope(images: Sequence[bytes], count: int) -> Rows:
    """Six questions an image; gold yes and no in turn."""
    for i in range(count):
        image = i // 6
        yield {
            "id": str(i),
            "question_id": str(i + 1),
            "question": f"Is there a thing number {i} in the image?",
            "answer": ("yes", "no")[i % 2],
            "image_source": f"COCO_val2014_{image:012d}",
            "image": {"bytes": images[image % len(images)], "path": None},
            "category": "popular",
        }


def mme(images: Sequence[bytes], count: int) -> Rows:
    """Two questions an image, the first with gold Yes, the second with gold No."""
    for i in range(count):
        pair = i // 2
        category = MME_CATEGORIES[pair % len(MME_CATEGORIES)]
        yield {
            "question_id": f"{category}/{pair:04d}.png",
            "image": {"bytes": images[pair % len(images)], "path": f"{pair:04d}.png"},
            "question": f"Is this view {i}? Please answer yes or no.",
            "answer": ("Yes", "No")[i % 2],
            "category": category,
        }


def mmmu(images: Sequence[bytes], count: int) -> Rows:
    """Every fifth question is open, every seventh shows two images; other gold A, B, C in turn."""
    for i in range(count):
        shown = 2 if i % 7 == 3 else 1
        cells = {
            name: {"bytes": images[(i + k) % len(images)], "path": f"{i}_{k}.jpg"}
            if k < shown
            else None
            for k, name in enumerate(MMMU_IMAGES)
        }
        second = " and <image 2>" if shown == 2 else ""
        is_open = i % 5 == 4
        subject = MMMU_SUBJECTS[i % len(MMMU_SUBJECTS)]
        yield {
            "id": f"validation_{subject}_{i + 1}",
            "question": f"How many views are in <image 1>{second}, case {i}?",
            "options": "[]" if is_open else "['one', 'two', 'three']",
            "explanation": "",
            **cells,
            "img_type": "['Photographs']",
            "answer": str(shown) if is_open else "ABC"[i % 3],
            "topic_difficulty": "Easy",
            "question_type": "open" if is_open else "multiple-choice",
            "subfield": subject,
        }


def _text(*names: str) -> dict[str, pa.DataType]:
    return dict.fromkeys(names, pa.string())


SCHEMAS: Mapping[str, Mapping[str, pa.DataType]] = {
    "mmstar": {
        "index": pa.int64(),
        "question": pa.string(),
        "image": PICTURE,
        **_text("answer", "category", "l2_category"),
        "meta_info": pa.struct([(n, pa.string()) for n in ("source", "split", "image_path")]),
    },
    "pope": {
        **_text("id", "question_id", "question", "answer", "image_source"),
        "image": PICTURE,
        **_text("category"),
    },
    "mme": {
        **_text("question_id"),
        "image": PICTURE,
        **_text("question", "answer", "category"),
    },
    "mmmu": {
        **_text("id", "question", "options", "explanation"),
        **dict.fromkeys(MMMU_IMAGES, PICTURE),
        **_text("img_type", "answer", "topic_difficulty", "question_type", "subfield"),
    },
}
ROWS: Mapping[str, Callable[[Sequence[bytes], int], Rows]] = {
    "mmstar": mmstar,
    "pope": pope,
    "mme": mme,
    "mmmu": mmmu,
}

TASK_FILES: Mapping[str, tuple[str, str]] = {
    "mmstar": ("mmstar", "lmms/mmstar/mmstar.parquet"),
    "pope_pop": ("pope", "lmms/pope_pop/Full/popular-00000-of-00001.parquet"),
    "mme": ("mme", "mme/data/test-00000-of-00001.parquet"),
    "mmmu_val": ("mmmu", "mmmu_val/data/validation-00000-of-00001.parquet"),
}
"""lmms-eval's tasks: the dataset of each, and where its file lies below --data."""


def _feature(kind: pa.DataType) -> Any:
    """A column's type in the words of `datasets`."""
    if kind == PICTURE:
        return _IMAGE
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "List"}
    if pa.types.is_struct(kind):
        return {field.name: _feature(field.type) for field in kind}
    return {"dtype": str(kind), "_type": "Value"}


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]], schema: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path)
    return path


def write_tasks(folder: Path, images: Sequence[bytes], count: int) -> Path:
    """A file of `count` rows for each of `TASK_FILES`; returns the folder."""
    for dataset, name in TASK_FILES.values():
        write(folder / name, dataset, list(ROWS[dataset](images, count)))
    return folder


def write(
    path: Path, dataset: str, rows: Sequence[Mapping[str, Any]], *, named: bool = True
) -> Path:
    """Write rows of a dataset; without `named`, nothing in the file says which cells are images."""
    return write_columns(path, SCHEMAS[dataset], rows, named=named)


def write_columns(
    path: Path,
    columns: Mapping[str, pa.DataType],
    rows: Sequence[Mapping[str, Any]],
    *,
    named: bool = True,
) -> Path:
    """As `write`, in columns of one's own."""
    features = {name: _feature(kind) for name, kind in columns.items()}
    told = {"huggingface": json.dumps({"info": {"features": features}})} if named else None
    schema = pa.schema(list(columns.items()), metadata=told)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path, row_group_size=256)
    return path
