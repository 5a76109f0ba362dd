"""ImgEdit Basic from `basic_edit.json`: 737 edits of 171 pictures, judged on three scores.

The JSON maps a key to {id: path of the picture, prompt, edit_type}; the pictures are those of
`Benchmark.tar`, looked for beside the JSON and in the folders into which that archive is usually
unpacked; an id never leads out of them. The judge prompts, one per type, have no license and come
from the user's file. A picture that is not there is a row without output, a type without prompt a
skipped one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pairuni_eval.api import (
    Answer,
    Benchmark,
    Card,
    Data,
    DataFolder,
    DatasetError,
    Item,
    Judge,
    MetricValue,
    Picture,
    Question,
    UserError,
    json_value,
)
from pairuni_eval.api.images import image_file
from pairuni_eval.api.scorers import (
    NotAsked,
    check_complete,
    find_beside,
    imgedit_marks,
    judge_with_prompt,
    no_prompt,
    question_about,
    replies_about,
    text_fields,
)

_FIELDS = ("id", "prompt", "edit_type")
_PLACEHOLDER = "<edit_prompt>"
_REPOSITORY = "https://github.com/PKU-YuanGroup/ImgEdit"
# As in Benchmark/Basic of the repository, in the data of this project's tests, in Benchmark.tar.
_PROMPT_FILES = ("prompts.json", "judge_prompts.json", "judge_prompt.json")
_PICTURE_FOLDERS = (".", "singleturn", "Benchmark/singleturn", "images")

# Of names and texts: the same prompts stand in files of different form.
_PROMPTS_SHA256 = "0bdfd883e2701e4e52dee463f9da6f129f41f2e2688cff23cb599f41db3d7a65"


class _Prompts(NamedTuple):
    """The judge prompts by edit type, and their digest."""

    by_type: Mapping[str, str]
    sha256: str


class ImgEdit(Benchmark):
    """See the module docstring."""

    def __init__(self, card: Card, folder: Path) -> None:
        super().__init__(card, folder)
        self._prompts: _Prompts | NotAsked = no_prompt("none was looked for")

    def samples(self, data: Data) -> Iterator[Item]:
        """One sample an edit, in the order of the file; the key is that of the file.

        Raises:
            UserError: for a file of another form, or one that is complete and not the official one.
        """
        (path,) = data.files()[:1]
        rows = json_value(path)
        if not isinstance(rows, dict):
            raise UserError(f"{path}: expected an object of edits, found {type(rows).__name__}.")
        if len(rows) == self.card.expected:
            place = f"{_REPOSITORY}/tree/{self.card.data.revision}"
            check_complete([path], self.card.data.published, revision=place)
        fields = {key: text_fields(path, f"key '{key}'", row, _FIELDS) for key, row in rows.items()}
        names = [picture for picture, _, _ in fields.values()]
        folder = _picture_folder(path, data.folder_of(path), names)
        for key, (picture, prompt, edit_type) in fields.items():
            yield self.item(
                key=key,
                parts=(_picture(folder, picture, f"{path.name}, key '{key}'"), prompt),
                reference={"source": picture, "edit_type": edit_type},
                tags={"edit_type": edit_type},
            )

    def equip(self, data: Data, *, device: str) -> None:
        """Read the judge prompts from the user's file."""
        found = find_beside(data, _PROMPT_FILES, source=f"{_REPOSITORY} (Benchmark/Basic)")
        self._prompts = found if isinstance(found, NotAsked) else _read_prompts(found)

    def score(
        self, answers: Sequence[Answer], *, protocol: str, judge: Judge | None
    ) -> Iterator[list[MetricValue]]:
        """All questions at once, each asked once, as in the official script."""
        questions = [self._question(answer) for answer in answers]
        for reply in replies_about(judge, questions, bool, tries=1):
            yield imgedit_marks(reply._replace(judge=self._named(reply.judge)), protocol)

    def _question(self, answer: Answer) -> Question | NotAsked:
        if isinstance(self._prompts, NotAsked):
            return self._prompts
        edit_type = answer.sample.reference["edit_type"]
        template = self._prompts.by_type.get(edit_type)
        if template is None:
            return no_prompt(f"there is none for the edit type '{edit_type}'")
        text = template.replace(_PLACEHOLDER, answer.sample.text)
        return question_about(answer, text, lambda one: (*one.source_images, one.image))

    def _named(self, snapshot: str | None) -> str | None:
        if isinstance(self._prompts, NotAsked):
            return snapshot
        return judge_with_prompt(snapshot, self._prompts.sha256, _PROMPTS_SHA256)


def _picture_folder(path: Path, around: DataFolder, pictures: Sequence[str]) -> DataFolder:
    """The first place that holds one of the pictures; the JSON's own folder if none does."""
    above, root = path.resolve().parent, around.root.resolve()
    places = [
        base / name
        for base in (path.parent, above.parent, above.parent.parent)
        for name in _PICTURE_FOLDERS
        if name != "." or base == path.parent or base.is_relative_to(root)
    ]
    folders = [DataFolder(place, place, around.links_within) for place in places]
    return next((one for one in folders if any(one.has(name) for name in pictures)), folders[0])


def _picture(folder: DataFolder, name: str, place: str) -> Picture:
    """A picture as it is on the disk; a broken one, which the runner records, if it is not."""
    try:
        return Picture.from_bytes(image_file(name, folder))
    except DatasetError as failure:
        return Picture.broken(f"{place}: {failure}")


def _read_prompts(path: Path) -> _Prompts | NotAsked:
    try:
        found: Any = json_value(path)
    except UserError as failure:
        return no_prompt(failure.message)
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        return no_prompt(f"{path} is not an object of texts by edit type")
    listed = "\0".join(f"{name}\0{text}" for name, text in sorted(found.items()))
    return _Prompts(found, hashlib.sha256(listed.encode()).hexdigest())
