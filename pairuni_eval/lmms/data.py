"""The documents of a task: parquet files in the user's folder, or lmms-eval's own place.

Files are looked for in DIR/lmms/TASK, DIR/TASK and, without the folders below it, DIR. With several
files those of the task's split are taken, known by a word of their path: a copy of the whole
dataset serves. Links are followed, see `pairuni_eval.data_folder`. Without `--data` lmms-eval
fetches the dataset from the hub by itself.
"""

from __future__ import annotations

import re
from pathlib import Path

from pairuni_eval.api import Card, Data, Origin, UserError
from pairuni_eval.data_folder import files_matching


class TaskData(Data):
    """The files of one task.

    Args:
        card: The task's card.
        folder: The folder of the task's file.
        user_folder: What the user gave as `--data`, or None.
        subset: The dataset's configuration that the task reads, or None.
    """

    def __init__(
        self, card: Card, folder: Path, user_folder: Path | None, subset: str | None
    ) -> None:
        super().__init__(card, folder, user_folder)
        self._user = user_folder
        self._spec = card.data
        self._name = card.name
        self._subset = subset

    def files(self) -> list[Path]:
        """The parquet files of the task's split, by name; empty if lmms-eval is to fetch them.

        Raises:
            UserError: if the user's folder has none, or it is not clear which of them are meant.
        """
        if self._user is None:
            return []
        for place, pattern in self._places(self._user):
            found = files_matching(place, pattern)
            if found:
                return self._of_split(place, found)
        looked = ", ".join(str(place) for place, _ in self._places(self._user))
        raise UserError(
            f"The data of '{self._name}' was not found: no parquet file in {looked}.",
            hint=f"Put the files of {self._spec.hub} into {self._places(self._user)[0][0]}.",
        )

    def files_of(self, subset: str | None, split: str) -> list[Path]:
        """The parquet files of another configuration of the dataset, of one split, by name.

        Raises:
            UserError: if the user's folder has none.
        """
        assert self._user is not None  # else lmms-eval fetches everything itself
        for place, pattern in self._places(self._user):
            found = _having(place, files_matching(place, pattern), subset)
            found = _having(place, found, split) if subset else found
            if found:
                return found
        raise UserError(
            f"The data of '{self._name}' is not whole: no parquet file of "
            f"'{subset or split}' in {self._places(self._user)[0][0]}.",
            hint=f"Put the files of {self._spec.hub} there with the names of the dataset.",
        )

    def origin(self) -> Origin:
        """The user's folder or the hub; the files are not read."""
        kind = f"hub:{self._spec.hub}" if self._user is None else "folder"
        return Origin(kind, self._spec.revision)

    def _local_places(self) -> list[Path]:
        return [place for place, _ in self._places(self._user)] if self._user else []

    def _places(self, user: Path) -> list[tuple[Path, str]]:
        family, _, task = self._name.partition(":")
        deep = "**/*.parquet"
        return [(user / family / task, deep), (user / task, deep), (user, "*.parquet")]

    def _of_split(self, place: Path, found: list[Path]) -> list[Path]:
        mine = _having(place, found, self._subset) or found
        split = _having(place, mine, self._spec.split)
        if not split and len(mine) > 1:
            names = ", ".join(str(path.relative_to(place)) for path in mine[:6])
            raise UserError(
                f"{place}: none of its {len(mine)} parquet files is named after the split "
                f"'{self._spec.split}' of '{self._name}': {names}.",
                hint="Keep the names of the dataset as published, or leave only the right file.",
            )
        return split or mine


def _having(place: Path, found: list[Path], word: str | None) -> list[Path]:
    """The files whose path below `place` holds a word, apart from letters and digits."""
    if not word:
        return []
    wanted = re.compile(rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])")
    return [path for path in found if wanted.search(str(path.relative_to(place)))]
