"""Weights and states of which each rank writes its own part (torch.distributed.checkpoint).

The files are safetensors, as transformers has them and not pickles: no rank gathers anything, and
any number of ranks, one too, reads them again. Weights are put together afterwards by the first
rank, file by file and without holding a file, so that a checkpoint is one that everybody reads.

While a rank writes a file it holds its part of that file up to twice more; `_FILE` bounds it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pairuni_eval.toolkit import UserError

_FILE = 2**30  # bytes of a file, over all ranks
_ONE_NUMBER = (1,)  # a tensor without dimensions has no place in a shard


def write_parts(tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Write a state, of which each rank has a part or all, into a folder. All ranks take part.

    Raises:
        UserError: if a rank cannot write.
    """
    _save(tensors, folder, _files_of(tensors))


def write_weights(tensors: Mapping[str, Tensor], folder: Path, *, several: bool) -> None:
    """Write weights into a folder as whole files of safetensors, with an index.

    Args:
        tensors: The weights, of which each rank has a part or all.
        folder: The folder.
        several: Whether large ones may be several files.

    Raises:
        UserError: if a rank cannot write.
    """
    files = _files_of(tensors) if several else dict.fromkeys(tensors, 1)
    _save(tensors, folder, files, enable_consolidation=True)


def read_parts(tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Fill tensors, sharded or whole, with what `write_parts` has written. All ranks take part.

    Raises:
        UserError: if it is a state of other tensors, or cannot be read.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    with _told(folder, "cannot be read"):
        load(_flat(tensors), storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=_alone())


def read_whole(folder: Path) -> dict[str, Tensor]:
    """All that `write_parts` has written, whole, in this process alone.

    Raises:
        UserError: if it cannot be read.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    with _told(folder, "cannot be read"):
        reader = HuggingFaceStorageReader(str(folder))
        known: Any = reader.read_metadata().state_dict_metadata
        found = {
            name: torch.empty(one.size, dtype=one.properties.dtype) for name, one in known.items()
        }
        load(found, storage_reader=reader, no_dist=True)
    return found


def _save(
    tensors: Mapping[str, Tensor], folder: Path, files: dict[str, int], **options: Any
) -> None:
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    writer = HuggingFaceStorageWriter(
        str(folder), save_distributed=True, fqn_to_index_mapping=files, **options
    )
    with _told(folder, "cannot be written"):
        save(_flat(tensors), storage_writer=writer, no_dist=_alone())


def _flat(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The same tensors, those of one number as a vector of it."""
    return {
        name: one.detach() if one.dim() else one.detach().view(_ONE_NUMBER)
        for name, one in tensors.items()
    }


def _files_of(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """The file of each tensor, from 1: as many as are needed, in order."""
    total = sum(one.numel() * one.element_size() for one in tensors.values())
    count, found, before = max(1, math.ceil(total / _FILE)), {}, 0
    for name, one in tensors.items():
        found[name] = min(count, 1 + before * count // max(total, 1))
        before += one.numel() * one.element_size()
    # A file that nothing begins in is left out.
    kept = {number: place for place, number in enumerate(sorted(set(found.values())), 1)}
    return {name: kept[number] for name, number in found.items()}


def _alone() -> bool:
    return not torch.distributed.is_initialized()


@contextmanager
def _told(folder: Path, what: str) -> Iterator[None]:
    from torch.distributed.checkpoint.api import CheckpointException

    try:
        with warnings.catch_warnings():  # one process alone is what was meant
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            yield
    except CheckpointException as failure:
        rank, (first, _) = next(iter(failure.failures.items()))
        raise UserError(f"{folder} {what} by rank {rank}: {first}.") from failure
    except OSError as failure:
        raise UserError(f"{folder} {what}: {failure}.") from failure
