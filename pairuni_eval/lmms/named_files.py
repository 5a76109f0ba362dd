"""Files that a row names instead of holding them, as datasets reads them: from one folder only.

datasets opens whatever a cell {"bytes": null, "path": ...} names, any file of this machine or a
URL, when the row is decoded. Inside a block its decoders are handed the bytes of a file that
`DataFolder` lets the row name, or the row fails with the reason. Cells that hold their bytes are
decoded as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pairuni_eval.data_folder import DataFolder
from pairuni_eval.image_cell import image_file

_FEATURES = ("Image", "Audio", "Video", "Pdf", "Nifti")  # of datasets: what decodes named files


def hub_folder() -> DataFolder:
    """Where datasets keeps what it fetched."""
    import datasets

    home = Path(datasets.config.HF_CACHE_HOME).expanduser()
    return DataFolder(home, home, home)


@contextmanager
def named_files(folder: DataFolder) -> Iterator[None]:
    """Let datasets read the files that rows name from a folder and nowhere else."""
    import datasets

    found = {name: getattr(datasets, name) for name in _FEATURES if hasattr(datasets, name)}
    before = {name: feature.decode_example for name, feature in found.items()}
    try:
        for name, feature in found.items():
            feature.decode_example = _decoder(before[name], folder, image=name == "Image")
        yield
    finally:
        for name, feature in found.items():
            feature.decode_example = before[name]


def _decoder(
    decode_example: Callable[..., Any], folder: DataFolder, *, image: bool
) -> Callable[..., Any]:
    def decode(feature: Any, value: Any, *args: Any, **options: Any) -> Any:
        if isinstance(value, Mapping) and value.get("bytes") is None and value.get("path"):
            name = str(value["path"])
            data = image_file(name, folder) if image else folder.read(name)
            value = {"bytes": data, "path": None}
        return decode_example(feature, value, *args, **options)

    return decode
