"""Cards and suites: what is wrong is named by file, key and nearest valid key."""

from __future__ import annotations

from pathlib import Path

import pytest

from pairuni_eval.cards import read_card, read_suite
from pairuni_eval.decoding import Decoding
from pairuni_eval.errors import UserError
from pairuni_eval.records import Capability

CARD = """
name = "acme"
title = "Acme"
summary = "s"
version = "1"
capability = "understand"
expected = 3
unit = "image"
licence = "MIT"

[protocols.official]
summary = "s"
source = "here"
headline = "accuracy"
metrics = [{ name = "accuracy" }]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "card.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_small_card_is_read_with_its_defaults(tmp_path: Path) -> None:
    card = read_card(write(tmp_path, CARD))
    assert (card.capability, card.draws, card.tiny) == (Capability.UNDERSTAND, 1, False)
    assert card.decoding == Decoding(temperature=0.0, top_k=0, top_p=1.0)
    assert card.default_protocol == "official"
    assert card.protocols["official"].unparsed == "wrong"
    metric = card.protocols["official"].metric("accuracy")
    assert (metric.aggregate, metric.of, metric.scale) == ("mean", "correct", 100.0)
    with pytest.raises(KeyError):
        card.protocols["official"].metric("f1")


def test_the_first_protocol_is_the_default(tmp_path: Path) -> None:
    other = CARD[CARD.index("[protocols") :].replace("official", "zeta")
    own = CARD.replace("official", "alpha")
    assert read_card(write(tmp_path, own + other)).default_protocol == "alpha"
    swapped = own[: own.index("[protocols")] + other + own[own.index("[protocols") :]
    assert read_card(write(tmp_path, swapped)).default_protocol == "zeta"


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("licence =", "license =", ("'license'", "'licence'")),
        ("draws", "", ()),
        ("headline =", "headlin =", ("'headlin'", "'headline'", "protocols")),
        ('{ name = "accuracy" }', '{ name = "accuracy", agregate = "f1" }', ("'aggregate'",)),
    ],
)
def test_an_unknown_key_is_named_with_file_and_nearest(
    tmp_path: Path, old: str, new: str, named: tuple[str, ...]
) -> None:
    text = CARD.replace(old, new) if old in CARD else CARD.replace("unit", "drawz = 4\nunit")
    path = write(tmp_path, text)
    with pytest.raises(UserError) as caught:
        read_card(path)
    for part in (str(path), *(named or ("'drawz'", "'draws'"))):
        assert part in caught.value.message


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("expected = 3", 'expected = "three"', "expected"),
        ('capability = "understand"', 'capability = "see"', "capability"),
        ('unit = "image"', 'unit = "row"', "unit"),
        ('version = "1"\n', "", "version"),
        ('headline = "accuracy"', 'headline = "f1"', "protocols.official.headline is 'f1'"),
        ("[protocols.official]", "[protocols.official", "not valid TOML"),
    ],
)
def test_a_wrong_card_names_file_and_place(tmp_path: Path, old: str, new: str, named: str) -> None:
    path = write(tmp_path, CARD.replace(old, new))
    with pytest.raises(UserError) as caught:
        read_card(path)
    assert str(path) in caught.value.message
    assert named in caught.value.message


SHARED = CARD.replace(
    "[protocols.official]",
    'metrics = [{ name = "accuracy" }, { name = "guessed", of = "guessed" }]\n[protocols.official]',
)
OTHER = """
[protocols.strict]
summary = "s"
source = "there"
headline = "f1"
"""


def test_metrics_that_protocols_share_stand_once(tmp_path: Path) -> None:
    plain = CARD.replace('"accuracy" }]', '"accuracy" }, { name = "guessed", of = "guessed" }]')
    taken = SHARED.replace('metrics = [{ name = "accuracy" }]\n', "")
    assert read_card(write(tmp_path, taken)) == read_card(write(tmp_path, plain))
    named = 'metrics = ["guessed", { name = "f1", aggregate = "f1" }]\n'
    strict = read_card(write(tmp_path, taken + OTHER + named)).protocols["strict"]
    assert [(one.name, one.of, one.aggregate) for one in strict.metrics] == [
        ("guessed", "guessed", "mean"),
        ("f1", "correct", "f1"),
    ]
    # A list of its own holds what it says and nothing else.
    assert read_card(write(tmp_path, SHARED)) == read_card(write(tmp_path, CARD))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            SHARED + OTHER + 'metrics = ["acuracy"]\n',
            "protocols.strict.metrics names 'acuracy', which is none of the metrics at the card's "
            "top (accuracy, guessed)",
        ),
        (CARD + OTHER + 'metrics = ["f1"]\n', "names 'f1', which is none of"),
        (CARD + OTHER, "the key 'metrics' is missing"),
        (SHARED.replace('of = "guessed"', 'off = "x"'), "unknown key 'off' in metrics[1]"),
    ],
)
def test_a_shared_metric_that_is_not_there_is_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UserError) as refused:
        read_card(write(tmp_path, text))
    assert told in refused.value.message


def test_a_card_without_protocol_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, CARD[: CARD.index("[protocols")] + "[protocols]\n")
    with pytest.raises(UserError, match="at least one"):
        read_card(path)


def test_a_card_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "card.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"card\.toml"):
        read_card(path)


def test_a_suite_is_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text('name = "s"\ntitle = "S"\nbenchmarks = ["b", "a"]\n')
    assert read_suite(path).benchmarks == ("b", "a")
    path.write_text('name = "s"\ntitle = "S"\nbenchmark = ["b", "a"]\n')
    with pytest.raises(UserError, match="'benchmarks'"):
        read_suite(path)
