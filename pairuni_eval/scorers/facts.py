"""The facts of a picture, each as two twin questions whose answer is known from the picture alone.

A *fact* is one thing that a prompt asks of its picture: that an object is there, how many there
are, what color one has, how two stand. It is put as two questions in the same words: the one that
is *asked* says what the prompt wants, its *twin* says something else. Which of them is true comes
from what a grader saw in the picture (`scorers.objects`), never from the prompt: where the fact
holds the twin says what is not so, drawn by seed; where it does not, the twin says what was seen.
So exactly one of the two has the answer yes.

Where two objects have a color each (`color_attr`), a *swap* puts the color of one once more, its
twin naming the color that the prompt gives the other object: does the reader bind colors to their
objects, or only find them somewhere in the picture? It is known where the grader sees one of these
two colors on the object.

A fact whose answer is not known has no twin, and says why: a color or a relation is only known
where exactly one object of each class was seen. Whether an object is there is decided at the
general threshold, also for prompts that count, whose own would call a fair detection absent.

The same facts can be put as multiple choice (`FactChoice`): one question with four options, of
which the picture shows exactly one and the prompt wants one. Where it shows none or several of them
there is no such question, with the reason. A swap is about its twins and has no such form.

Knowledge prompts (WISE) have no such facts: the whole picture is asked about, in the words of the
prompt's explanation, and its twin is the explanation of another prompt of the same subcategory,
which is taken not to hold.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pairuni_eval.benchmark import Fact, FactChoice, Painted
from pairuni_eval.records import Sample
from pairuni_eval.scorers.objects import Objects, Observation, keep, relative_position
from pairuni_eval.seeds import seed_for

OPPOSITE: Mapping[str, str] = {
    "left of": "right of",
    "right of": "left of",
    "above": "below",
    "below": "above",
}
SURE = 0.9  # least score of every object that a sure fact rests on
OPTIONS = 4  # of a fact that is put as multiple choice


def with_article(words: str) -> str:
    """The words with "a" or "an" before them, as GenEval's own prompts have it."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def plural(word: str) -> str:
    """A word for several, as GenEval's own prompts have it."""
    return f"{word}es" if word.endswith("s") else f"{word}s"


def count_options(wanted: int, seen: int) -> tuple[int, ...]:
    """Four numbers, among them both: from one less than is wanted on where that holds both."""
    if abs(seen - wanted) >= OPTIONS:
        low, high = sorted((wanted, seen))
        return low, low + 1, high - 1, high
    start = max(min(wanted - 1, seen), seen - OPTIONS + 1)
    return tuple(range(start, start + OPTIONS))


def object_facts(
    row: Mapping[str, Any],
    seen: Observation | str,
    *,
    classes: Sequence[str],
    colors: Sequence[str],
    seed: int,
) -> list[Fact]:
    """What a picture shows of a row of GenEval's metadata, clause by clause.

    Args:
        row: `tag` and `include` of the row.
        seen: What the detector saw, or why it saw nothing.
        classes: Every class that it knows.
        colors: Every color that it names.
        seed: Draws the foils; the same for all pictures of a prompt and draw.
    """
    if isinstance(seen, Observation):
        return _Picture(row, seen, classes, colors, seed).facts()
    blank = Observation({}, lambda _, found: [""] * len(found))
    facts = _Picture(row, blank, classes, colors, seed).facts()
    return [Fact(one.name, one.kind, one.asked, reason=seen) for one in facts]


class _Picture:
    """One picture beside the row of its prompt."""

    def __init__(
        self,
        row: Mapping[str, Any],
        seen: Observation,
        classes: Sequence[str],
        colors: Sequence[str],
        seed: int,
    ) -> None:
        self._wanted: Sequence[Mapping[str, Any]] = row.get("include", ())
        self._color_of = seen.color_of
        self._objects: Objects = keep(seen.detections, tag="")
        self._counted: Objects = keep(seen.detections, tag=row.get("tag", ""))
        self._classes, self._colors, self._seed = classes, colors, seed
        self._counts = row.get("tag") == "counting"
        self._named: dict[str, str] = {}

    def facts(self) -> list[Fact]:
        found: list[Fact] = []
        for number, wanted in enumerate(self._wanted):
            found.append(self._object(number, wanted["class"]))
            if self._counts:
                found.append(self._count(number, wanted["class"], wanted["count"]))
            if "color" in wanted and wanted["count"] == 1:
                found.append(self._color(number, wanted["class"], wanted["color"]))
                found += self._swap(number, wanted["class"], wanted["color"])
            if "position" in wanted:
                found.append(self._relation(number, wanted["class"], *wanted["position"]))
        return found

    def _drawn(self, name: str, purpose: str) -> random.Random:
        return random.Random(seed_for(self._seed, name, 0, purpose))

    def _choose(self, name: str, options: Sequence[Any]) -> Any:
        return self._drawn(name, "foil").choice(options)

    def _object(self, number: int, thing: str) -> Fact:
        name, there = f"object {number}", bool(self._objects.get(thing))
        others = [one for one in self._classes if bool(self._objects.get(one)) != there]
        if not others:
            none = "nothing is absent" if there else "the grader sees nothing"
            return Fact(name, "object", _is_there(thing), reason=f"{none} to name in its place")
        other = self._choose(name, others)
        twin = _is_there(other)
        sure = not there or self._sure(thing)
        which = self._which(name, thing, thing if there else other)
        return Fact(name, "object", _is_there(thing), twin, there, sure=sure, choice=which)

    def _which(self, name: str, thing: str, shown: str) -> FactChoice | str:
        """Which class is there, among such as are not."""
        absent = [one for one in self._classes if not self._objects.get(one)]
        return self._among(name, "Which of these is in the image?", absent, shown, thing)

    def _among(
        self, name: str, question: str, false: Sequence[str], shown: str, asked: str
    ) -> FactChoice | str:
        """What is shown and what is asked among options drawn from false ones."""
        both = dict.fromkeys((asked, shown))
        others = [one for one in false if one not in both]
        if len(others) < OPTIONS - len(both):
            return "there are too few false options to choose among"
        drawn = self._drawn(name, "options").sample(others, OPTIONS - len(both))
        return self._choice(name, question, (*both, *drawn), shown, asked)

    def _choice(
        self, name: str, question: str, options: Sequence[str], shown: str, asked: str
    ) -> FactChoice:
        ordered = list(options)
        self._drawn(name, "order").shuffle(ordered)
        return FactChoice(question, tuple(ordered), shown, asked)

    def _count(self, number: int, thing: str, wanted: int) -> Fact:
        name, count = f"count {number}", len(self._counted.get(thing, ()))
        holds = count == wanted
        other = self._choose(name, (wanted - 1, wanted + 1)) if holds else count
        sure = len(self._objects.get(thing, ())) == count
        asked, twin = _is_number(thing, wanted), _is_number(thing, other)
        numbers = [str(number) for number in count_options(wanted, count)]
        how_many = f"How many {plural(thing)} are there?"
        choice = self._choice(name, how_many, numbers, str(count), str(wanted))
        return Fact(name, "count", asked, twin, holds, sure=sure, choice=choice)

    def _color(self, number: int, thing: str, wanted: str) -> Fact:
        name, asked = f"color {number}", _is_colored(thing, wanted)
        if reason := self._not_one(thing):
            return Fact(name, "color", asked, reason=reason)
        color = self._color_seen(thing)
        holds = color == wanted
        others = [one for one in self._colors if one != wanted]
        other = self._choose(name, others) if holds else color
        twin, sure = _is_colored(thing, other), self._sure(thing)
        choice = self._among(name, f"What color is the {thing}?", self._colors, color, wanted)
        return Fact(name, "color", asked, twin, holds, sure=sure, choice=choice)

    def _swap(self, number: int, thing: str, wanted: str) -> Iterator[Fact]:
        """The twin of the other object's color; nothing where no other object has one."""
        other = self._color_beside(number)
        if other in (None, wanted):
            return
        name, asked, twin = f"swap {number}", _is_colored(thing, wanted), _is_colored(thing, other)
        if reason := self._not_one(thing):
            yield Fact(name, "swap", asked, reason=reason)
            return
        color = self._color_seen(thing)
        if color not in (wanted, other):
            yield Fact(name, "swap", asked, reason="the grader sees neither object's color")
            return
        yield Fact(name, "swap", asked, twin, color == wanted, sure=self._sure(thing))

    def _color_seen(self, thing: str) -> str:
        """The color of the one object of a class; a grader that runs a model names it once."""
        if thing not in self._named:
            (self._named[thing],) = self._color_of(thing, self._objects[thing])
        return self._named[thing]

    def _color_beside(self, number: int) -> str | None:
        """The color that the prompt gives the other of two objects."""
        if len(self._wanted) != 2:
            return None
        color: str | None = self._wanted[1 - number].get("color")
        return color

    def _relation(self, number: int, thing: str, wanted: str, anchor_number: int) -> Fact:
        anchor = self._wanted[anchor_number]["class"]
        name, asked = f"relation {number}", _stands(thing, wanted, anchor)
        if reason := self._not_one(thing) or self._not_one(anchor):
            return Fact(name, "relation", asked, reason=reason)
        seen = relative_position(self._objects[thing][0].box, self._objects[anchor][0].box)
        holds = wanted in seen
        if not holds and len(seen) != 1:
            return Fact(name, "relation", asked, reason="the grader sees no single relation")
        other = OPPOSITE[wanted] if holds else next(iter(seen))
        twin, sure = _stands(thing, other, anchor), self._sure(thing) and self._sure(anchor)
        choice: FactChoice | str = "the grader sees no single relation"
        if len(seen) == 1:
            where = f"Where is the {thing} relative to the {anchor}?"
            words = [_side(one) for one in OPPOSITE]
            choice = self._choice(name, where, words, _side(next(iter(seen))), _side(wanted))
        return Fact(name, "relation", asked, twin, holds, sure=sure, choice=choice)

    def _not_one(self, thing: str) -> str | None:
        """Why nothing is known of the one object of a class; None if exactly one was seen."""
        count = len(self._objects.get(thing, ()))
        if count == 1:
            return None
        return f"the grader sees {'none' if not count else 'several'} of a class, not one"

    def _sure(self, thing: str) -> bool:
        return all(one.score >= SURE for one in self._objects.get(thing, ()))


def _is_there(thing: str) -> str:
    return f"Is there {with_article(thing)} in the image?"


def _is_number(thing: str, number: int) -> str:
    return f"Is the number of {plural(thing)} in the image {number}?"


def _is_colored(thing: str, color: str) -> str:
    return f"Is the {thing} {color}?"


def _side(relation: str) -> str:
    return relation.removesuffix(" of")


def _stands(thing: str, relation: str, anchor: str) -> str:
    return f"Is the {thing} {relation} the {anchor}?"


def knowledge_facts(
    painted: Sequence[Painted], *, right: tuple[str, float], seed: int
) -> Iterator[list[Fact]]:
    """Of each picture, whether it shows what the explanation of its prompt says.

    Args:
        painted: Pictures whose samples have a reference `explanation` and a tag `subcategory`.
        right: The judge's metric, and the least value at which the picture shows it.
        seed: Draws the twins.
    """
    prompts = {one.answer.sample.key: one.answer.sample for one in painted}
    others = _other_explanations(list(prompts.values()), seed)
    metric, least = right
    for answer, values in painted:
        value = values.get(metric)
        holds = None if value is None else value >= least
        explanation = answer.sample.reference["explanation"]
        yield [_knowledge(explanation, others[answer.sample.key], holds)]


def _knowledge(explanation: str, other: str | None, holds: bool | None) -> Fact:
    asked = _shows(explanation)
    if holds is None:
        return Fact("knowledge", "knowledge", asked, reason="the judge gave the picture no value")
    if other is None:
        return Fact("knowledge", "knowledge", asked, reason="its subcategory has no other prompt")
    return Fact("knowledge", "knowledge", asked, _shows(other), holds, twin_holds=False)


def _shows(explanation: str) -> str:
    return f"Does the image show this: {explanation.strip().rstrip('.')}?"


def _other_explanations(prompts: Sequence[Sample], seed: int) -> Mapping[str, str | None]:
    """By key, the explanation of another prompt of the same subcategory, each taken once."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for prompt in prompts:
        member = (prompt.key, prompt.reference["explanation"])
        groups.setdefault(prompt.tags["subcategory"], []).append(member)
    found: dict[str, str | None] = {}
    for subcategory, members in sorted(groups.items()):
        members.sort()
        random.Random(seed_for(seed, subcategory, 0, "foil")).shuffle(members)
        following = [*members[1:], members[0]]
        for (key, own), (_, other) in zip(members, following, strict=True):
            found[key] = other if other != own else None
    return found
