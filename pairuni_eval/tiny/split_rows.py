"""Questions and prompts of a split that training never sees: of new skills and of common ones.

New skills are names: every name is asked about equally often, on scenes of the split, and drawn in
pairs that belong to the split as sets. Common skills are the kinds of `questions` and `prompts`,
so that forgetting shows. Yes and no are balanced in each kind, letters as well. No scene comes
twice. Everything is drawn from the generator that the caller hands over.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations, product
from typing import Literal, NamedTuple

from pairuni_eval import prompts as forms
from pairuni_eval.tiny import question_rows, questions
from pairuni_eval.tiny.benchmark_forms import TinyQuestion
from pairuni_eval.tiny.name_prompts import name_row, names_of
from pairuni_eval.tiny.name_questions import NameKind, ask_about, scene_with, scene_without
from pairuni_eval.tiny.names import NAMES
from pairuni_eval.tiny.prompts import TAGS, Row, geneval_rows
from pairuni_eval.tiny.questions import LETTERS
from pairuni_eval.tiny.splits import Split, split_of_prompt, split_of_scene
from pairuni_eval.tiny.world import Scene, random_scene, states_of

Skill = Literal["new", "common"]

# What one name is asked in a round, and whether it is there.
_ROUND: tuple[tuple[NameKind, bool], ...] = (
    ("name_exists", True),
    ("name_exists", False),
    ("name_color", True),
    ("name_shape", True),
    ("name_choice", True),
) * 2


class SplitQuestion(NamedTuple):
    """A question on a scene of a split.

    Attributes:
        key: What no other question of the split has.
        skill: Whether it is about a name.
        kind: What it asks; common yes-or-no questions begin with "say_".
        form: In whose form: "mmmu", "mmstar", "mme", "pope" or "open".
        text: What a model reads.
        answer: A letter, a word, or yes or no.
        concepts: The name that it is about; none for a common skill.
        scene: What the picture shows.
    """

    key: str
    skill: Skill
    kind: str
    form: str
    text: str
    answer: str
    concepts: tuple[str, ...]
    scene: Scene


class SplitPrompt(NamedTuple):
    """A prompt of a split: its row, whether it is about names, and about which."""

    skill: Skill
    row: Row
    concepts: tuple[str, ...]


# Questions


def split_questions(
    rng: random.Random, split: Split, *, rounds: int, per_choice: int, per_statement: int
) -> Iterator[SplitQuestion]:
    """The questions of a split, new skills first.

    Args:
        rng: Draws them.
        split: Whose scenes they are about.
        rounds: How often each name is asked the ten questions of a round.
        per_choice: Choice questions of each of the twelve kinds; a multiple of four.
        per_statement: Yes-or-no questions of each of MME's six kinds, and half of POPE's; even.
    """
    drawing = _Drawing(rng, split)
    for number in range(rounds):
        for name, (place, (kind, there)) in product(NAMES, enumerate(_ROUND)):
            key = f"{name} {number * len(_ROUND) + place}"
            yield drawing.fresh(partial(_about_name, name, kind, there), key)
    for common, number in product(questions.KINDS, range(per_choice)):
        letter, form = LETTERS[number % 4], ("mmmu", "mmstar")[(number + number // 4) % 2]
        yield drawing.fresh(partial(_choice, common, letter, form), f"{common} {number}")
    for said, number in product(questions.STATEMENT_KINDS, range(per_statement)):
        yield drawing.fresh(partial(_statement, said, number % 2 == 0), f"say {said} {number}")
    for number in range(2 * per_statement):
        yield drawing.fresh(partial(_existence, number % 2 == 0), f"pope {number}")


_Asked = tuple[Scene, Skill, TinyQuestion, tuple[str, ...]]


class _Drawing:
    """Draws questions about scenes of a split that were not asked about before."""

    def __init__(self, rng: random.Random, split: Split) -> None:
        self._rng, self._split = rng, split
        self._seen: set[bytes] = set()

    def fresh(
        self, make: Callable[[random.Random, Split], _Asked | None], key: str
    ) -> SplitQuestion:
        """The first question that a maker makes about a new scene of the split."""
        while True:
            asked = make(self._rng, self._split)
            if asked is None:
                continue
            scene, skill, question, concepts = asked
            cells = states_of(scene).tobytes()
            if cells not in self._seen:
                self._seen.add(cells)
                form, kind, text, answer = question
                return SplitQuestion(key, skill, kind, form, text, answer, concepts, scene)


def _about_name(
    name: str, kind: NameKind, there: bool, rng: random.Random, split: Split
) -> _Asked | None:
    scene = scene_with(rng, name, split) if there else scene_without(rng, name, split)
    one = ask_about(rng, scene, name, kind)
    if one is None:
        return None
    return scene, "new", TinyQuestion(one.form, one.kind, one.text, one.answer), (name,)


def _choice(kind: str, letter: str, form: str, rng: random.Random, split: Split) -> _Asked | None:
    scene = _scene_of(rng, split)
    tried = (questions.ask(rng, scene, kind) for _ in range(_TRIES))
    one = next((found for found in tried if found and found.letter == letter), None)
    if one is None:
        return None
    if form == "mmmu":
        text = forms.mmmu_prompt(one.text, one.options(letter))
    else:
        text = forms.mmstar_prompt(question_rows.mmstar_text(one, letter))
    return scene, "common", TinyQuestion(form, kind, text, letter), ()


def _statement(kind: str, truth: bool, rng: random.Random, split: Split) -> _Asked | None:
    scene = _scene_of(rng, split)
    said = questions.statement(rng, scene, kind, truth=truth)
    if said is None:
        return None
    text = forms.mme_prompt(question_rows.mme_text(said))
    return scene, "common", TinyQuestion("mme", f"say_{kind}", text, said.answer), ()


def _existence(truth: bool, rng: random.Random, split: Split) -> _Asked:
    scene = _scene_of(rng, split)
    if truth:
        name = rng.choice(scene.things).name
    else:
        name = question_rows.absent_names(rng, scene, rng.choice(_ABSENT), question_rows.UNCOUNTED)[
            0
        ]
    text = forms.pope_prompt(question_rows.pope_text(name))
    question = TinyQuestion("pope", "say_existence", text, "yes" if truth else "no")
    return scene, "common", question, ()


def _scene_of(rng: random.Random, split: Split) -> Scene:
    while True:
        scene = random_scene(rng, held=split != "training")
        if split_of_scene(scene) == split:
            return scene


_TRIES = 8  # questions about a scene until one has the letter that is wanted
_ABSENT = ("random", "adversarial")  # POPE's splits that a single scene has


# Prompts


def split_prompts(
    rng: random.Random, split: Split, *, new: int, common: int
) -> Iterator[SplitPrompt]:
    """The prompts of a split, new skills first, each once.

    Args:
        rng: Draws them.
        split: Whose units they are.
        new: Pairs of names, each in one of its two orders.
        common: Prompts of the six kinds, as evenly as the kinds have them.

    Raises:
        ValueError: if the split has fewer.
    """
    pairs = [pair for pair in combinations(NAMES, 2) if split_of_prompt(name_row(*pair)) == split]
    for pair in rng.sample(pairs, new):
        row = name_row(*rng.sample(pair, 2))
        yield SplitPrompt("new", row, names_of(row))
    of_kind = [[row for row in geneval_rows(tag) if split_of_prompt(row) == split] for tag in TAGS]
    for left, rows in zip(range(len(TAGS), 0, -1), sorted(of_kind, key=len), strict=True):
        chosen = rng.sample(rows, common if left == 1 else min(len(rows), common // left))
        common -= len(chosen)
        yield from (SplitPrompt("common", row, ()) for row in chosen)
