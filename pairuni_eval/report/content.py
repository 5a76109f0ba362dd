"""The content of a report before it is set: records that both templates and the summary read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pairuni_eval.records import RunCard
from pairuni_eval.report.baseline_comparison import BaselineComparison, baseline_comparison, caveats
from pairuni_eval.report.browse import Browser, browser
from pairuni_eval.report.contamination import Contamination, contamination
from pairuni_eval.report.copied_images import ImageCopier
from pairuni_eval.report.cost import Cost, cost
from pairuni_eval.report.curves import Curves, curves, training_arms
from pairuni_eval.report.gradients import Gradients, gradients
from pairuni_eval.report.headlines import KINDS, HeadlineTable, headlines
from pairuni_eval.report.notices import reason_lines, tag_notices
from pairuni_eval.report.partial_runs import IncompleteRun, in_words, partial_runs
from pairuni_eval.report.rerun import Rerun, reruns
from pairuni_eval.report.rollouts import ShownTraining, rollouts
from pairuni_eval.report.sections import Section, benchmark_section
from pairuni_eval.report.seeds import NO_SEEDS, Seeds
from pairuni_eval.report.soundness import StoredState, stored
from pairuni_eval.stats.compare import compare_page
from pairuni_eval.stats.tables import Tables
from pairuni_eval.store.read import StoredRun


class Page(NamedTuple):
    """The whole report.

    Attributes:
        notices: What stands before the numbers.
        reasons: Why outputs have no value, for the console; the page has them with each benchmark.
        partial_runs: The runs that are not whole: this one, siblings, baselines.
    """

    run: RunCard
    unfinished: bool
    title: str
    answer: str
    notices: tuple[str, ...]
    reasons: tuple[str, ...]
    caveats: tuple[str, ...]
    headlines: tuple[HeadlineTable, ...]
    sections: tuple[Section, ...]
    baselines: tuple[BaselineComparison, ...]
    browser: Browser
    training: Curves | None
    rollouts: ShownTraining | None
    gradients: Gradients | None
    contamination: Contamination | None
    cost: Cost | None
    reruns: tuple[Rerun, ...]
    stored: StoredState
    partial_runs: tuple[IncompleteRun, ...]

    @property
    def own_partial(self) -> bool:
        """Whether some benchmark of this run is not here whole."""
        return self.run.partial or self.unfinished

    @property
    def partial(self) -> bool:
        """Whether any run that the page rests on is not whole."""
        return bool(self.partial_runs)

    @property
    def partial_words(self) -> str:
        """Which runs are not whole, and how much of the benchmarks they have."""
        return in_words(self.partial_runs)

    @property
    def protocols(self) -> dict[str, list[str]]:
        """The titles of the benchmarks by their default protocol."""
        found: dict[str, list[str]] = {}
        for section in self.sections:
            found.setdefault(section.protocols[0].name, []).append(section.card.title)
        return found

    @property
    def flipping(self) -> bool:
        """Whether any benchmark was graded under several protocols."""
        return any(section.flips for section in self.sections)

    @property
    def scopes(self) -> tuple[str, ...]:
        """What the verdicts against each baseline hold for, a sentence each."""
        return tuple(said for one in self.baselines if (said := one.scope) is not None)

    @property
    def over_seeds(self) -> bool:
        """Whether any side of a comparison is the mean of several training seeds."""
        return any(max(one.comparison.about.seeds) > 1 for one in self.baselines)

    @property
    def not_worse(self) -> tuple[BaselineComparison, ...]:
        """Baselines that the run is worse than at nothing that can be told."""
        return tuple(one for one in self.baselines if one.looked[0] and not one.worse)

    @property
    def decodings_say_more(self) -> bool:
        """Whether any decoding sets what only some models have."""
        return any(one.run.decoding.further or one.run.preset for one in self.sections)

    @property
    def graded(self) -> int:
        """Outputs that have a value."""
        return sum(section.graded for section in self.sections)

    @property
    def expected(self) -> int:
        """Outputs that the complete benchmarks ask for."""
        return sum(section.expected for section in self.sections)


def gather(
    run: StoredRun,
    baselines: Mapping[str, StoredRun],
    copier: ImageCopier,
    training: Mapping[str, Sequence[Path]],
    pairs: Path | None,
    seeds: Seeds = NO_SEEDS,
) -> Page:
    """Everything the report says; copies the pictures it shows.

    Args:
        run: The reported run.
        baselines: Runs to compare with, by name.
        copier: Takes the pictures.
        training: Training folders by the name of their arm.
        pairs: The pair set that the checkpoint was trained on, to look for evaluation items in.
        seeds: Further training seeds of the run and of its baselines.
    """
    for one in (run, *baselines.values()):
        copier.look_ahead(one)
    tables = Tables(run)
    others = {name: Tables(other) for name, other in baselines.items()}
    order = list(KINDS)
    names = sorted(run.card.benchmarks, key=lambda name: order.index(run.cards[name].capability))
    found = _against(tables, others, seeds, names)
    sections = tuple(
        benchmark_section(tables, name, n, copier, others, found) for n, name in enumerate(names)
    )
    tiny = {section.card.name: section.tiny for section in sections}
    arms = training_arms(run, baselines, training)
    shown = browser(tables, others, copier, tiny)
    return Page(
        run=run.card,
        unfinished=run.unfinished,
        title=f"{run.card.name}: {len(sections)} benchmark{'s' * (len(sections) != 1)}",
        answer=_answer(run, sections),
        notices=tag_notices(tables),
        reasons=tuple(reason_lines(tables)),
        caveats=caveats(found),
        headlines=headlines(run.card, sections, found),
        sections=sections,
        baselines=found,
        browser=shown,
        training=curves(arms),
        rollouts=rollouts(arms, copier),
        gradients=gradients(arms, _scores(run.card.name, sections, found)),
        contamination=contamination(tables, pairs, names) if pairs else None,
        cost=cost(run.folder, run.card.benchmarks, arms),
        reruns=reruns(
            run, baselines, arms, seeds=seeds, pairs=pairs is not None, pictures=copier.at_most
        ),
        stored=stored(run, baselines),
        partial_runs=partial_runs(run, baselines, seeds),
    )


def _against(
    tables: Tables, others: Mapping[str, Tables], seeds: Seeds, names: Sequence[str]
) -> tuple[BaselineComparison, ...]:
    """What every baseline says, all of them corrected together."""
    sides = {
        name: (other, *map(Tables, seeds.theirs.get(name, ()))) for name, other in others.items()
    }
    compared = compare_page((tables, *map(Tables, seeds.ours)), sides)
    return tuple(
        baseline_comparison(name, n + 1, [one.run.card for one in side], compared[name], names)
        for n, (name, side) in enumerate(sides.items())
    )


def _scores(
    name: str, sections: Sequence[Section], baselines: Sequence[BaselineComparison]
) -> dict[str, dict[str, float]]:
    """By benchmark, the headline of this run and of every baseline, on the shared outputs."""
    found: dict[str, dict[str, float]] = {}
    for section in sections:
        rows = {one.name: one.headline(section.card.name) for one in baselines}
        theirs = {arm: row.theirs for arm, row in rows.items() if row is not None}
        by_arm = {name: section.headline.estimate.value, **theirs}
        found[section.card.title] = {
            arm: value for arm, value in by_arm.items() if value is not None
        }
    return found


def _answer(run: StoredRun, sections: Sequence[Section]) -> str:
    """One sentence: whether it is all there, what was measured, on what."""
    card = run.card
    graded = sum(section.graded for section in sections)
    expected = sum(section.expected for section in sections)
    tiny = sum(section.tiny for section in sections)
    which = ", all tiny" if tiny == len(sections) > 0 else f", {tiny} of them tiny" if tiny else ""
    lacking = expected - graded
    if run.unfinished or card.partial:
        state = "; the run has not ended" if run.unfinished else ", in part"
        state = f"{state}: {graded:,} of {expected:,} expected outputs have a value"
    else:
        held = "has" if lacking == 1 else "have"
        none = f"{lacking:,} of {expected:,} outputs {held} no value"
        state = (
            f"; the run finished; {none if lacking else f'all {expected:,} outputs have a value'}"
        )
    partial = "PARTIAL: " if run.unfinished or card.partial else ""
    checkpoint = "" if card.checkpoint.name == card.name else f"checkpoint {card.checkpoint.name}, "
    return (
        f"{partial}{card.name} ({checkpoint}{card.checkpoint.adapter}, weights "
        f"{card.checkpoint.weights[:12]}) was measured on {len(sections)} "
        f"benchmark{'s' * (len(sections) != 1)}{which}{state}."
    )
