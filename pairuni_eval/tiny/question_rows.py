"""Questions about tiny scenes as rows in the schemas of MMMU, MMStar, MME and POPE.

The picture stands in the column where upstream keeps it (POPE's under `picture`, since its `image`
is a file name); letters and yes/no are balanced exactly; the rows show held-out scenes only
(`world.held_out`). Everything is drawn from the generator that the caller hands over.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import permutations
from typing import Any, NamedTuple, Self

from PIL import Image

from pairuni_eval.scorers.facts import with_article
from pairuni_eval.tiny.questions import (
    KINDS,
    LETTERS,
    STATEMENT_KINDS,
    Choice,
    Statement,
    names_without,
    random_question,
    random_statement,
    statement,
)
from pairuni_eval.tiny.world import Scene, random_scene, render

Row = dict[str, Any]


class SceneRow(NamedTuple):
    """A row in an upstream schema and the scene its picture shows."""

    row: Row
    scene: Scene


def _balanced_letters(rng: random.Random, count: int) -> list[str]:
    letters = [LETTERS[i % len(LETTERS)] for i in range(count)]
    rng.shuffle(letters)
    return letters


def mmmu_row(question: Choice, scene: Scene, letter: str | None, index: int) -> SceneRow:
    """An MMMU row; `letter` None makes an open question whose answer is the word itself."""
    subject = question.kind.capitalize()
    options = list(question.options(letter)) if letter else []
    row = {
        "id": f"validation_{subject}_{index}",
        "question": f"<image 1> {question.text}",
        "options": repr(options),
        "explanation": "",
        "image_1": render(scene),
        "img_type": "['Diagrams']",
        "answer": letter or question.answer,
        "topic_difficulty": "Easy",
        "question_type": "multiple-choice" if letter else "open",
        "subfield": subject,
    }
    return SceneRow(row, scene)


def mmmu_rows(rng: random.Random, *, per_kind: int = 24, open_share: float = 0.0) -> list[SceneRow]:
    """MMMU rows, `per_kind` for every kind, of which the last `open_share` are open questions."""
    rows: list[SceneRow] = []
    choices = per_kind - round(per_kind * open_share)
    for kind in KINDS:
        letters = _balanced_letters(rng, choices)
        for index in range(per_kind):
            letter = letters[index] if index < choices else None
            scene, question = random_question(rng, kind, letter=letter, held=True)
            rows.append(mmmu_row(question, scene, letter, index + 1))
    return rows


# kind: (MMStar's category, MMStar's l2_category)
MMSTAR_CATEGORIES: dict[str, tuple[str, str]] = {
    "total": ("coarse perception", "image scene and topic"),
    "most": ("coarse perception", "image style & quality"),
    "count": ("fine-grained perception", "object counting"),
    "color": ("fine-grained perception", "recognition"),
    "row": ("fine-grained perception", "localization"),
    "column": ("fine-grained perception", "localization"),
    "shape": ("instance reasoning", "single-instance reasoning"),
    "relation": ("instance reasoning", "cross-instance relation reasoning"),
    "existence": ("logical reasoning", "common reasoning"),
    "knowledge": ("science & technology", "biology & chemistry & physics"),
    "count_color": ("math", "numeric commonsense and calculation"),
    "sum": ("math", "statistical reasoning"),
}


def mmstar_text(question: Choice, letter: str) -> str:
    """A question with its options inline, as MMStar writes them."""
    options = zip(LETTERS, question.options(letter), strict=True)
    return f"{question.text}\nOptions: {', '.join(f'{mark}: {word}' for mark, word in options)}"


def mmstar_row(question: Choice, scene: Scene, letter: str, index: int) -> SceneRow:
    """An MMStar row; its categories follow from the kind of question."""
    category, l2_category = MMSTAR_CATEGORIES[question.kind]
    row = {
        "index": index,
        "question": mmstar_text(question, letter),
        "image": render(scene),
        "answer": letter,
        "category": category,
        "l2_category": l2_category,
        "meta_info": {"source": "tiny", "split": "val", "image_path": f"images/{index}.png"},
    }
    return SceneRow(row, scene)


def mmstar_rows(rng: random.Random, *, per_category: int = 48) -> list[SceneRow]:
    """MMStar rows, `per_category` for each of the six categories, indices from 0."""
    rows: list[SceneRow] = []
    for category in dict.fromkeys(name for name, _ in MMSTAR_CATEGORIES.values()):
        kinds = [kind for kind, (name, _) in MMSTAR_CATEGORIES.items() if name == category]
        for position, letter in enumerate(_balanced_letters(rng, per_category)):
            scene, question = random_question(
                rng, kinds[position % len(kinds)], letter=letter, held=True
            )
            rows.append(mmstar_row(question, scene, letter, len(rows)))
    return rows


def mme_text(said: Statement) -> str:
    """A yes/no question as MME words it."""
    return f"{said.text} Please answer yes or no."


def mme_rows(rng: random.Random, *, images_per_kind: int = 15) -> list[SceneRow]:
    """MME rows: two consecutive ones share a picture, the first is answered yes, the second no."""
    rows: list[SceneRow] = []
    for kind in STATEMENT_KINDS:
        for index in range(images_per_kind):
            scene, pair = _yes_and_no(rng, kind)
            question_id = f"{kind}/{index:04d}.png"
            rows += [SceneRow(_mme_row(question_id, scene, said), scene) for said in pair]
    return rows


def _yes_and_no(rng: random.Random, kind: str) -> tuple[Scene, tuple[Statement, Statement]]:
    while True:
        scene, yes = random_statement(rng, kind, truth=True, held=True)
        no = statement(rng, scene, kind, truth=False)
        if no is not None:
            return scene, (yes, no)


def _mme_row(question_id: str, scene: Scene, said: Statement) -> Row:
    return {
        "question_id": question_id,
        "image": render(scene),
        "question": mme_text(said),
        "answer": said.answer.capitalize(),
        "category": said.kind,
    }


# POPE

POPE_SPLITS: tuple[str, ...] = ("random", "popular", "adversarial")


def pope_text(name: str) -> str:
    """POPE's question about an object, "Is there a red circle in the image?"."""
    return f"Is there {with_article(name)} in the image?"


class ThingCounts(NamedTuple):
    """How many of some scenes hold a thing, and how many hold two things beside each other.

    Attributes:
        scenes: By the thing's name.
        together: By both names, in either order.
    """

    scenes: Counter[str]
    together: Counter[tuple[str, str]]

    @classmethod
    def of(cls, scenes: Iterable[Scene]) -> Self:
        """Count what scenes hold."""
        held = [sorted({thing.name for thing in scene.things}) for scene in scenes]
        together = Counter(pair for names in held for pair in permutations(names, 2))
        return cls(Counter(name for names in held for name in names), together)


UNCOUNTED = ThingCounts.of(())


def absent_names(rng: random.Random, scene: Scene, split: str, counts: ThingCounts) -> list[str]:
    """The names that `scene` lacks, the ones POPE would ask for first in front.

    random: shuffled. popular: by how many of the counted scenes have the thing. adversarial: by how
    often the thing occurs in them beside what this scene holds, names made of a color and a shape
    that the scene has (though never in one thing) before all others. Ties are shuffled.

    Raises:
        ValueError: an unknown split.
    """
    if split not in POPE_SPLITS:
        raise ValueError(f"unknown split {split!r}; POPE has {', '.join(POPE_SPLITS)}")
    present = {thing.name for thing in scene.things}
    absent = names_without(scene)
    rng.shuffle(absent)
    if split == "popular":
        absent.sort(key=lambda name: -counts.scenes[name])
    elif split == "adversarial":
        absent.sort(key=lambda name: (-_mixed(name, scene), -_beside(name, present, counts)))
    return absent


def _mixed(name: str, scene: Scene) -> int:
    color, shape = name.split()
    return bool(scene.select(color=color)) + bool(scene.select(shape=shape))


def _beside(name: str, present: set[str], counts: ThingCounts) -> int:
    return sum(counts.together[name, other] for other in present)


def pope_rows(rng: random.Random, split: str, *, scenes: Sequence[Scene]) -> list[SceneRow]:
    """POPE rows of a split: six a picture, asking by turns for a thing it has and one it lacks.

    A scene needs three different things; use `pope_scenes`.

    Raises:
        ValueError: an unknown split or a scene with fewer than three different things.
    """
    rows: list[SceneRow] = []
    counts = ThingCounts.of(scenes)
    for number, scene in enumerate(scenes):
        picture = render(scene)
        present = sorted({thing.name for thing in scene.things})
        if len(present) < 3:
            raise ValueError(f"scene {number} has {len(present)} different things, POPE needs 3")
        yes = rng.sample(present, 3)
        no = absent_names(rng, scene, split, counts)[:3]
        for pair in zip(yes, no, strict=True):
            for name, label in zip(pair, ("yes", "no"), strict=True):
                row = _pope_row(len(rows) + 1, number, name, label, picture)
                rows.append(SceneRow(row, scene))
    return rows


def _pope_row(question_id: int, number: int, name: str, label: str, picture: Image.Image) -> Row:
    return {
        "question_id": question_id,
        "image": f"tiny_{number:06d}.png",
        "text": pope_text(name),
        "label": label,
        "picture": picture,
    }


def pope_scenes(rng: random.Random, count: int) -> list[Scene]:
    """Scenes that hold at least three different things each."""
    scenes: list[Scene] = []
    while len(scenes) < count:
        scene = random_scene(rng, min_things=3, held=True)
        if len({thing.name for thing in scene.things}) >= 3:
            scenes.append(scene)
    return scenes
