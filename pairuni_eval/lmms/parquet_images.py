"""Which columns of a parquet file hold images, where its schema does not say so."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def image_features(path: Path) -> Any:
    """Features with images where a file's schema does not say which columns hold them.

    Files that datasets wrote carry its metadata; in others an image is a table {bytes, path}.
    None if the file needs no help.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import Features

    try:
        with path.open("rb") as stream:
            schema = pq.read_schema(stream)
    except (pa.ArrowException, OSError):
        return None  # datasets says what is wrong with the file
    if b"huggingface" in (schema.metadata or {}):
        return None
    features = Features.from_arrow_schema(schema)
    return Features({name: _with_images(feature) for name, feature in features.items()})


def _with_images(feature: Any) -> Any:
    import datasets

    if isinstance(feature, dict) and set(feature) == {"bytes", "path"}:
        return datasets.Image()
    if isinstance(feature, datasets.List):
        return datasets.List(_with_images(feature.feature))
    return feature
