"""Arms and recipes: what ships, what may be changed, what is refused."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pairuni_eval.config import read_assignments
from pairuni_eval.errors import UserError
from pairuni_train.config import (
    _NOT_IN_EVERY_RUN,
    Arm,
    Recipe,
    as_written,
    find_arm,
    find_recipe,
    names_of,
)
from pairuni_train.pair_data.config import PAIR_ARMS

DOCS = Path(__file__).parents[3] / "docs"


def test_every_arm_names_an_arm_that_can_be_built() -> None:
    arms = [find_arm(name) for name in names_of(Arm)]
    assert {arm.pairs for arm in arms} <= set(PAIR_ARMS)
    assert [arm.name for arm in arms] == names_of(Arm)
    paper = {"grpo", "random_pair", "u_only", "g_only", "aligned", "retrieved", "pairuni"}
    assert paper | {"pairuni_noweight", "pairuni_linear", "pcgrad"} <= set(names_of(Arm))


@pytest.mark.parametrize(("name", "rollouts"), [("janus-pro-1b", 8), ("janus-pro-7b", 4)])
def test_recipes_have_the_papers_settings(name: str, rollouts: int) -> None:
    found = find_recipe(name)
    assert (found.und.rollouts, found.gen.rollouts) == (rollouts, rollouts)
    assert (found.batch.pairs_per_step, found.steps) == (16, 1200)
    assert (found.optimizer.lr, found.objective.beta) == (1e-6, 0.0)
    for task in (found.und, found.gen):
        decoding = task.decoding
        assert (decoding.temperature, decoding.top_k, decoding.top_p) == (1.0, 0, 1.0)
    assert found.gen.decoding.cfg_scale == 5.0
    assert found.objective.policy_logits == "conditional"
    assert found.und.instruction.endswith("<think> ... </think><answer> ... </answer>")
    assert "\n" not in found.und.instruction


def test_changes_reach_into_tables_and_are_toml() -> None:
    changes = read_assignments(
        ["gen.decoding.cfg_scale=2.0", "lr=3e-4", "und.instruction=Say it.", "lora.rank=4"]
    )
    assert changes["gen.decoding.cfg_scale"] == 2.0
    found = find_recipe("tiny", changes)
    assert found.gen.decoding.cfg_scale == 2.0
    assert found.optimizer.lr == 3e-4
    assert found.und.instruction == "Say it."
    assert found.lora is not None
    assert found.lora.rank == 4
    assert found.und == find_recipe("tiny", {"und.instruction": "Say it."}).und


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 1e-3}, "unknown key 'learning_rate'"),
        ({"micro_batches": 3}, r"unknown key 'micro_batches'. Did you mean 'micro_batch'\?"),
        ({"gen.decoding.cfg": 3.0}, r"unknown key 'cfg'"),
        ({"steps": "many"}, "Expected `int`, got `str` at `steps`"),
        ({"lr.start": 1.0}, "there is no key 'lr.start': 'lr' is not a table"),
        ({"optimizer.lr": 1.0}, "unknown key 'optimizer'"),
        ({"steps": 0}, r"tiny\.toml, with steps changed: Expected `int` >= 1 at `steps`"),
        ({"micro_batch": 0}, "Expected `int` >= 1 at `micro_batch`"),
        ({"lr": -1e-4}, "Expected `float` >= 0.0 at `lr`"),
        ({"lr": math.nan}, "Expected `float` >= 0.0 at `lr`"),
        ({"betas": [0.9, 1.0]}, r"Expected `float` < 1.0 at `betas\[1\]`"),
        ({"warmup": -1}, "Expected `int` >= 0 at `warmup`"),
        ({"max_grad_norm": 0.0}, "Expected `float` > 0.0 at `max_grad_norm`"),
        ({"beta": -0.1}, "Expected `float` >= 0.0 at `beta`"),
        ({"probe.every": -1}, r"Expected `int` >= 0 at `probe\.every`"),
        ({"und.rollouts": 1}, r"Expected `int` >= 2 at `und\.rollouts`"),
        ({"und.weight": -1.0}, r"Expected `float` >= 0.0 at `und\.weight`"),
        ({"gen.rewards": []}, "there is no reward at `gen`"),
        ({"gen.rewards": [{"name": "hps"}, {"name": "hps"}]}, "'hps' is named 2 times at `gen`"),
        ({"gen.decoding.temperature": 0.0}, "are all alike, .* is 0.0 at `gen`"),
        ({"gen.decoding.top_k": 50}, "top_k or top_p cuts the distribution at `gen`"),
        ({"gen.decoding.noise": "official-bf16"}, "coarser noise and a cache change what is drawn"),
        ({"gen.decoding.cache_ratio": 0.9}, "coarser noise and a cache change what is drawn"),
        ({"frozen_as": "bfloat16"}, r"tiny\.toml: frozen_as is bfloat16 and precision no"),
        ({"compiled": True, "sharding": "fsdp2"}, "compiled is true and sharding fsdp2"),
        ({"precision": "fp16"}, "'fp16' is not a value of precision. Did you mean 'bf16'"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_recipe("tiny", changes)


def test_settings_need_a_key_and_a_value() -> None:
    for setting in ("lr", "=3", "  = 3"):
        with pytest.raises(UserError, match="not of the form KEY=VALUE"):
            read_assignments([setting])


def test_unknown_names_offer_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean 'pairuni'"):
        find_arm("pairunni")
    with pytest.raises(UserError, match="Did you mean 'janus-pro-1b'"):
        find_recipe("janus-1b")


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\nsummary = "s"\npairs = "half"\nweighting = "linear"\n')
    assert find_arm(str(path)).weighting == "linear"
    path.write_text('name = "mine"\nsummary = "s"\npairs = "half"\nwieghting = "linear"\n')
    with pytest.raises(
        UserError, match=r"mine\.toml: unknown key 'wieghting'. Did you mean 'weigh"
    ):
        find_arm(str(path))
    path.write_text("name = ")
    with pytest.raises(UserError, match="not valid TOML"):
        find_arm(str(path))
    with pytest.raises(UserError, match="There is no file"):
        find_recipe(str(tmp_path / "none.toml"))


def test_a_recipe_is_stored_as_the_first_release_stored_it() -> None:
    stored = {
        "name": "tiny",
        "checkpoint": "tiny",
        "steps": 300,
        "pairs_per_step": 8,
        "rollout_batch": 64,
        "micro_batch": 64,
        "lr": 1e-4,
        "inner_steps": 1,
        "betas": [0.9, 0.999],
        "weight_decay": 0.0,
        "warmup": 0,
        "max_grad_norm": 1.0,
        "beta": 0.0,
        "clip_low": 0.2,
        "clip_high": 0.2,
        "policy_logits": "conditional",
        "trainable": ["janus.model.language_model."],
        "checkpoint_every": 100,
        "precision": "no",
        "gradient_checkpointing": False,
        "sharding": "none",
        "lora": None,
        "probe": {"every": 10, "halves": True},
        "pairs": "tiny",
    }
    table = json.loads(json.dumps(as_written(find_recipe("tiny"))))
    later = {"estimator": "trace", "view_groups": 4}  # a file without them means these
    assert {key: table.pop(key) for key in later} == later
    tasks = {task: table.pop(task) for task in ("und", "gen")}
    assert table == stored
    for task in tasks.values():
        assert set(task) == {"rollouts", "decoding", "rewards", "instruction", "weight"}


def test_a_key_that_is_not_in_every_run_is_stored_where_it_is_set() -> None:
    assert not _NOT_IN_EVERY_RUN & as_written(find_recipe("tiny")).keys()
    changes = {"dynamic_rounds": 2, "importance_level": "sequence"}
    changed = find_recipe("tiny", changes)
    assert as_written(changed) == {**as_written(find_recipe("tiny")), **changes}
    assert find_recipe("tiny", as_written(changed)) == changed


def test_every_key_of_a_recipe_stands_in_the_docs() -> None:
    page = DOCS.joinpath("training.md").read_text(encoding="utf-8")
    table = page.partition("\n## Recipes\n")[2].partition("\n## ")[0]
    written = set(re.findall(r"`(\w+)`", table))
    found = find_recipe("tiny", {"lora.rank": 4})
    keys = set(as_written(found)) | _NOT_IN_EVERY_RUN
    for inner in (found.und, found.lora, found.probe):
        assert inner is not None
        keys |= set(inner.__struct_fields__)
    assert keys <= written


@pytest.mark.parametrize("name", ["janus-pro-1b", "janus-pro-7b", "tiny"])
def test_what_is_stored_reads_as_the_same_recipe(name: str) -> None:
    found = find_recipe(name, {"lora.rank": 4, "betas": [0.5, 0.75], "sharding": "fsdp2"})
    assert found.optimizer.betas == (0.5, 0.75)
    assert find_recipe("tiny", as_written(found)) == found


def test_every_shipped_recipe_reads() -> None:
    assert names_of(Recipe) == [
        "bagel",
        "janus-pro-1b",
        "janus-pro-7b",
        "lumina-dimoo",
        "tiny",
        "tiny-bagel",
        "tiny-dimoo",
        "tiny-names",
    ]
    for name in names_of(Recipe):
        assert find_recipe(name).name == name


@pytest.mark.parametrize(
    ("find", "name", "said"),
    [
        (find_recipe, "pairuny", "There is no recipe 'pairuny', but the arm 'pairuni'."),
        (find_arm, "tiny", "There is no arm 'tiny', but the recipe 'tiny'."),
        (find_arm, "pairuny", "Unknown arm 'pairuny'. Did you mean 'pairuni'?"),
        (find_recipe, "arm.toml", "arm.toml holds the keys of an arm, not of a recipe."),
        (find_arm, "recipe.toml", "recipe.toml holds the keys of a recipe, not of an arm."),
    ],
)
def test_a_name_of_the_other_kind_is_told(
    find: Callable[[str], Any],
    name: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("arm.toml").write_text('name = "mine"\nsumary = "s"\npairs = "half"\nsurgery = "none"\n')
    Path("recipe.toml").write_text('name = "mine"\ncheckpoint = "tiny"\nstepps = 3\n')
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        find(name)
    if name.endswith(".toml"):
        assert caught.value.hint == f"pairuni-train run --{Path(name).stem} {name}"
