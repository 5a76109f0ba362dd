"""A pair set that stays on the disk: whoever asks for a pair reads the row group that it is in.

Row groups that were read stay in memory up to a number of bytes, the last used ones; a small set is
read once. `write_pairs` makes groups of 32 rows; a file of others may have larger ones, and no less
than one of them is in memory.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import overload

from pairuni_eval.toolkit import UserError
from pairuni_eval.toolkit.contamination import open_pair_set
from pairuni_train.pair_data.dataset import examine_cells, pair_columns, read_columns
from pairuni_train.pair_data.record import Kind, Pair

KEPT = 256 * 2**20  # bytes of images that stay in memory


class StoredPairs(Sequence[Pair]):
    """The pairs of a file, in order.

    Args:
        path: The file.
        kept: Bytes of images that may stay in memory beside the group that is read.

    Attributes:
        kinds: The kinds that its pairs have.

    Raises:
        UserError: if the file is not a pair set; naming file, row and column, for a pair that is
            not sound, when it is read.
    """

    def __init__(self, path: Path, *, kept: int = KEPT) -> None:
        self.path = path
        with open_pair_set(path, pair_columns()) as file:
            self._metadata = file.metadata
        groups = map(self._metadata.row_group, range(self._metadata.num_row_groups))
        counts: list[int] = [group.num_rows for group in groups]
        # The row of each group, and the number of rows.
        self._first: list[int] = [0, *accumulate(counts)]
        known = set(Kind)
        kinds = set(read_columns(path, ["kind"])["kind"])
        self.kinds = frozenset(Kind(one) for one in kinds if one in known)
        self._kept = kept
        self._groups: OrderedDict[int, list[Pair | UserError]] = OrderedDict()
        self._bytes: dict[int, int] = {}

    def __len__(self) -> int:
        return self._first[-1]

    @overload
    def __getitem__(self, index: int) -> Pair: ...

    @overload
    def __getitem__(self, index: slice) -> list[Pair]: ...

    def __getitem__(self, index: int | slice) -> Pair | list[Pair]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        place = index % len(self)
        group = bisect_right(self._first, place) - 1
        found = self._group(group)[place - self._first[group]]
        if isinstance(found, UserError):
            raise found
        return found

    def __iter__(self) -> Iterator[Pair]:
        for place in range(len(self)):
            yield self[place]

    def _group(self, number: int) -> list[Pair | UserError]:
        if number in self._groups:
            self._groups.move_to_end(number)
            return self._groups[number]
        found = self._read(number)
        self._bytes[number] = sum(map(_image_bytes, found))
        self._groups[number] = found
        while len(self._groups) > 1 and sum(self._bytes.values()) > self._kept:
            oldest, _ = self._groups.popitem(last=False)
            del self._bytes[oldest]
        return found

    def _read(self, number: int) -> list[Pair | UserError]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with self.path.open("rb") as stream:
                file = pq.ParquetFile(stream, metadata=self._metadata)
                rows = file.read_row_group(number, columns=pair_columns()).to_pylist()
        except (pa.ArrowException, OSError) as failure:
            raise UserError(
                f"{self.path}: can no longer be read: {failure}.",
                hint="Put the pair set back; the same command goes on from its checkpoint.",
            ) from failure
        first = self._first[number] + 1
        return [examine_cells(row, self.path, first + place) for place, row in enumerate(rows)]


def _image_bytes(pair: Pair | UserError) -> int:
    halves = () if isinstance(pair, UserError) else (pair.understanding, pair.generation)
    return sum(len(half.image or b"") for half in halves if half is not None)
