"""Rewards: what answers and pictures are worth, and what a bad reward is told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image
from support.open_clip_reference import Size, write_files

from pairuni_eval.errors import UserError
from pairuni_eval.grading_models.hps import HpsScorer
from pairuni_eval.models.base import Reply
from pairuni_eval.tiny import world
from pairuni_train.grpo.config import RewardSpec
from pairuni_train.grpo.image_rewards import ClipScore, Hps, PickScore
from pairuni_train.grpo.rewards import Judged, Reward, TinyObjects, WeightedSum, load_rewards
from pairuni_train.pair_data.record import Generation, Half, Understanding


def answer(text: str, gold: str) -> Judged:
    half = Understanding(id="q", source="s", licence="l", image=b"", question="?", answer=gold)
    return Judged(half, Reply(text=text))


def picture(image: Image.Image | None, row: dict[str, Any] | None = None) -> Judged:
    facts = {} if row is None else {"row": row}
    half = Generation(id="p", source="s", licence="l", prompt="the cat", facts=facts)
    return Judged(half, Reply(image=image))


def scene(*things: tuple[str, str, int]) -> Image.Image:
    """A picture of things: color, shape and cell."""
    placed = tuple(
        world.Thing(shape=shape, color=color, row=cell // 4, col=cell % 4)
        for color, shape, cell in things
    )
    return world.render(world.Scene(placed))


TWO = {
    "tag": "two_object",
    "include": [{"class": "circle", "count": 1}, {"class": "square", "count": 1}],
    "exclude": [],
    "prompt": "a photo of a circle and a square",
}


def test_the_share_of_the_objects_that_are_there() -> None:
    both = scene(("red", "circle", 0), ("blue", "square", 5))
    one = scene(("red", "circle", 0), ("blue", "cross", 5))
    judged = [picture(both, TWO), picture(one, TWO), picture(None, TWO), picture(both)]
    found = TinyObjects()(judged)
    assert found[:2] == [1.0, 0.5]
    assert all(math.isnan(value) for value in found[2:])


def test_objects_are_those_of_a_prompt_for_names_as_well() -> None:
    one = Reply(image=scene(("red", "circle", 0)))
    half = Generation(id="p", source="s", licence="l", prompt="bafem", facts={"exactly": TWO})
    assert TinyObjects()([Judged(half, one)]) == [0.5]


def test_noise_and_plain_colors_hold_no_object() -> None:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (256, 256, 3), dtype=np.uint8))
    shapes = [{"include": [{"class": shape, "count": 1}]} for shape in world.SHAPES]
    nothings = [noise, Image.new("RGB", (32, 32), world.RGB["red"])]
    judged = [picture(image, row) for image in nothings for row in shapes]
    assert TinyObjects()(judged) == [0.0] * 8


@pytest.mark.parametrize(
    ("text", "worth"),
    [
        ("<think> two\nof them </think>\n<answer>2</answer>", 1.0),
        (" <think></think><answer></answer> ", 1.0),
        ("<answer>2</answer>", 0.0),
        ("<think>a</think><answer>2</answer> and more", 0.0),
        ("<think>a</think>so<answer>2</answer>", 0.0),
        ("<think>a</think><answer>2</answer><think>b</think><answer>3</answer>", 0.0),
        ("", 0.0),
    ],
)
def test_the_format_of_an_answer(text: str, worth: float) -> None:
    (_, _, reward), *_ = load_rewards([RewardSpec(name="format")]).parts
    assert reward([answer(text, "2")]) == [worth]


def test_the_format_may_be_another_and_is_for_answers_alone() -> None:
    spec = RewardSpec(name="format", options={"pattern": r"[A-D]\."})
    found = load_rewards([spec])([answer("B.", "B"), answer("B. x", "B"), picture(None)])
    assert found["total"][:2] == [1.0, 0.0]
    assert math.isnan(found["total"][2])
    silent = answer("", "B")._replace(reply=Reply())
    assert math.isnan(load_rewards([spec])([silent])["total"][0])
    with pytest.raises(UserError, match="is no regular expression"):
        load_rewards([RewardSpec(name="format", options={"pattern": "("})])


def test_an_overlong_answer_costs_up_to_one() -> None:
    spec = RewardSpec(name="length", options={"free": 4, "limit": 8})
    judged = [
        answer("x", "x")._replace(reply=Reply(text="x", tokens=tokens))
        for tokens in (0, 4, 5, 6, 8, 20)
    ]
    assert load_rewards([spec])(judged)["total"] == [0.0, 0.0, -0.25, -0.5, -1.0, -1.0]


@pytest.mark.parametrize("options", [{}, {"free": 4}, {"free": 4, "limit": 4}, {"free": 1.5}])
def test_a_length_needs_two_bounds(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="it needs both, whole numbers of tokens"):
        load_rewards([RewardSpec(name="length", options=options)])


class Fixed(Reward):
    def __init__(self, *values: float) -> None:
        self.values = list(values)

    def __call__(self, batch: Sequence[Judged]) -> list[float]:
        return self.values


def test_rewards_are_summed_with_their_weights() -> None:
    both = WeightedSum((("a", 1.0, Fixed(1.0, 0.0)), ("b", 0.5, Fixed(2.0, math.nan))))
    found = both([answer("B", "B")] * 2)
    assert found["total"][0] == 2.0
    assert math.isnan(found["total"][1]), "what one of them declines has no reward"
    assert found["a"] == [1.0, 0.0]


class ForBriefAnswers(Fixed):
    def judges(self, half: Half) -> bool:
        return half.facts.get("form") == "brief"


def test_a_reward_counts_only_where_it_is_meant_to() -> None:
    brief = answer("B", "B")
    brief = brief._replace(half=msgspec.structs.replace(brief.half, facts={"form": "brief"}))
    long = answer("C", "B")
    meant = WeightedSum((("brief", 1.0, ForBriefAnswers(3.0)),))([long, brief])
    assert meant["total"][1] == 3.0 and math.isnan(meant["total"][0])
    both = WeightedSum((("brief", 1.0, ForBriefAnswers(3.0)), ("all", 2.0, Fixed(1.0, 0.5))))
    assert both([long, brief])["total"] == [2.0, 4.0]


class BriefBroken(ForBriefAnswers):
    def __call__(self, batch: Sequence[Judged]) -> list[float]:
        raise AssertionError("there is nothing to judge")


def test_a_reward_is_not_asked_about_nothing() -> None:
    found = WeightedSum((("brief", 1.0, BriefBroken()), ("all", 1.0, Fixed(0.5))))(
        [answer("C", "B")]
    )
    assert found["total"] == [0.5] and math.isnan(found["brief"][0])


def test_a_reward_of_the_wrong_length_is_named() -> None:
    with pytest.raises(UserError, match="'short' gave 1 values for 2 rollouts"):
        WeightedSum((("short", 1.0, Fixed(1.0)),))([answer("B", "B")] * 2)
    with pytest.raises(UserError, match="'wild' gave an infinite value"):
        WeightedSum((("wild", 1.0, Fixed(math.inf)),))([answer("B", "B")])
    with pytest.raises(UserError, match="'worded' gave 'high', which is not a number"):
        WeightedSum((("worded", 1.0, Fixed("high")),))([answer("B", "B")])  # type: ignore[arg-type]


class Gives(Reward):
    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self, batch: Sequence[Judged]) -> list[float]:
        return self.value  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "gave None instead of one number per rollout"),
        (1.0, "gave 1.0 instead of"),
        (np.float32(1.0), "instead of"),
        (np.array(1.0), r"gave array\(1\.\) instead of"),
        ((x for x in (1.0, 2.0)), "gave <generator object .* instead of"),
        ({"a": 1.0, "b": 2.0}, r"gave \{'a': 1.0, 'b': 2.0\} instead of"),
        ({1.0, 2.0}, "instead of"),
        ("ab", "gave 'ab' instead of"),
        ([], "gave 0 values for 2 rollouts"),
        ([1.0], "gave 1 values for 2 rollouts"),
        (np.ones(3), "gave 3 values for 2 rollouts"),
        ([None, 1.0], "gave None, which is not a number"),
        ([[1.0], [2.0]], r"gave \[1.0\], which is not a number"),
        (np.ones((2, 2)), "which is not a number"),
        (["0.5", 1.0], "gave '0.5', which is not a number"),
        ([1.0, -math.inf], "gave an infinite value"),
    ],
)
def test_a_reward_that_returns_something_else_is_named(value: Any, told: str) -> None:
    with pytest.raises(UserError, match=f"^The reward 'odd' .*{told}") as caught:
        WeightedSum((("odd", 1.0, Gives(value)),))([answer("B", "B")] * 2)
    assert "NaN declines" in str(caught.value.hint)


@pytest.mark.parametrize("value", [(1.0, 0.0), np.array([1.0, 0.0]), [True, 0], [np.float32(1), 0]])
def test_what_holds_one_number_per_rollout_is_taken(value: Any) -> None:
    assert WeightedSum((("ok", 1.0, Gives(value)),))([answer("B", "B")] * 2)["ok"] == [1.0, 0.0]


class Broken(Reward):
    def __call__(self, batch: Sequence[Judged]) -> list[float]:
        raise RuntimeError("the scorer's server is down")


def test_a_reward_that_raises_is_named() -> None:
    with pytest.raises(UserError, match=r"'broken' failed: RuntimeError: the scorer's server is"):
        WeightedSum((("broken", 1.0, Broken()),))([answer("B", "B")])


def test_unknown_names_and_options_are_refused() -> None:
    with pytest.raises(UserError, match="Did you mean 'scorer'"):
        load_rewards([RewardSpec(name="scorrer:mmmu")])
    with pytest.raises(UserError, match="There is no reward 'accuracy'") as former:
        load_rewards([RewardSpec(name="accuracy", options={"form": "plain"})])
    assert "scorer:mmmu@reasoning" in str(former.value.hint)
    with pytest.raises(UserError, match="no version 'v3'"):
        load_rewards([RewardSpec(name="hps", options={"version": "v3"})])
    with pytest.raises(UserError, match="'clipscore' needs `files`"):
        load_rewards([RewardSpec(name="clipscore")])


# Pictures scored by a CLIP


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small HPS v2.1, laid out as for the benchmark."""
    folder = tmp_path_factory.mktemp("data") / "weights"
    place = folder / "v2.1"
    write_files(place, Size(), seed=7, name="HPS_v2.1_compressed.pt")
    (folder / "tokenizer").mkdir()
    (place / "merges.txt").replace(folder / "tokenizer" / "merges.txt")
    return folder


def test_hps_is_the_evaluations_scorer(folder: Path) -> None:
    reward = Hps.load({"data": str(folder.parent), "device": "cpu"})
    image = scene(("red", "circle", 0))
    found = reward([picture(image), answer("B", "B"), picture(None), picture(image)])
    scorer = HpsScorer.load([folder / "v2.1", folder / "tokenizer"], device="cpu")
    assert found[0] == found[3] == pytest.approx(scorer.score([image], ["the cat"])[0], abs=1e-6)
    assert math.isnan(found[1])
    assert math.isnan(found[2])


def test_clipscore_and_pickscore_have_their_own_scales(folder: Path) -> None:
    options = {"files": [str(folder / "v2.1"), str(folder / "tokenizer")], "device": "cpu"}
    image = scene(("red", "circle", 0))
    (clip,) = ClipScore.load(options)([picture(image)])
    (pick,) = PickScore.load(options)([picture(image)])
    assert 0.0 <= clip <= 2.5
    assert math.isfinite(pick)
    assert pick != clip


def test_a_cut_off_checkpoint_is_refused(folder: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights" / "v2.1"
    weights.mkdir(parents=True)
    whole = (folder / "v2.1" / "HPS_v2.1_compressed.pt").read_bytes()
    (weights / "HPS_v2.1_compressed.pt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "weights" / "tokenizer").symlink_to(folder / "tokenizer")
    with pytest.raises(UserError, match=r"HPS_v2\.1_compressed\.pt"):
        Hps.load({"data": str(tmp_path), "device": "cpu"})
