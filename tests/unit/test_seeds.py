"""Addresses of randomness: equal on every machine, far apart from each other."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pairuni_eval.seeds import seed_for, stable_hash


def test_a_hash_is_the_same_on_every_machine() -> None:
    assert stable_hash("a", 1, {"b": 2, "a": [1.5, None, True]}) == (
        "ed235eb425515dbe912b5a8f1c282cbb"
    )


def test_a_seed_is_the_same_on_every_machine() -> None:
    assert seed_for(7, "s", 2, "decode") == 2611518949746582504


def test_a_hash_does_not_depend_on_the_order_of_a_mapping() -> None:
    assert stable_hash({"x": 1, "y": 2}) == stable_hash({"y": 2, "x": 1})


def test_parts_do_not_run_into_each_other() -> None:
    hashes = {stable_hash("ab", "c"), stable_hash("a", "bc"), stable_hash("abc"), stable_hash()}
    assert len(hashes) == 4
    assert stable_hash(1) != stable_hash("1") != stable_hash(1.0)


def test_a_hash_survives_hash_randomization() -> None:
    code = "from pairuni_eval.seeds import stable_hash; print(stable_hash('a', {'k': [1]}))"
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": salt},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for salt in ("1", "2")
    }
    assert found == {stable_hash("a", {"k": [1]}) + "\n"}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_without_a_json_form_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        stable_hash(value)


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", object()])
def test_values_without_a_json_form_are_refused(value: object) -> None:
    with pytest.raises(TypeError, match="cannot address"):
        stable_hash(value)


def test_seeds_lie_in_range_and_do_not_collide() -> None:
    seeds = [seed_for(0, f"sample-{i % 25_000}", i // 25_000, "decode") for i in range(100_000)]
    assert len(set(seeds)) == 100_000
    assert min(seeds) >= 0
    assert max(seeds) < 2**63
    # Uniform: each of the top eight bits is set in half of them (five standard deviations).
    for bit in range(55, 63):
        share = sum(seed >> bit & 1 for seed in seeds) / len(seeds)
        assert abs(share - 0.5) < 0.008, bit


def test_every_part_of_the_address_moves_the_seed() -> None:
    base = seed_for(0, "s", 0, "decode")
    others = [
        seed_for(1, "s", 0, "decode"),
        seed_for(0, "t", 0, "decode"),
        seed_for(0, "s", 1, "decode"),
        seed_for(0, "s", 0, "bootstrap"),
    ]
    assert len({base, *others}) == 5
