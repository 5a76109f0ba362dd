"""What a task's own code reads from the hub beside its documents, read from the user's folder.

GQA's questions name images that its code fetches as a second configuration of the dataset. Inside a
block `load_dataset` of the task's functions takes the parquet files of that configuration and split
from the folder that holds the documents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pairuni_eval.lmms.parquet_images import image_features
from pairuni_eval.lmms.replaced import replaced

FilesOf = Callable[[str | None, str], list[Path]]
"""The user's files of a configuration and a split; raises UserError if there are none."""

_READER = "load_dataset"


@contextmanager
def from_folder(functions: Iterable[Any], files_of: FilesOf) -> Iterator[None]:
    """Let functions read datasets from the user's files."""

    def read(_: str, name: str | None = None, *, split: str, **__: Any) -> Any:
        from datasets import load_dataset

        files = files_of(name, split)
        paths = {split: [str(path) for path in files]}
        features = image_features(files[0])
        return load_dataset("parquet", data_files=paths, split=split, features=features)

    with ExitStack() as readers:
        for function in functions:
            if _READER in function.__globals__:  # lmms-eval's modules stand in no list of modules
                readers.enter_context(replaced(function.__globals__, _READER, read))
        yield
