"""What a step takes, by numbers worked out by hand, and what a run that cannot fit is told."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from support import small_training as small

from pairuni_eval.adapters import expected_outline
from pairuni_eval.errors import UserError
from pairuni_eval.models.outline import Outline, Weight
from pairuni_train import plan as planning
from pairuni_train.config import Recipe, find_arm, find_recipe
from pairuni_train.memory_plan import Lengths, plan_memory, ways_to_fit
from pairuni_train.pair_data.dataset import write_pairs
from pairuni_train.setup import Job, load_trainable

MODEL = "janus.model.language_model."
WEIGHTS = {
    f"{MODEL}layers.0.self_attn.q_proj.weight": Weight((100, 100), True),
    f"{MODEL}layers.0.self_attn.o_proj.weight": Weight((100, 200), True),
    f"{MODEL}layers.0.norm.weight": Weight((100,), False),
    "janus.model.vision_model.patch.weight": Weight((50, 100), True),
    "janus.model.vision_model.place": Weight((900,), False),
}
TRAINED, ALL = 30_100, 36_000
OUTLINE = Outline(WEIGHTS, f"{MODEL}layers.", 1, 100, 300, 4, 100, 500, 32, 16, 4)
LENGTHS = Lengths(20, 10)


def states(recipe: Recipe, ranks: int = 1) -> dict[str, int]:
    return dict(plan_memory(OUTLINE, recipe, ranks, LENGTHS).states)


def recipe_of(**changes: object) -> Recipe:
    plain = {"sharding": "none", "frozen_as": "float32"}
    return find_recipe("janus-pro-7b", {**plain, **changes})


def test_weights_gradients_and_both_averages() -> None:
    expected = {"weights": 4 * ALL, "gradients": 4 * TRAINED, "AdamW": 8 * TRAINED}
    assert states(recipe_of()) == expected
    assert states(recipe_of(sharding="fsdp2"), ranks=4) == {
        name: size // 4 for name, size in expected.items()
    }
    assert states(recipe_of(beta=0.1)) == {**expected, "reference": 4 * ALL}
    halved = states(recipe_of(frozen_as="bfloat16", beta=0.1))
    assert halved["weights"] == 4 * ALL - 2 * 5_000, "the product that does not train"
    assert halved["reference"] == 4 * ALL - 2 * 35_000


def test_adapters_train_beside_frozen_weights() -> None:
    lora = {"rank": 8, "targets": ["q_proj"]}
    found = states(recipe_of(lora=lora, beta=0.1))
    assert found == {
        "weights": 4 * ALL + 4 * 1_600,  # 8 x (100 + 100)
        "gradients": 4 * 1_600,
        "AdamW": 8 * 1_600,
    }


@pytest.mark.parametrize(
    ("changes", "copies"),
    [
        ({"probe.every": 0}, 0),
        ({"probe.halves": False}, 1),
        ({"probe.halves": True}, 3),
    ],
)
def test_the_probe_holds_gradients_apart(changes: dict[str, object], copies: int) -> None:
    recipe = recipe_of(**{"probe.every": 5, **changes})
    assert plan_memory(OUTLINE, recipe, 1, LENGTHS).probe == copies * 4 * TRAINED
    apart = plan_memory(OUTLINE, recipe_of(**{"probe.every": 0}), 1, LENGTHS, apart=True)
    assert apart.probe == 4 * TRAINED


def test_what_takes_less_is_estimated_to_take_less() -> None:
    plain = recipe_of(gradient_checkpointing=False)
    whole = plan_memory(OUTLINE, plain, 1, LENGTHS)
    assert whole.peak == sum(whole.states.values()) + max(
        whole.rollouts, whole.update + whole.probe
    )
    deep = OUTLINE._replace(depth=30)
    kept, again = (
        plan_memory(deep, recipe_of(gradient_checkpointing=on), 1, LENGTHS).update
        for on in (False, True)
    )
    assert again < kept / 5
    rows = [plan_memory(OUTLINE, recipe_of(micro_batch=n), 1, LENGTHS).update for n in (1, 8)]
    assert rows[0] < rows[1]


def test_what_a_pass_keeps_of_a_position() -> None:
    """14 hidden and 4 feed-forward sizes; 8 and 3 beside weights that do not train."""
    plain = recipe_of(precision="no", gradient_checkpointing=False, micro_batch=8)
    kept = plan_memory(OUTLINE._replace(depth=2), plain, 1, LENGTHS).update
    more = plan_memory(OUTLINE._replace(depth=3), plain, 1, LENGTHS).update
    rows = min(8, plain.batch.pairs_per_step * plain.und.rollouts)
    tokens = 4 + 20 + plain.und.decoding.max_tokens  # of a picture, a question, an answer
    assert more - kept == rows * tokens * (14 * 100 + 4 * 300) * 4
    changes = {"precision": "no", "gradient_checkpointing": False, "micro_batch": 8}
    lora = recipe_of(**changes, lora={"rank": 1})
    two, three = (plan_memory(OUTLINE._replace(depth=n), lora, 1, LENGTHS).update for n in (2, 3))
    assert three - two == rows * tokens * (8 * 100 + 3 * 300) * 4
    once = OUTLINE._replace(depth=3, scored=lambda *_: 0)
    assert plan_memory(once, plain, 1, LENGTHS).update < kept / 2


def test_what_compiled_rollouts_keep_is_there_while_updating_too() -> None:
    changes: dict[str, object] = {
        **{"precision": "bf16", "pairs_per_step": 3, "rollout_batch": 64, "gen.rollouts": 4},
        **{"und.rollouts": 4, "und.decoding.max_tokens": 4, "gen.decoding.cfg_scale": 5.0},
    }
    plain, kept = (
        plan_memory(OUTLINE, recipe_of(**changes, compiled=one), 1, LENGTHS)
        for one in (False, True)
    )
    # 12 rows are run as 16, twice for guidance, 26 tokens in 32 slots: keys and values of 100.
    cache = 16 * 2 * 32 * 2 * 100 * 2
    joined, head, table = 30_100 * 2, 500 * 100 * 2, 32 * 100 * 4
    assert kept.states["kept for rollouts"] == cache + joined + head + table
    assert kept.rollouts < plain.rollouts
    assert kept.peak > plain.peak
    words = [words for words, _ in ways_to_fit(recipe_of(**changes, compiled=True), 8)]
    found = next(one for one in words if "compiled=false" in one)
    assert "sharding" not in found, "sharded weights have no compiled rollouts"


def test_ways_to_fit_take_less_and_less() -> None:
    recipe = recipe_of(gradient_checkpointing=False)
    ways = list(ways_to_fit(recipe, 8))
    assert ways[0][0] == "--set gradient_checkpointing=true"
    assert ways[-1][0].endswith("--set micro_batch=1 --set sharding=none --set lora={rank=16}")
    assert not any("fsdp2" in words for words, _ in ways_to_fit(recipe, 1))
    for words, changed in ways[:-1]:
        pairs = dict(one.split("=", 1) for one in words.removeprefix("--set ").split(" --set "))
        assert recipe_of(**{"gradient_checkpointing": False, **_values(pairs)}) == changed


def _values(pairs: dict[str, str]) -> dict[str, object]:
    from pairuni_eval.config import read_assignments

    return read_assignments([f"{key}={value}" for key, value in pairs.items()])


def test_the_sizes_of_a_checkpoint_are_those_of_its_weights() -> None:
    outline = expected_outline("tiny")
    assert outline is not None
    import torch

    policy = load_trainable("tiny", torch.device("cpu")).policy
    assert {name: one.shape for name, one in outline.weights.items()} == {
        name: tuple(one.shape) for name, one in policy.named_parameters()
    }
    assert (outline.depth, outline.hidden, outline.picture, outline.codebook) == (4, 128, 16, 32)


def test_a_run_that_cannot_fit_is_refused_with_what_makes_it_fit() -> None:
    pairs, arm = small.tiny_pairs(4), find_arm("pairuni")
    recipe = find_recipe("tiny")
    found = planning.figures(recipe, arm, pairs, 1)
    assert found is not None
    peak = found[1].peak
    planning.check_room(recipe, arm, pairs, 1, peak)
    planning.check_room(recipe, arm, pairs, 1, None)
    with pytest.raises(UserError, match=r"tiny: a step takes .* on each of 1 devices") as told:
        planning.check_room(recipe, arm, pairs, 1, peak - 1)
    assert "with: --set gradient_checkpointing=true" in str(told.value.hint)
    with pytest.raises(UserError, match="a step takes") as told:
        planning.check_room(recipe, arm, pairs, 1, 1000)
    assert told.value.hint == (
        "Take more devices with --set sharding=fsdp2, or a device with more memory."
    )


def test_a_plan_says_what_a_run_takes_and_leaves_nothing(tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairug.parquet", small.tiny_pairs(8))
    job = Job(find_arm("pairuni"), small.small_recipe(), tmp_path, 0, tmp_path / "out")
    said = StringIO()
    planning.plan(job, Console(file=said, width=200))
    text = " ".join(said.getvalue().split())
    for part in ("weights", "gradients", "AdamW", "rollouts, while sampling", "at most together"):
        assert f"{part} " in text
    assert "disk: " in text and ": 3 checkpoints of 6.3 MB and " in text  # 300 steps, each 100
    assert "calls: none. The pair set has 8 rows" in text
    assert "A step took " in text and "sample/und" in text
    assert "The warm-up took " in text
    assert not (tmp_path / "out").exists()


def test_lengths_are_those_of_the_longest_texts() -> None:
    pairs = small.tiny_pairs(3)
    recipe = find_recipe("tiny", {"und.instruction": "xxx"})
    longest = max(len(pair.understanding.question) for pair in pairs if pair.understanding)
    found = planning.lengths_of(pairs, recipe)
    assert found.question == -(-(longest + 3) // 3)
