"""Count-sketches: published outputs of the hash, whole blocks, what a sketch is right about."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pairuni_train.gradient_probe.projection import Projection, hashes, squares

BLOCKS = {"a": "first", "b": "first", "c": "second"}
SIZES = {"a": 6, "b": 4, "c": 3}


def gradients(seed: int, sizes: dict[str, int] = SIZES) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(size, generator=generator) for name, size in sizes.items()}


def test_the_hash_is_splitmix64() -> None:
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [int(one) % 2**64 for one in hashes(torch.arange(3), 1234567)] == published


def test_a_block_that_fits_is_kept_as_it_is() -> None:
    given = gradients(0)
    given["a"] = given["a"].reshape(2, 3)
    for places in (None, 10, 11):
        whole = Projection(SIZES, BLOCKS, places=places, seed=0)
        assert whole.exact
        found = whole.vectors(given)
        assert torch.equal(found["first"], torch.cat([given["a"].flatten(), given["b"]]))
        assert torch.equal(found["second"], given["c"])
    part = Projection(SIZES, BLOCKS, places=4, seed=0)
    assert (part.lengths, part.whole) == ({"first": 4, "second": 3}, {"second"})
    assert torch.equal(part.vectors(given)["second"], given["c"])


def test_a_parameter_without_a_gradient_counts_as_zero() -> None:
    given = gradients(0)
    del given["b"], given["c"]
    found = Projection(SIZES, BLOCKS, places=None, seed=0).vectors(given)
    assert found["first"].tolist() == [*given["a"].tolist(), 0, 0, 0, 0]
    assert found["second"].tolist() == [0, 0, 0]
    assert squares(given, BLOCKS) == {
        "first": pytest.approx(float(given["a"].double().square().sum())),
        "second": 0.0,
    }


def test_a_sketch_is_linear_and_every_number_goes_to_one_place() -> None:
    sketch = Projection({"a": 50}, {"a": "all"}, places=8, seed=3)
    one, two = (gradients(seed, {"a": 50})["a"] for seed in (1, 2))
    both = sketch.vectors({"a": one + 2 * two})["all"]
    alone = [sketch.vectors({"a": vector})["all"] for vector in (one, two)]
    torch.testing.assert_close(both, alone[0] + 2 * alone[1])
    for unit in torch.eye(50):
        assert sorted(sketch.vectors({"a": unit})["all"].abs().tolist()) == [0] * 7 + [1]


def test_inner_products_are_right_in_the_mean_and_off_as_said() -> None:
    sizes, blocks, places = {"a": 300, "b": 20}, {"a": "long", "b": "short"}, 64
    one, other = (gradients(seed, sizes) for seed in (1, 2))
    other["a"] += 0.5 * one["a"]
    norms = [sum(squares(given, blocks).values()) for given in (one, other)]
    exact = sum(float(one[name].double() @ other[name].double()) for name in sizes)
    found = []
    for seed in range(400):
        sketch = Projection(sizes, blocks, places=places, seed=seed)
        first, second = (sketch.vectors(given) for given in (one, other))
        found.append(sum(float(first[block] @ second[block]) for block in first))
    off = (np.array(found) - exact) / math.sqrt(norms[0] * norms[1])
    share = {block: total / norms[0] for block, total in squares(one, blocks).items()}
    said = Projection(sizes, blocks, places=places, seed=0).error(share)
    assert abs(off.mean()) < 4 * off.std() / 20
    # The cosine is about 0.45: the error is sqrt(1 + 0.45^2) times that of one near 0.
    assert off.std() == pytest.approx(said * math.sqrt(1 + 0.45**2), rel=0.15)


def test_another_seed_is_another_sketch() -> None:
    given = gradients(0)
    first, again, other = (
        Projection(SIZES, BLOCKS, places=4, seed=seed).vectors(given)["first"] for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
