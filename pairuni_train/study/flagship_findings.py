"""What a flagship shows, in sentences made from its numbers and verdicts, each with its scope.

better, worse, tied and cannot tell are those of every page; a hypothesis is held, spoken against,
not shown or not run. A sentence that puts two hypotheses together stands only where both allow it,
and what is not shown is never called absent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pairuni_eval.toolkit.gradients import sentences
from pairuni_eval.toolkit.stats import SCORE, Word, distance, p_words, plain, printed, signed_plain
from pairuni_train.study.flagship import FlagshipFigure
from pairuni_train.study.hypotheses import (
    FlagshipOutcome,
    HypothesisResult,
    PartResult,
    Verdict,
    held,
)


def answers(figure: FlagshipFigure) -> dict[str, tuple[str, ...]]:
    """Every question with its sentences, in order; those of what has not been run are left out."""
    outcome = figure.outcome
    found = {
        figure.experiment.question: tuple(_in_short(outcome)),
        "Did reinforcement learning help, and at what?": _of(outcome, "H1"),
        "Did completed pairs help?": _of(outcome, "H2"),
        "Was it the pairing or the coverage?": tuple(_pairing(outcome)),
        "And where both sources know the same?": _of(outcome, "H4"),
        "Do the gradients of a pair agree?": tuple(_gradients(figure)),
        "Did agreement predict anything?": tuple(_predicted(outcome)),
        "Does what one task learned reach the other?": (*_of(outcome, "H7"), *_of(outcome, "H8")),
        "What was forgotten?": _of(outcome, "H5"),
        "Has training seen what is asked?": figure.seen,
        "Is it registered?": tuple(_registered(figure)),
    }
    return {question: said for question, said in found.items() if said}


def hypothesis_sentence(one: HypothesisResult) -> str:
    """E.g. "H1 at overlap 0 is held (p = .002 of 14 hypotheses): ..."."""
    return f"{one.title} is {_verdict(one)}{_p(one)}: {one.placed.hypothesis.claim}"


def part_sentence(one: PartResult) -> str:
    """E.g. "answers, new at overlap 0: PairUni is better than GRPO, 61.2 -> 83.0 % (+21.8 ...)"."""
    part, found = one.part, one.found
    where = f"{part.score} at overlap {part.overlap:g}"
    if found.reason is not None:
        return f"{where}: {part.arm} and {part.against} were not compared, {found.reason}."
    numbers = f"{plain(found.theirs, SCORE)} -> {printed(found.ours, SCORE)}"
    said = f"{where}: {_words(one)}, {numbers} ({_difference(one)}{_seeds(one)})"
    return f"{said}{_within(one)}."


def _of(outcome: FlagshipOutcome, *ids: str) -> tuple[str, ...]:
    """The sentences of hypotheses that were run: the verdict, then each part."""
    found = [one for id_ in ids for one in outcome.of(id_) if one.verdict is not Verdict.NOT_RUN]
    return tuple(sentence for one in found for sentence in _whole(one))


def _whole(one: HypothesisResult) -> Iterator[str]:
    yield hypothesis_sentence(one)
    yield from (_capital(part_sentence(part)) for part in one.parts)


def _verdict(one: HypothesisResult) -> str:
    return f"{one.verdict}{'' if one.registered else ', not registered'}"


def _p(one: HypothesisResult) -> str:
    return "" if one.corrected is None else f", corrected {p_words(one.corrected)}"


def _words(one: PartResult) -> str:
    part = one.part
    if one.word in (Word.BETTER, Word.WORSE):
        return f"{part.arm} is {one.word} than {part.against}"
    if one.word is Word.TIED:
        return f"{part.arm} and {part.against} are tied"
    return f"cannot tell whether {part.arm} differs from {part.against}"


def _difference(one: PartResult) -> str:
    value, held_in = one.found.value or 0.0, one.beside
    ends = f" [{plain(held_in.low, SCORE)}, {plain(held_in.high, SCORE)}]" if held_in else ""
    p = "" if one.step is None or one.word is Word.TIED else f", {p_words(one.step.p)}"
    return f"{signed_plain(value, SCORE)}{ends}{p}"


def _seeds(one: PartResult) -> str:
    ours, theirs = one.found.seeds
    if one.part.against == "base":
        return f"; {ours} seed{'s' * (ours > 1)}"
    return f"; {ours} and {theirs} seeds"


def _within(one: PartResult) -> str:
    """Whether it is inside the margin, and what the seeds cannot say."""
    said = ""
    if one.margin is not None and one.word is not Word.CANNOT_TELL and one.tie_p is not None:
        said = f"; closer than {distance(one.margin, SCORE)}: {p_words(one.tie_p)}"
    elif one.margin is not None:
        said = f"; the margin is {distance(one.margin, SCORE)}"
    if one.expect == "not worse" and one.found.not_worse is not None:
        said = f"; not worse by {distance(one.margin, SCORE)}: {p_words(one.found.not_worse)}"
    return f"{said}; {one.found.warning}" if one.found.warning else said


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _in_short(outcome: FlagshipOutcome) -> Iterator[str]:
    """The verdicts by name."""
    for verdict in (Verdict.HELD, Verdict.AGAINST, Verdict.NOT_SHOWN, Verdict.NOT_RUN):
        named = [one.title + _aside(one) for one in outcome.hypotheses if one.verdict is verdict]
        if named:
            yield f"{_capital(verdict)}: {', '.join(named)}."


def _aside(one: HypothesisResult) -> str:
    return "" if one.registered or one.verdict is Verdict.NOT_RUN else " (not registered)"


def _pairing(outcome: FlagshipOutcome) -> Iterator[str]:
    """What the control says, overlap by overlap, only where pairs were shown to help."""
    helped = {one.placed.overlap: one for one in outcome.of("H2")}
    for one in outcome.of("H3"):
        if one.verdict is Verdict.NOT_RUN:
            continue
        overlap, pairs = one.placed.overlap, helped.get(one.placed.overlap)
        yield _attributed(one, helps=pairs is not None and held([pairs]))
        yield from _whole(one)
        if pairs is not None and not (one.registered and pairs.registered):
            yield f"At overlap {overlap:g} this rests on runs that are not registered."


def _attributed(one: HypothesisResult, *, helps: bool) -> str:
    where = f"At overlap {one.placed.overlap:g}"
    same = one.verdict is Verdict.HELD
    if helps and same:
        return (
            f"{where} the coverage: PairUni is better than arms without completions, and its very "
            "halves dealt together at random do as well. What helps is what is trained, for "
            "completion brings each name to both tasks, and not, beyond the margin, that two "
            "halves meet in one step."
        )
    if one.verdict is Verdict.AGAINST:
        words = {part.word for part in one.parts} - {Word.TIED, Word.CANNOT_TELL}
        if words == {Word.BETTER}:
            return f"{where} the pairing counts: halves that meet do better than re-paired ones."
        if words == {Word.WORSE}:
            return f"{where} the pairing counts against it: the same halves re-paired do better."
        return f"{where} the pairing counts, for one score and against the other."
    if same:
        return (
            f"{where} pairing changes nothing beyond the margin, and pairs are not shown to help."
        )
    return f"{where} cannot tell whether it is the pairing or the coverage."


def _gradients(figure: FlagshipFigure) -> Iterator[str]:
    for one in figure.outcome.of("H6"):
        if one.verdict is not Verdict.NOT_RUN:
            yield hypothesis_sentence(one)
    if figure.matrix is not None:
        yield f"At {figure.checkpoint}, the matrix by itself: {' '.join(sentences(figure.matrix))}"


def _predicted(outcome: FlagshipOutcome) -> Iterator[str]:
    """Agreement of partners against whether meeting them in a step made a difference."""
    (agree,) = outcome.of("H6") or (None,)
    meeting = [one for one in outcome.of("H3") if one.verdict is not Verdict.NOT_RUN]
    if agree is None or agree.verdict is Verdict.NOT_RUN or not meeting:
        return
    agreed = {
        Verdict.HELD: "At this base partners' gradients agree more than at random",
        Verdict.AGAINST: "At this base partners' gradients agree less than at random",
        Verdict.NOT_SHOWN: "At this base partners' gradients are not shown to agree more",
    }[agree.verdict]
    for one in meeting:
        where = f"at overlap {one.placed.overlap:g}"
        then = {
            Verdict.HELD: f"and {where} it makes no difference beyond the margin whether they meet",
            Verdict.AGAINST: f"and {where} it makes a difference whether they meet",
            Verdict.NOT_SHOWN: f"and whether it counts that they meet {where} cannot be told",
        }[one.verdict]
        yield f"{agreed}, {then}."
    yield "One base is one point: how agreement and scores go together cannot be told from it."


def _registered(figure: FlagshipFigure) -> Iterator[str]:
    file, outcome = figure.registration, figure.outcome
    yield (
        f"Hypotheses, margins and the number of tests are those of the file {file.name}.toml with "
        f"the SHA-256 {file.sha256}. {outcome.hypotheses_tested} hypotheses are corrected together "
        f"by Holm, and {outcome.comparisons_tested} comparisons by themselves; what has not been "
        "run keeps its place. If nothing differed, at most 5 % of such pages would hold a false "
        "hypothesis, and at most 5 % show a false better or worse; “tied” is not corrected. "
        "Each base is an experiment of its own, with a page and corrections of its own."
    )
    for words in figure.deviations:
        yield f"Not registered: {words}."
    runs = figure.unregistered
    if runs:
        yield f"Not registered, made under another file or none: {_some(runs)}."
    short = [
        f"{one.arm} at overlap {one.overlap:g} has {one.seeds} of {one.wanted} seeds"
        for one in figure.examined.lines
        if one.overlap is not None and one.seeds != one.wanted
    ]
    if short:
        yield f"Not registered, other seeds than the file says: {_some(short)}."


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return f"{'; '.join(names[:6])}{more}"
