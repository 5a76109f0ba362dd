"""The questions that a page opens with, answered in words, in HTML and in Markdown alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pairuni_eval.report.undecided import Remedy, remedy, seeds_needed, trial
from pairuni_eval.stats.verdict import Word

if TYPE_CHECKING:
    from pairuni_eval.report.baseline_comparison import BaselineComparison
    from pairuni_eval.report.content import Page

_SHOWN = 3  # lines of what got worse, for each baseline


class OpeningAnswer(NamedTuple):
    """One answer.

    Attributes:
        text: In words; foreign names in it are not escaped yet.
        tally: How many headlines have each word, where the answer counts them.
        commands: What to type.
        anchor: Id of the section with the evidence, "" for none.
        link: What the way there is called.
        quiet: Whether it says that there is nothing to say.
    """

    text: str
    tally: Mapping[str, int] | None = None
    commands: tuple[str, ...] = ()
    anchor: str = ""
    link: str = ""
    quiet: bool = False


class OpeningQuestion(NamedTuple):
    """A question with its answers, one for each baseline where they differ."""

    asked: str
    answers: tuple[OpeningAnswer, ...]


def questions(page: Page) -> tuple[OpeningQuestion, ...]:
    """The questions that every report answers first, the verdict before all."""
    found = (
        OpeningQuestion("Better than the baselines?", tuple(_better(page.baselines))),
        OpeningQuestion("Worse at what?", tuple(_worse(page))),
        OpeningQuestion("What would decide it?", tuple(_deciding(page))),
        OpeningQuestion("Which protocol?", (_protocols(page),)),
        OpeningQuestion("How many rows?", (_rows(page),)),
        OpeningQuestion("Has training seen the tests?", tuple(_seen(page))),
        OpeningQuestion("Do the gradients fight?", tuple(_gradients(page))),
        OpeningQuestion(
            "How do I run it again?",
            (OpeningAnswer("", commands=(_again(page),), anchor="reproduce", link="All commands"),),
        ),
    )
    return tuple(one for one in found if one.answers)


def _again(page: Page) -> str:
    """The command that makes the run again, as the end of the page has it."""
    commands = (one.command for one in page.reruns)
    own = (one for one in commands if one is not None and one.startswith(page.run.command))
    return next(own, page.run.command)


def _better(baselines: Sequence[BaselineComparison]) -> Iterator[OpeningAnswer]:
    for one in baselines:
        last = one is baselines[-1]
        yield OpeningAnswer(
            one.verdict,
            tally=one.tally if one.tally[Word.BETTER] else None,  # else the words count
            anchor="baselines" if last else "",
            link="The evidence",
        )
    if not baselines:
        yield OpeningAnswer(
            "No baseline was given. --baseline NAME=RUN compares with one.",
            quiet=True,
        )


def _worse(page: Page) -> Iterator[OpeningAnswer]:
    for one in page.baselines:
        for change in one.worse[:_SHOWN]:
            whom = (
                f"Against {one.name}, " if one.comparison.about.parent else ""
            )  # else the sentence says it
            yield OpeningAnswer(f"{whom}{change.row.sentence}.")
        more = len(one.worse) - _SHOWN
        if more > 0:
            said = f"{more:,} more {'is' if more == 1 else 'are'} worse than {one.name}."
            yield OpeningAnswer(said, anchor="baselines", link="All of them")
    not_worse = page.not_worse
    if not_worse:
        yield OpeningAnswer(_at_nothing(not_worse, everyone=len(not_worse) == len(page.baselines)))
    elif page.baselines and not any(one.worse for one in page.baselines):
        yield OpeningAnswer("Nothing could be compared.", quiet=True)


def _at_nothing(not_worse: Sequence[BaselineComparison], *, everyone: bool) -> str:
    headlines, groups = (
        sum(counts) for counts in zip(*(one.looked for one in not_worse), strict=True)
    )
    names = " and ".join(one.name for one in not_worse)
    who = "At" if everyone else f"Against {names}, at"
    of_groups = f" and {groups:,} group{'s' * (groups != 1)}" if groups else ""
    plural = "" if headlines == 1 else "s"
    return f"{who} nothing that can be told, in {headlines:,} headline{plural}{of_groups}."


def _deciding(page: Page) -> Iterator[OpeningAnswer]:
    """One answer for all baselines that would take the same."""
    first = trial(page.partial_runs) if page.baselines else None
    if first is not None:
        yield OpeningAnswer(first.sentence, commands=first.commands)
    told: dict[Remedy, list[str]] = {}
    for one in page.baselines:
        found = remedy(page.run, one)
        if found is not None:
            told.setdefault(found, []).append(one.name)
    for found, names in told.items():
        who = "" if len(names) == len(page.baselines) else f"Against {' and '.join(names)}: "
        yield OpeningAnswer(
            f"{who}{found.sentence}",
            commands=() if first else found.commands,
            anchor="baselines",
            link="Line by line",
        )
    seeds = seeds_needed(page.baselines)
    if seeds is not None:
        yield OpeningAnswer(seeds)


def _gradients(page: Page) -> Iterator[OpeningAnswer]:
    found = page.gradients
    if found is None:
        yield OpeningAnswer(
            "Not measured. --training NAME=FOLDER reads the gradient probe of a training run.",
            quiet=True,
        )
        return
    other = found.names[0] != page.run.name and found.names[0] in [
        one.name for one in page.baselines
    ]
    unprobed = "This run's own training was not probed. " if other else ""
    yield OpeningAnswer(f"{unprobed}{found.answer}", anchor="gradients", link="By block and step")


def _protocols(page: Page) -> OpeningAnswer:
    every = [section.card.title for section in page.sections]
    said = []
    for name, titles in page.protocols.items():
        alone = titles == every and len(titles) > 1
        said.append(f"{name} on {f'all {len(titles)} benchmarks' if alone else ', '.join(titles)}")
    return OpeningAnswer(f"{'; '.join(said)}.", anchor="run-card", link="Data, decoding and hash")


def _rows(page: Page) -> OpeningAnswer:
    partial = "; the run is PARTIAL" if page.own_partial else ""
    return OpeningAnswer(
        f"{page.graded:,} of {page.expected:,} expected outputs have a value{partial}."
    )


def _seen(page: Page) -> Iterator[OpeningAnswer]:
    if page.contamination is not None:
        yield OpeningAnswer(
            page.contamination.answer, anchor="contamination", link="With and without them"
        )
