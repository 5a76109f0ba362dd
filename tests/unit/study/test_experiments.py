"""Experiment files: everything that they name is there, and their rows are the paper's."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import msgspec
import pytest
from support import ROOT

from pairuni_eval.catalog import all_cards, find_card, import_plugin
from pairuni_eval.config import read_assignments
from pairuni_eval.errors import UserError
from pairuni_train.config import find_arm, find_recipe
from pairuni_train.grpo.config import RewardSpec
from pairuni_train.grpo.rewards import load_rewards, reward_plugin
from pairuni_train.pair_data.config import check_arms, find_preset
from pairuni_train.sft.config import sft_recipe_names
from pairuni_train.study.jobs import (
    StudyOptions,
    TrainJob,
    pair_file,
    run_folder,
    train_command,
    train_folder,
    train_jobs,
)
from pairuni_train.study.overrides import as_options, changed_pairs, real_changes
from pairuni_train.study.spec import (
    BASE,
    Column,
    Experiment,
    StudyArm,
    experiments,
    find_experiment,
    read_experiment,
)

NAMES = sorted(experiments())
RECIPES = {True: "tiny-names", False: "janus-pro-1b"}
PRESETS = {True: "tiny-names", False: "orsta-blip3o"}


def options_of(*, tiny: bool, root: Path = Path("root")) -> StudyOptions:
    return StudyOptions(find_recipe(RECIPES[tiny]), 3, root)


@pytest.mark.parametrize("tiny", [True, False], ids=["tiny", "real"])
@pytest.mark.parametrize("name", NAMES)
def test_what_the_arms_name_is_there(name: str, tiny: bool) -> None:
    found = find_experiment(name).on(tiny=tiny)
    assert found.name == name
    assert len(found.arms) >= 2
    for arm in found.arms:
        if arm.trained_as == BASE:
            assert arm == StudyArm(name=arm.name, trained_as=BASE)
            continue
        check_arms((arm.pairs or find_arm(arm.trained_as).pairs,))
        config = changed_pairs(find_preset(PRESETS[tiny]).config, arm.changes)
        import_plugin("encoders", config.encoder.name)
        recipe = find_recipe(RECIPES[tiny], arm.settings)
        for reward in (*recipe.und.rewards, *recipe.gen.rewards):
            plugin, options = reward_plugin(reward)
            plugin.extra_for(options)
        if tiny:  # these need no download
            load_rewards(recipe.gen.rewards)
            import_plugin("encoders", config.encoder.name).load(config.encoder)


@pytest.mark.parametrize("tiny", [True, False], ids=["tiny", "real"])
@pytest.mark.parametrize("name", NAMES)
def test_what_the_columns_name_is_in_the_cards(name: str, tiny: bool) -> None:
    found = find_experiment(name)
    for column in found.columns:
        if not (tiny and column.only == "real"):
            _check_column(column, found, tiny=tiny)


def _check_column(column: Column, found: Experiment, *, tiny: bool) -> None:
    card = find_card(found.sisters[column.benchmark] if tiny else column.benchmark)
    assert card.tiny is tiny
    protocol = card.protocols[column.protocol or card.default_protocol]
    wanted = (column.tiny_metric if tiny else None) or column.metric or protocol.headline
    metric = protocol.metric(wanted)
    group = (column.tiny_group if tiny else None) or column.group
    assert group is None or metric.by is not None


@pytest.mark.parametrize("tiny", [True, False], ids=["tiny", "real"])
@pytest.mark.parametrize("name", NAMES)
def test_no_two_trials_share_a_folder(name: str, tiny: bool) -> None:
    known = options_of(tiny=tiny)
    found = find_experiment(name).on(tiny=tiny)
    folders = [run_folder(job, "b", known) for job in train_jobs(found, known)]
    assert len(set(folders)) == len(folders)


def test_printed_numbers_are_those_that_the_cards_quote() -> None:
    checked = 0
    for card in all_cards():
        for quoted in card.published:
            table = re.search(r"2510\.25682v3, table (\d+)$", quoted.source)
            if table is not None:
                cells = _printed(card.name, f"table{table[1]}")
                assert {quoted.value, round(quoted.value / 100, 4)} & cells, (card.name, quoted)
                checked += 1
    assert checked > 40


def _printed(benchmark: str, table: str) -> set[float]:
    """The numbers of a benchmark's columns in a table, or in one of its halves."""
    return {
        cell
        for name in NAMES
        if re.fullmatch(rf"{table}b?", name)
        for found in (find_experiment(name),)
        for place, column in enumerate(found.columns)
        if column.benchmark == benchmark
        for row in found.printed
        if not isinstance(cell := row.cells[place], str)
    }


def test_every_experiment_has_its_session() -> None:
    path = ROOT / "noxfile.py"
    spec = importlib.util.spec_from_file_location("sessions", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    from nox.registry import get

    assert {f"reproduce_{name}" for name in NAMES} <= set(get())


# Arms of one world


def test_an_experiment_on_one_world_keeps_what_belongs_there() -> None:
    table10 = find_experiment("table10")
    tiny, real = table10.on(tiny=True), table10.on(tiny=False)
    assert [arm.name for arm in tiny.arms] == ["base", "pixels", "colors", "counts"]
    assert (tiny.against, tiny.method) == (("pixels", "colors"), None)
    assert [arm.name for arm in real.arms] == ["base", "PE", "DINOv3", "ResNet-50"]
    assert (real.against, real.method) == (("PE", "DINOv3"), "ResNet-50")
    table4b = find_experiment("table4b")
    assert "geneval-long" in table4b.benchmarks(tiny=False)
    assert len(table4b.benchmarks(tiny=True)) == len(table4b.benchmarks(tiny=False)) - 1


def test_an_arm_that_is_taught_has_a_command_a_folder_and_a_sentence(tmp_path: Path) -> None:
    table4b = find_experiment("table4b")
    options = StudyOptions(find_recipe("tiny"), 1, tmp_path)
    taught = next(arm for arm in table4b.arms if arm.name == "PairUni")
    reinforced = msgspec.structs.replace(taught, method="grpo")
    sft, grpo = (TrainJob(arm, 0) for arm in (taught, reinforced))
    words = train_command(sft, options)
    assert words[words.index("pairuni_train.cli") + 1 :][:5] == [
        *("sft", "--arm", "pairuni", "--recipe", "tiny")
    ]
    assert train_command(grpo, options)[3] == "run"
    assert train_folder(sft, options) != train_folder(grpo, options)
    assert pair_file(taught, options) == pair_file(reinforced, options)
    assert table4b.method_notes == (
        "Trained by supervised fine-tuning on both halves (sft): random pair, PairUni.",
    )
    assert find_experiment("table2").method_notes == ()
    # What the arms of an experiment are taught by is there under the name of its recipe.
    assert {"tiny", "tiny-names", "bagel", "tiny-bagel"} <= set(sft_recipe_names())


# Changes


def test_the_held_out_suite_has_columns_in_the_tiny_world_alone() -> None:
    found = find_experiment("table2")
    assert found.on(tiny=False).columns == found.columns
    tiny = found.on(tiny=True)
    further = tiny.columns[len(found.columns) :]
    assert [(one.title, one.benchmark, one.metric) for one in further] == [
        ("held-out drawings", "tiny-heldout-drawings", None),
        ("drawings, new", "tiny-heldout-drawings", "new"),
        ("drawings, common", "tiny-heldout-drawings", "common"),
    ]
    assert tiny.benchmarks(tiny=True) == ("tiny-wise", "tiny-heldout-drawings")
    assert tiny.heads == found.heads
    assert tiny.on(tiny=True) == tiny


def test_a_change_to_what_is_there_anyway_is_the_same_arm() -> None:
    known = options_of(tiny=True)
    by_name = {arm.name: arm for arm in find_experiment("table8").arms}
    plain = find_experiment("table5").arms[-1]
    assert pair_file(by_name["0.6"], known) == pair_file(plain, known)
    assert pair_file(by_name["0.5"], known) != pair_file(plain, known)
    config = find_preset("tiny").config
    changes = {"retrieval.threshold": 0.6, "selection.method": "random"}
    assert real_changes(config, changes) == {"selection.method": "random"}


def test_a_change_reaches_into_lists() -> None:
    config = find_preset("tiny").config
    assert changed_pairs(config, {"understanding.0.rows": 7}).understanding[0].rows == 7
    for key in ("understanding.1.rows", "understanding.x.rows", "pairs.x"):
        with pytest.raises(UserError, match=f"no key '{key}'"):
            changed_pairs(config, {key: 1})
    with pytest.raises(UserError, match=r"'treshold' in retrieval\. Did you mean 'threshold'"):
        changed_pairs(config, {"retrieval.treshold": 1})
    with pytest.raises(UserError, match=r"retrieval\.threshold"):
        changed_pairs(config, {"retrieval.threshold": 1.5})


def test_settings_survive_the_command_line() -> None:
    settings = {
        "gen.rewards": [{"name": "scorer:geneval", "weight": 2.0, "options": {"device": "cpu"}}],
        "lr": 1e-5,
        "gen.decoding.cfg_scale": 3,
        "probe.halves": False,
        "und.instruction": 'Say "yes" \\ or no.\n',
    }
    words = as_options(settings)
    assert words[::2] == ["--set"] * 5
    found = find_recipe("tiny", read_assignments(words[1::2]))
    assert found == find_recipe("tiny", settings)
    assert found.gen.rewards == (
        RewardSpec(name="scorer:geneval", weight=2.0, options={"device": "cpu"}),
    )


def test_arms_that_differ_in_settings_train_apart() -> None:
    known = options_of(tiny=True)
    found = find_experiment("sweep_reward").on(tiny=True)
    files = {pair_file(arm, known) for arm in found.arms if arm.trained_as != BASE}
    assert len(files) == 1
    folders = {run_folder(job, "b", known) for job in train_jobs(found, known)}
    assert len(folders) == 1 + 3 * 3


# Files that do not fit


GOOD = """\
name = "x"
title = "X"
question = "?"
source = "here"
arms = [{ name = "a", arm = "base" }, { name = "b", arm = "grpo" }]
columns = [{ title = "MMMU", benchmark = "mmmu" }]
sisters = { mmmu = "tiny-mmmu" }
printed = [{ row = "r", cells = [1.0] }]
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "b"', 'name = "a"', "two arms are called 'a'"),
        ('source = "', 'fixed = {}\nsource = "', "fixed prompts belong to a figure of curves"),
        ("[1.0]", "[1.0, 2.0]", "the row 'r' has 2 cells for 1 columns"),
        ("sisters = { mmmu", "sisters = { mmstar", "sisters lacks 'mmmu'"),
        ("printed", 'against = ["c"]\nprinted', "names 'c', which is not one of its arms"),
        ("printed", 'method = "c"\nprinted', "names 'c', which is not one of its arms"),
        ('"grpo" }', '"grpo", settings = { steps = 3 } }', "sets 'steps', which all arms share"),
        ("question", "qestion", "unknown key 'qestion'. Did you mean 'question'?"),
        ('"grpo" }', '"grpo", only = "world" }', "'world' is not a value of arms[1].only."),
    ],
)
def test_a_file_that_does_not_fit_is_named(old: str, new: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text(GOOD)
    assert read_experiment(path).name == "x"
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(UserError, match=re.escape(said)) as refused:
        read_experiment(path)
    assert str(path) in refused.value.message


def test_a_file_may_name_its_arms_by_the_former_key(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text(GOOD.replace("arm = ", "recipe = "))
    assert [arm.trained_as for arm in read_experiment(path).arms] == ["base", "grpo"]
    path.write_text(GOOD.replace('arm = "grpo"', 'arm = "grpo", recipe = "grpo"'))
    with pytest.raises(UserError, match="unknown key 'recipe' in arms"):
        read_experiment(path)


def test_an_experiment_may_name_the_recipe_that_it_takes_by_default() -> None:
    assert find_experiment("table4").recipe == "tiny-dimoo"
    named = [one for one in map(find_experiment, NAMES) if one.recipe is not None]
    assert all(StudyOptions(find_recipe(one.recipe or ""), 3, Path()).tiny for one in named)


def test_an_unknown_experiment_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="table7"):
        find_experiment("tabel7")


def test_experiments_are_frozen() -> None:
    with pytest.raises(AttributeError):
        find_experiment("table1").name = "other"  # type: ignore[misc]
    assert msgspec.structs.replace(find_experiment("table1"), name="x").name == "x"
