"""The commands that make everything again that a report rests on, as printed and in order.

Typed one after the other in an empty folder, with the package installed, they end with the page:
every command writes where a later one reads. A run is written where it lies, if its folder was
named below the reader's own, so that the last command also runs as it stands where the page was
made; any other into runs/NAME, for no path from outside is printed. A baseline that a suite ships
is not made again; it is named by its address, suite:SUITE/NAME, which every command takes in place
of a run folder. What only the reader has (a pair set, a training that left no settings) is said in
words beside the command.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path, PurePath, PurePosixPath
from typing import NamedTuple

from pairuni_eval.commands import as_typed, is_command
from pairuni_eval.report.copied_images import PICTURES
from pairuni_eval.report.seeds import NO_SEEDS, Seeds
from pairuni_eval.store.read import StoredRun
from pairuni_eval.store.training import Settings, read_settings

_ODD = re.compile(r"[^\w.-]+")
_CHECKPOINT = re.compile(r"checkpoint-\d+")  # as the trainer names its folders


class Rerun(NamedTuple):
    """What is made again.

    Attributes:
        command: What makes it, as it is typed; None where nothing has to be made.
        note: What else is to be said about it, "" for nothing.
    """

    title: str
    command: str | None
    note: str = ""


class _Run(NamedTuple):
    """A run of the page, and the option that brings it in.

    Attributes:
        place: Where its command writes it; its address where a suite ships it.
        option: E.g. ("--baseline", "GRPO="), to which the place is added; empty for the run itself.
    """

    title: str
    run: StoredRun
    place: str
    option: tuple[str, ...]


class _Training(NamedTuple):
    """A training whose settings are at hand, and where its command writes it."""

    arm: str
    settings: Settings
    place: str


def reruns(
    run: StoredRun,
    baselines: Mapping[str, StoredRun],
    arms: Mapping[str, Sequence[Path]],
    *,
    seeds: Seeds = NO_SEEDS,
    pairs: bool = False,
    pictures: int = PICTURES,
) -> tuple[Rerun, ...]:
    """What makes the trainings, the run, the baselines and the page, in this order.

    Args:
        run: The reported run.
        baselines: The runs it is compared with, by the name that is printed.
        arms: Training folders by name.
        seeds: Further training seeds of both.
        pairs: Whether a pair set was looked through.
        pictures: How many pictures the page may hold.

    Raises:
        UserError: for settings of a training that cannot be read.
    """
    runs = list(_placed(run, baselines, seeds))
    trainings = list(_trainings(arms, runs))
    return (
        *map(_training, trainings),
        *map(_measuring, runs),
        _page(runs, trainings, arms, pairs=pairs, pictures=pictures),
    )


def _placed(run: StoredRun, baselines: Mapping[str, StoredRun], seeds: Seeds) -> Iterator[_Run]:
    """The runs of the page, each in a folder of its own."""
    further = (one for runs in (seeds.ours, *seeds.theirs.values()) for one in runs)
    taken = {place for one in (run, *baselines.values(), *further) if (place := _lies_in(one))}

    def made(title: str, one: StoredRun, option: tuple[str, ...], name: str) -> _Run:
        place = one.address or _lies_in(one) or _free(f"runs/{folder_name(name)}", taken)
        return _Run(title, one, place, option)

    yield made("This run", run, (), run.card.name)
    for other in seeds.ours:
        yield made(f"Its sibling {other.card.name}", other, ("--sibling", ""), other.card.name)
    for name, one in baselines.items():
        for each in (one, *seeds.theirs.get(name, ())):
            yield made(f"The baseline {name}", each, ("--baseline", f"{name}="), name)


def _lies_in(run: StoredRun) -> str | None:
    """Where a run lies, if that was named below the reader's own folder; None elsewhere."""
    if run.address or run.packed or not _below(run.folder):
        return None
    return f"./{run.folder}" if str(run.folder).startswith("-") else str(run.folder)


def _below(path: PurePath) -> bool:
    """Whether a path was named below the reader's own folder."""
    return not path.is_absolute() and ".." not in path.parts and bool(path.parts)


def _free(place: str, taken: set[str]) -> str:
    """The place, numbered if it is taken; takes it."""
    number, found = 1, place
    while found in taken:
        number += 1
        found = f"{place}-{number}"
    taken.add(found)
    return found


def folder_name(name: str) -> str:
    """A name as the name of a folder."""
    return _ODD.sub("-", name).strip("-.") or "run"


def with_option(command: str, option: str, *value: str) -> list[str]:
    """The words of a command with another value of an option, or without the option."""
    words = shlex.split(command)
    place = words.index(option) if option in words else len(words)
    return [*words[:place], *((option, *value) if value else ()), *words[place + 2 :]]


def _measuring(one: _Run) -> Rerun:
    card = one.run.card
    if one.run.address:
        said = f"It is packed with the package, which knows it as {one.place}."
        recipe = card.checkpoint.recipe
        return Rerun(one.title, None, f"{said} It was trained as {recipe}." if recipe else said)
    if not is_command(card.command):
        return Rerun(one.title, None, "It holds no command of pairuni-eval.")
    return Rerun(one.title, f"{card.command} {as_typed('--out', one.place)}")


def _trainings(arms: Mapping[str, Sequence[Path]], runs: Sequence[_Run]) -> Iterator[_Training]:
    """The trainings with settings, but for those of runs that a suite ships."""
    shipped = {one.run.folder for one in runs if one.run.address}
    checkpoints = {one.option[1][:-1] if one.option else one.run.card.name: one for one in runs}
    taken: set[str] = set()
    for arm, folders in arms.items():
        for folder in folders:
            settings = read_settings(folder)
            if settings is not None and folder.parent not in shipped:
                owner = checkpoints.get(arm)
                place = owner and _trained_in(owner.run.card.command)
                yield _Training(arm, settings, _free(place or _default_place(settings), taken))


def _trained_in(command: str) -> str | None:
    """The training folder whose checkpoint a command measures, if it lies below the reader's."""
    words = shlex.split(command) if is_command(command) else []
    checkpoint = next((value for word, value in pairwise(words) if word == "--checkpoint"), "")
    path = PurePosixPath(checkpoint)
    below = _below(path) and len(path.parts) > 1
    return str(path.parent) if below and _CHECKPOINT.fullmatch(path.name) else None


def _default_place(settings: Settings) -> str:
    words = (settings.arm.name, settings.recipe.name, f"seed{settings.seed}")
    return f"runs/{folder_name('-'.join(words))}"


def _training(one: _Training) -> Rerun:
    settings, recipe = one.settings, one.settings.recipe
    words = ["pairuni-train", "run", "--arm", settings.arm.name, "--recipe", recipe.name]
    words += ["--steps", str(recipe.steps), "--seed", str(settings.seed)]
    words += [] if recipe.pairs else ["--pairs", "PAIRS"]
    whose = f"of SHA-256 {settings.pairs}" if settings.pairs else "that it was trained on"
    note = (
        f"It builds the pairs of the preset {recipe.pairs}; it was trained on a set {whose}."
        if recipe.pairs
        else f"PAIRS is the pair set {whose}."
    )
    return Rerun(f"The training of {one.arm}", as_typed(*words, "--out", one.place), note)


def _page(
    runs: Sequence[_Run],
    trainings: Sequence[_Training],
    arms: Mapping[str, Sequence[Path]],
    *,
    pairs: bool,
    pictures: int,
) -> Rerun:
    own, *others = runs
    words = [own.place]
    for one in others:
        option, start = one.option
        words += [option, f"{start}{one.place}"]
    if not any(one.option[0] == "--baseline" for one in others) and own.run.card.suite:
        words += ["--baseline", "none"]  # or those of the suite would stand beside it
    for training in trainings:
        words += ["--training", f"{training.arm}={training.place}"]
    words += ["--pictures", str(pictures)] if pictures != PICTURES else []
    unknown = [name for name, folders in arms.items() if not any(map(read_settings, folders))]
    lacking = [f"--training {name}=FOLDER" for name in unknown]
    lacking += ["--pairs FILE of its pair set"] if pairs else []
    elsewhere = any(one.place != _lies_in(one.run) and not one.run.address for one in runs)
    notes = ["It reads the runs where the commands above write them."] if elsewhere else []
    notes += [f"The page was made with {' and '.join(lacking)} as well."] if lacking else []
    note = " ".join(notes)
    command = as_typed("pairuni-eval", "report", *words)
    return Rerun("This page, from the folders of these runs", command, note)
