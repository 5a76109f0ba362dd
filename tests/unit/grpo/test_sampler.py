"""Which pairs a step trains on."""

from __future__ import annotations

from itertools import chain

import pytest

from pairuni_eval.errors import UserError
from pairuni_eval.models.base import Task
from pairuni_train.grpo.sampler import PairSampler, slice_of
from pairuni_train.pair_data.record import Kind, Pair


def rows(count: int, kind: Kind = Kind.RETRIEVED) -> list[Pair]:
    return [Pair(id=f"p{i}", kind=kind) for i in range(count)]


def ids(order: PairSampler, step: int) -> list[str]:
    return [pair.id for pair in order.of_step(step)]


def test_an_epoch_is_a_permutation_and_the_next_is_another() -> None:
    order = PairSampler(rows(10), pairs_per_step=5, seed=0)
    first = ids(order, 0) + ids(order, 1)
    second = ids(order, 2) + ids(order, 3)
    assert sorted(first) == sorted(second) == sorted(pair.id for pair in rows(10))
    assert first != second


def test_a_step_may_cross_the_end_of_an_epoch() -> None:
    order = PairSampler(rows(5), pairs_per_step=3, seed=0)
    seen = [name for step in range(5) for name in ids(order, step)]
    assert {name: seen.count(name) for name in seen} == {f"p{i}": 3 for i in range(5)}


def test_a_step_is_a_function_of_seed_and_step() -> None:
    one, other = (PairSampler(rows(50), pairs_per_step=8, seed=seed) for seed in (0, 1))
    assert ids(one, 7) == ids(PairSampler(rows(50), pairs_per_step=8, seed=0), 7)
    assert ids(one, 7) != ids(other, 7)


def test_rows_of_one_half_come_two_for_one() -> None:
    order = PairSampler(rows(20, Kind.UNPAIRED), pairs_per_step=4, seed=0)
    assert order.rows_per_step == len(order.of_step(0)) == 8


def test_too_few_pairs_are_refused() -> None:
    with pytest.raises(UserError, match="The pair set has 3 rows, a step takes 4"):
        PairSampler(rows(3), pairs_per_step=4, seed=0)


@pytest.mark.parametrize(("ranks", "sizes"), [(1, [7]), (2, [3, 4]), (3, [2, 2, 3]), (9, None)])
def test_ranks_share_a_step_without_gap_or_overlap(ranks: int, sizes: list[int] | None) -> None:
    step = rows(7)
    parts = [slice_of(step, rank, ranks) for rank in range(ranks)]
    assert [pair for part in parts for pair in part] == step
    assert sizes is None or [len(part) for part in parts] == sizes
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_further_rows_are_none_of_the_step_and_none_twice() -> None:
    order = PairSampler(rows(11), pairs_per_step=4, seed=0)
    found = [order.further(2, number, "und") for number in (1, 2, 3)]
    assert [len(one) for one in found] == [4, 3, 0]
    assert sorted(chain(order.places(2, "und"), *found)) == list(range(11))
    assert found[0] == PairSampler(rows(11), pairs_per_step=4, seed=0).further(2, 1, "gen")
    assert found[0] != order.further(3, 1, "und")


def answered(order: PairSampler, step: int, task: Task) -> list[str]:
    return [pair.id for pair in order.answered(step, task)]


def test_both_tasks_answer_the_halves_of_the_steps_own_pairs() -> None:
    order = PairSampler(rows(20), pairs_per_step=4, seed=0)
    for step in range(5):
        assert answered(order, step, "und") == answered(order, step, "gen") == ids(order, step)


def test_halves_that_are_dealt_anew_are_the_same_ones_and_meet_by_chance() -> None:
    """Questions come as without it; every prompt once an epoch, with its own pair's weight."""
    paired = PairSampler(rows(200), pairs_per_step=4, seed=0)
    dealt = PairSampler(rows(200), pairs_per_step=4, seed=0, repaired=True)
    questions = [answered(dealt, step, "und") for step in range(50)]
    prompts = [answered(dealt, step, "gen") for step in range(50)]
    assert questions == [ids(paired, step) for step in range(50)]
    assert sorted(chain(*prompts)) == sorted(chain(*questions))
    met = sum(len(set(u) & set(g)) for u, g in zip(questions, prompts, strict=True))
    assert met < 20, "4 of 200 are expected"


def test_rows_of_one_half_cannot_be_dealt_anew() -> None:
    with pytest.raises(UserError, match="rows of one half only"):
        PairSampler(rows(20, Kind.UNPAIRED), pairs_per_step=4, seed=0, repaired=True)


def test_one_pair_cannot_be_dealt_anew() -> None:
    with pytest.raises(UserError, match="One pair alone"):
        PairSampler(rows(1), pairs_per_step=1, seed=0, repaired=True)
