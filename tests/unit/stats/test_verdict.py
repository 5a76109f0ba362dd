"""Words and sentences."""

from __future__ import annotations

import pytest

from pairuni_eval.cards import MetricSpec
from pairuni_eval.stats.intervals import Interval
from pairuni_eval.stats.paired import Counts
from pairuni_eval.stats.verdict import (
    SentenceParts,
    Word,
    change,
    choose_word,
    distance,
    p_words,
    sentence,
)

SHARE = MetricSpec(name="accuracy")
SCORE = MetricSpec(name="overall", scale=1.0, decimals=2)
APART = Interval(0.01, 0.2)


@pytest.mark.parametrize(
    ("interval", "p", "tie_p", "direction", "word"),
    [
        (APART, 0.04, None, "up", Word.BETTER),
        (APART, 0.04, None, "down", Word.WORSE),
        (Interval(-0.2, -0.01), 0.04, None, "up", Word.WORSE),
        (APART, 0.05, None, "up", Word.CANNOT_TELL),
        (Interval(-0.01, 0.2), 0.04, None, "up", Word.CANNOT_TELL),
        (Interval(-0.01, 0.01), 0.6, 0.03, "up", Word.TIED),
        (Interval(-0.01, 0.01), 0.6, 0.05, "up", Word.CANNOT_TELL),
        (APART, 0.001, 0.01, "up", Word.BETTER),  # a small but sure difference
        (APART, 0.001, None, "none", Word.CANNOT_TELL),
        (None, None, None, "up", Word.CANNOT_TELL),
        (None, 1.0, 0.0, "up", Word.TIED),  # every output is equal
    ],
)
def test_the_word_follows_from_the_evidence(
    interval: Interval | None, p: float | None, tie_p: float | None, direction: str, word: Word
) -> None:
    assert choose_word(interval, p, tie_p, direction) is word


def test_a_regression_is_named_with_its_counts() -> None:
    numbers = change(0.5125, 0.4375, SHARE, Counts(35, 41, 80))
    said = SentenceParts(p=0.0121, other="GRPO", scope="this checkpoint, one seed")
    assert sentence("counting", Word.WORSE, numbers, said) == (
        "counting is worse than GRPO: 41 -> 35 of 80, p = .01; this checkpoint, one seed"
    )
    of_parent = said._replace(parent=True, scope=None)
    assert sentence("counting", Word.WORSE, numbers, of_parent) == (
        "counting got worse: 41 -> 35 of 80, p = .01"
    )


def test_sentences_say_what_was_looked_for() -> None:
    numbers = change(0.412, 0.39, SCORE)
    assert numbers == "0.41 -> 0.39"
    assert sentence("GenEval", Word.TIED, numbers, SentenceParts(p=0.04, margin="0.01")) == (
        "GenEval is tied: 0.41 -> 0.39; they differ by less than 0.01, p = .04"
    )
    assert sentence(
        "GenEval", Word.TIED, numbers, SentenceParts(p=0.04, margin="0.01", equal=True)
    ) == (
        "GenEval is tied: 0.41 -> 0.39; no score differs, and they differ by less than 0.01, "
        "p = .04"
    )
    assert sentence(
        "GenEval", Word.CANNOT_TELL, numbers, SentenceParts(p=0.4, detectable="0.06")
    ) == ("GenEval: cannot tell; 0.41 -> 0.39, p = .40; less than 0.06 would not be found")
    assert sentence(
        "GenEval", Word.CANNOT_TELL, numbers, SentenceParts(p=1.0, why="the same score in all 17")
    ) == ("GenEval: cannot tell; 0.41 -> 0.39; the same score in all 17")
    undirected = SentenceParts(p=0.0004, directed=False)
    assert sentence("yes", Word.CANNOT_TELL, "50.0 -> 61.0 %", undirected) == (
        "yes: 50.0 -> 61.0 %, p < .001; neither more nor less is better"
    )
    refused = SentenceParts(reason="the judge is a and b")
    assert sentence("WISE", Word.CANNOT_TELL, numbers, refused) == (
        "WISE: not compared, the judge is a and b"
    )


def test_numbers_have_their_cards_scale() -> None:
    assert change(0.412, 0.39, SHARE) == "41.2 -> 39.0 %"
    assert change(None, 0.39, SHARE) == "none -> 39.0 %"
    assert distance(0.0234, SHARE) == "2.3 points" and distance(0.0234, SCORE) == "0.02"


@pytest.mark.parametrize(
    ("p", "words"),
    [
        (0.00049, "p < .001"),
        (0.001, "p = .001"),
        (0.0121, "p = .01"),
        (0.0494, "p = .049"),
        (0.3, "p = .30"),
        (1.0, "p = 1"),
        (None, "p not known"),
    ],
)
def test_p_in_words(p: float | None, words: str) -> None:
    assert p_words(p) == words
