"""What both editions of WISE share: rows of three JSON files, one picture each, one question each.

Files: lists of {Prompt, Explanation, Category, Subcategory, prompt_id}. The category that counts is
given by the id, as in the official scripts; the file's own word only guards against reading one
edition as the other. `*_rewrite.json`, the same prompts spelled out, is another task and not read.
The judge prompt has no license and comes from the user's copy of the edition's script.
Departure: a picture is handed over as PNG whatever its file was.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pairuni_eval.api import (
    Answer,
    Benchmark,
    Card,
    Data,
    Fact,
    Item,
    Judge,
    JudgeReply,
    MetricValue,
    Painted,
    Question,
    UserError,
    json_value,
)
from pairuni_eval.api.scorers import (
    Edition,
    NotAsked,
    check_complete,
    find_beside,
    judge_with_prompt,
    knowledge_facts,
    no_prompt,
    question_about,
    replies_about,
    text_fields,
    wise_category,
)

from .judge_script import JudgePrompt, NoPromptError, read_prompt

_TEXTS = ("Prompt", "Explanation", "Category", "Subcategory")
_WORDS = {
    "Cultural knowledge": "CULTURE",
    "time": "TIME",
    "Space": "SPACE",
    "Biology": "BIOLOGY",
    "Physical Knowledge": "PHYSICS",
    "Chemistry": "CHEMISTRY",
}
_TRIES = 3
_REPOSITORY = "https://github.com/PKU-YuanGroup/WISE"


class PromptRow(NamedTuple):
    """One prompt with the category that its id gives it."""

    prompt_id: int
    prompt: str
    explanation: str
    category: str
    subcategory: str


class KnowledgeBenchmark(Benchmark):
    """Base of WISE and WISE-Verified.

    Attributes:
        edition: Which ids are of which category.
        script: The file that holds the judge prompt.
        prompt_sha256: Digest of the official judge prompt, see `JudgePrompt.sha256`.
    """

    edition: ClassVar[Edition]
    script: ClassVar[str]
    prompt_sha256: ClassVar[str]

    def __init__(self, card: Card, folder: Path) -> None:
        super().__init__(card, folder)
        self._prompt: JudgePrompt | NotAsked = no_prompt("none was looked for")

    def samples(self, data: Data) -> Iterator[Item]:
        """One sample a prompt, in the order of the files; the key is the prompt id.

        Raises:
            UserError: for a file of another form, an id that is repeated or out of range, or files
                that are complete and not the official ones.
        """
        paths = data.files()
        rows = [row for path in paths for row in _rows(path, self.edition)]
        _check_ids(rows, paths)
        if len(rows) == self.card.expected:
            place = f"{_REPOSITORY}/tree/{self.card.data.revision}"
            check_complete(paths, self.card.data.published, revision=place)
        for row in rows:
            yield self.item(
                key=str(row.prompt_id),
                parts=(row.prompt,),
                reference={"explanation": row.explanation},
                tags={"category": row.category, "subcategory": row.subcategory},
            )

    def equip(self, data: Data, *, device: str) -> None:
        """Read the judge prompt from the user's copy of the edition's script."""
        found = find_beside(data, [self.script], source=_REPOSITORY)
        try:
            self._prompt = read_prompt(found) if isinstance(found, Path) else found
        except NoPromptError as failure:
            self._prompt = no_prompt(str(failure))

    def score(
        self, answers: Sequence[Answer], *, protocol: str, judge: Judge | None
    ) -> Iterator[list[MetricValue]]:
        """All questions at once, and up to twice more those whose reply cannot be read."""
        questions = [self._question(answer) for answer in answers]
        for reply in replies_about(judge, questions, self.readable, tries=_TRIES):
            yield self.grade(reply._replace(judge=self._named(reply.judge)), protocol)

    def facts(self, painted: Sequence[Painted], *, seed: int) -> Iterator[list[Fact]]:
        """Whether each picture shows its prompt's explanation, as the judge found."""
        return knowledge_facts(painted, right=self.right, seed=seed)

    @abstractmethod
    def readable(self, reply: str) -> bool:
        """Whether the official script would take a reply."""

    @abstractmethod
    def grade(self, reply: JudgeReply, protocol: str) -> list[MetricValue]:
        """Marks of one picture."""

    def _question(self, answer: Answer) -> Question | NotAsked:
        if isinstance(self._prompt, NotAsked):
            return self._prompt
        text = self._prompt.fill(answer.sample.text, answer.sample.reference["explanation"])
        asked = question_about(answer, text, lambda one: (one.image,))
        return asked._replace(system=self._prompt.system) if isinstance(asked, Question) else asked

    def _named(self, snapshot: str | None) -> str | None:
        if isinstance(self._prompt, NotAsked):
            return snapshot
        return judge_with_prompt(snapshot, self._prompt.sha256, self.prompt_sha256)


def _rows(path: Path, edition: Edition) -> Iterator[PromptRow]:
    listed = json_value(path)
    if not isinstance(listed, list):
        raise UserError(f"{path}: expected a list of prompts, found {type(listed).__name__}.")
    for number, row in enumerate(listed, start=1):
        yield _row(path, f"row {number}", row, edition)


def _row(path: Path, place: str, row: Any, edition: Edition) -> PromptRow:
    prompt, explanation, word, subcategory = text_fields(path, place, row, _TEXTS)
    prompt_id = row.get("prompt_id")
    category = wise_category(prompt_id, edition) if isinstance(prompt_id, int) else None
    if category is None:
        raise UserError(f"{path}, {place}: prompt_id is {prompt_id!r}, not 1 to 1000.")
    if _WORDS.get(word, category) != category:
        raise UserError(
            f"{path}, {place}: prompt {prompt_id} is called '{word}', but that id is {category} in "
            "this edition of WISE.",
            hint="wise reads the legacy files, wise-verified those named *_verified.json.",
        )
    return PromptRow(prompt_id, prompt, explanation, category, subcategory)


def _check_ids(rows: Sequence[PromptRow], paths: Sequence[Path]) -> None:
    seen: set[int] = set()
    for row in rows:
        if row.prompt_id in seen:
            names = ", ".join(str(path) for path in paths)
            raise UserError(
                f"prompt_id {row.prompt_id} occurs twice in {names}.",
                hint="Use the files of the dataset as published.",
            )
        seen.add(row.prompt_id)
