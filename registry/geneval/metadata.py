"""A row of GenEval's `evaluation_metadata.jsonl`: a prompt and what its picture must show."""

from __future__ import annotations

from typing import Annotated

import msgspec

_Count = Annotated[int, msgspec.Meta(ge=0, le=1000)]


class Wanted(msgspec.Struct, frozen=True, rename={"name": "class"}):
    """A clause of `include` or `exclude`.

    Attributes:
        name: The class of the objects.
        count: How many there must be; of `exclude` so many are too many.
        color: Their color.
        position: Where they stand, and the clause of `include` that they are related to.
    """

    name: str
    count: _Count
    color: str | msgspec.UnsetType = msgspec.UNSET
    position: tuple[str, _Count] | msgspec.UnsetType = msgspec.UNSET


class Metadata(msgspec.Struct, frozen=True):
    """A row; upstream's scripts read the same keys."""

    tag: str
    prompt: str
    include: tuple[Wanted, ...] = ()
    exclude: tuple[Wanted, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a position beside a clause that does not come before its own."""
        for place, wanted in enumerate(self.include):
            if wanted.position is not msgspec.UNSET and wanted.position[1] >= place:
                raise ValueError(f"include {place} stands beside a clause that is not before it")
