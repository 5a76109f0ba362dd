"""Groups without spread: left out of a step they change no weight; others may take their place."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from support import small_training as small

from pairuni_eval.models.base import Task
from pairuni_eval.models.janus import JanusPolicy
from pairuni_train.distributed.engine import Engine
from pairuni_train.grpo.dynamic_sampling import Drawn, StepSampler
from pairuni_train.grpo.rewards import Judged, Reward, WeightedSum
from pairuni_train.grpo.rollouts import TASKS
from pairuni_train.grpo.trainable_parameters import trainable_parameters
from pairuni_train.pair_data.record import Pair
from pairuni_train.phase_timer import PhaseTimer


class SpreadFor(Reward):
    """Rollouts of some halves differ in worth, those of the others do not."""

    def __init__(self, halves: set[str]) -> None:
        self.halves = halves

    def __call__(self, batch: Sequence[Judged]) -> list[float]:
        return [
            float(place % 2) if one.half.id in self.halves else 0.5
            for place, one in enumerate(batch)
        ]


def spread_for(pairs: Sequence[Pair]) -> dict[Task, WeightedSum]:
    """Rewards under which both groups of these pairs have spread, and no others."""
    und = {pair.understanding.id for pair in pairs if pair.understanding}
    gen = {pair.generation.id for pair in pairs if pair.generation}
    return {"und": small.summed(SpreadFor(und)), "gen": small.summed(SpreadFor(gen))}


def test_left_out_they_change_no_weight_and_are_not_scored(
    policy: JanusPolicy, pairs: Sequence[Pair]
) -> None:
    before = {name: one.detach().clone() for name, one in policy.named_parameters()}
    rewards = spread_for(pairs[:3])
    weights, metrics = [], []
    for dead_groups in ("counted", "left_out"):
        policy.load_state_dict(before)
        recipe = small.small_recipe(dead_groups=dead_groups, micro_batch=3)
        trainer = small.small_trainer(policy, recipe, pairs, rewards=rewards)
        metrics.append([trainer.step(step).metrics for step in range(2)])
        weights.append([one.detach().clone() for one in trainable_parameters(policy).values()])
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))
    assert not torch.equal(weights[0][0], before[next(iter(trainable_parameters(policy)))])
    for counted, left_out in zip(*metrics, strict=True):
        assert counted["live_groups/und"] < 1.0
        same = {key for key in counted if not key.startswith(("entropy", "clip_ratio", "kl"))}
        assert {key: left_out[key] for key in same} == {key: counted[key] for key in same}
        assert left_out.get("entropy/und") != counted["entropy/und"]
    assert sum(one["live_groups/und"] for one in metrics[0]) == 0.75


def test_a_step_of_which_all_is_left_out_has_no_means_over_tokens(
    policy: JanusPolicy, pairs: Sequence[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    forward = JanusPolicy.forward

    def watched(*args: object, **options: object) -> object:
        calls.append(1)
        return forward(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(JanusPolicy, "forward", watched)
    recipe = small.small_recipe(dead_groups="left_out", inner_steps=2)
    found = small.small_trainer(policy, recipe, pairs, rewards=spread_for([])).step(0).metrics
    assert calls == []
    assert (found["loss"], found["grad_norm"], found["live_groups/gen"]) == (0.0, 0.0, 0.0)
    assert not {"entropy/und", "kl/gen", "clip_ratio/low/und"} & found.keys()


# Other rows in their place


def ids(drawn: Drawn, task: Task) -> list[str]:
    return [prompt.pair for prompt in drawn.rollouts[task].prompts]


def test_a_batch_that_teaches_is_taken_as_it_comes(
    policy: JanusPolicy, pairs: Sequence[Pair]
) -> None:
    recipe = small.small_recipe(dynamic_rounds=3)
    found = small.small_trainer(policy, recipe, pairs, rewards=spread_for(pairs)).step(0).metrics
    assert (found["drawn/rounds"], found["drawn/rows"], found["drawn/rows_live"]) == (1, 4, 1)
    assert found["drawn/reward/gen"] == found["reward/gen"]


def test_rows_that_teach_take_the_place_of_those_that_do_not(
    policy: JanusPolicy, pairs: Sequence[Pair]
) -> None:
    first = small.small_trainer(policy, small.small_recipe(), pairs)
    chosen = {pair.id for pair in first.parts.sampler.of_step(0)}
    others = [pair for pair in pairs if pair.id not in chosen]
    rewards = spread_for([*others[:3], next(pair for pair in pairs if pair.id in chosen)])
    recipe = small.small_recipe(dynamic_rounds=3)
    trainer = small.small_trainer(policy, recipe, pairs, rewards=rewards)
    drawing = trainer._drawing.draw(0, PhaseTimer())
    result = trainer.step(0).metrics
    assert (result["drawn/rounds"], result["drawn/rows"], result["drawn/rows_live"]) == (2, 8, 0.5)
    assert result["live_groups/und"] == result["live_groups/gen"] == 1.0
    assert result["drawn/live_groups/gen"] == 0.5
    assert result["drawn/reward/und"] == 0.5
    assert ids(drawing, "und") == ids(drawing, "gen"), "pairs are kept whole"
    assert len(set(ids(drawing, "und"))) == 4
    for task in TASKS:
        alone = small.sampled(
            policy,
            task,
            [next(pair for pair in pairs if pair.id == one) for one in ids(drawing, task)],
            small.small_recipe(),
            rewards=rewards,
        )
        assert torch.equal(alone.advantage_N, drawing.rollouts[task].advantage_N)
        assert alone.seeds == drawing.rollouts[task].seeds


def test_what_is_lacking_after_the_last_round_is_filled_with_the_rest(
    policy: JanusPolicy, pairs: Sequence[Pair]
) -> None:
    und = {pair.understanding.id for pair in pairs[:3] if pair.understanding}
    rewards = {"und": small.summed(SpreadFor(und)), "gen": small.summed(small.Same())}
    recipe = small.small_recipe(dynamic_rounds=5)
    result = small.small_trainer(policy, recipe, pairs, rewards=rewards).step(0).metrics
    assert (result["drawn/rounds"], result["drawn/rows"], result["drawn/rows_live"]) == (2, 8, 0.0)
    assert result["live_groups/und"] == 0.75, "rows that teach one task come first"
    assert result["live_groups/gen"] == 0.0


def test_a_task_that_does_not_train_is_not_asked_for_spread(
    policy: JanusPolicy, pairs: Sequence[Pair]
) -> None:
    rewards = {"und": small.summed(small.Letters()), "gen": small.summed(small.Same())}
    recipe = small.small_recipe(dynamic_rounds=3, gen__weight=0.0)
    result = small.small_trainer(policy, recipe, pairs, rewards=rewards).step(0).metrics
    assert result["drawn/rows_live"] == result["live_groups/und"]


class TwoRanks(Engine):
    """One of two processes whose sums the test makes."""

    def __init__(self, engine: Engine, rank: int, other: list[torch.Tensor]) -> None:
        super().__init__(engine.accelerator, engine.model)
        self._rank, self.said, self._other = rank, [], other

    @property
    def rank(self) -> int:
        return self._rank

    @property
    def ranks(self) -> int:
        return 2

    def together(self) -> AbstractContextManager[None]:
        return nullcontext()

    def total(self, numbers: torch.Tensor) -> torch.Tensor:
        self.said.append(numbers)
        place = len(self.said) - 1
        return numbers + self._other[place] if place < len(self._other) else numbers


def test_ranks_keep_the_rows_that_one_would(policy: JanusPolicy, pairs: Sequence[Pair]) -> None:
    rewards = spread_for(pairs[::2])
    recipe = small.small_recipe(dynamic_rounds=2)
    trainer = small.small_trainer(policy, recipe, pairs, rewards=rewards)
    whole = trainer._drawing.draw(0, PhaseTimer())
    parts = trainer._drawing

    def marks_of(rank: int) -> list[torch.Tensor]:
        """What a rank says of its rows in each round."""
        alone = TwoRanks(parts.engine, rank, [])
        rounds = [{task: parts.sampler.places(0, task) for task in TASKS}]
        rounds += [{task: parts.sampler.further(0, 1, task) for task in TASKS}]
        sampler = parts._replace(engine=alone)
        for places in rounds:
            sampler._marks(sampler._round(places, 0, PhaseTimer()))
        return alone.said

    said = [marks_of(rank) for rank in (0, 1)]
    kept = []
    for rank in (0, 1):
        engine = TwoRanks(parts.engine, rank, said[1 - rank])
        kept.append(StepSampler(engine, *parts[1:]).draw(0, PhaseTimer()))
    for task in TASKS:
        assert sorted(ids(kept[0], task) + ids(kept[1], task)) == sorted(ids(whole, task))
