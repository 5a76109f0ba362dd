"""GenEval 2: questions with probabilities of their answers. See `scorers/soft_questions.py`.

File: JSON lines of {prompt, atom_count, vqa_list: [[question, answer], ...], skills: [...]}, a
skill a question. The judge sees the picture, then the question. Data and code are CC-BY-NC-4.0 and
no part of this project: the rows are read from the user's copy.
Departures: a prompt whose picture is missing, or of which one question has no probabilities, has no
score, where the official script ends; a picture is handed over as PNG.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from pairuni_eval.api import (
    Answer,
    Benchmark,
    Data,
    Item,
    Judge,
    MetricValue,
    Question,
    Row,
    UserError,
)
from pairuni_eval.api.scorers import (
    SKILLS,
    NotAsked,
    check_complete,
    point_tags,
    question_about,
    question_of,
    question_of_prompt,
    replies_about,
    soft_marks,
    vqascore_marks,
)

_SHA256 = "09233adbc9f877fba205f1a20efa4a8640e7e62a91dfd55893562bed8a928e43"


class SoftPrompt(msgspec.Struct, frozen=True):
    """A row of the file.

    Attributes:
        atom_count: How many atoms the prompt has.
        vqa_list: Questions with their answers.
        skills: What each question asks for.
    """

    prompt: str
    atom_count: int
    vqa_list: list[tuple[str, str]]
    skills: list[str]


class GenEval2(Benchmark):
    """See the module docstring."""

    def samples(self, data: Data) -> Iterator[Item]:
        """One sample a row; the key is its place, from 0.

        Raises:
            UserError: for a row of another form, or a file that is complete and not the official
                one.
        """
        rows = list(data.jsonl_rows())
        if len(rows) == self.card.expected:
            paths = data.files()
            place = f"{self.card.homepage}/tree/{self.card.data.revision}"
            check_complete(paths, {path.name: _SHA256 for path in paths}, revision=place)
        for number, row in enumerate(rows):
            read = _read(row)
            yield self.item(
                key=f"{number:04d}",
                parts=(read.prompt,),
                reference={"questions": read.vqa_list, "skills": read.skills},
                tags=point_tags("skills", read.skills) | {"atoms": str(read.atom_count)},
            )

    def score(
        self, answers: Sequence[Answer], *, protocol: str, judge: Judge | None
    ) -> Iterator[list[MetricValue]]:
        """All questions about all pictures at once, each asked once."""
        asked = [_questions(answer, protocol) for answer in answers]
        every = [question for one in asked for question in one]
        replies = iter(replies_about(judge, every, bool, tries=1))
        for answer, one in zip(answers, asked, strict=True):
            found = [next(replies) for _ in one]
            if protocol == "vqascore":
                yield vqascore_marks(found[0])
            else:
                facts = answer.sample.reference
                listed = [(question, gold) for question, gold in facts["questions"]]
                yield soft_marks(found, listed, facts["skills"], protocol)


def _questions(answer: Answer, protocol: str) -> list[Question | NotAsked]:
    """What is asked about a picture, the picture first."""
    if protocol == "vqascore":
        texts = [question_of_prompt(answer.sample.text)]
    else:
        texts = [question_of(question) for question, _ in answer.sample.reference["questions"]]
    shown = question_about(answer, "", lambda one: (one.image,))
    if isinstance(shown, NotAsked):
        return [shown for _ in texts]
    return [shown._replace(prompt=text, images_first=True) for text in texts]


def _read(row: Row) -> SoftPrompt:
    """A row as it must be.

    Raises:
        UserError: naming the file, the line and what is wrong.
    """
    row.check(SoftPrompt)
    read = msgspec.convert(dict(row), SoftPrompt)
    place = f"{row.file}, line {row.number}"
    if not 1 <= len(read.vqa_list) == len(read.skills):
        raise UserError(
            f"{place}: {len(read.vqa_list)} questions with {len(read.skills)} skills; there must "
            "be at least one, each with its own."
        )
    unknown = next((skill for skill in read.skills if skill not in SKILLS), None)
    if unknown is not None:
        raise UserError(
            f"{place}: no skill is called '{unknown}'.", hint=f"They are: {', '.join(SKILLS)}."
        )
    return read
