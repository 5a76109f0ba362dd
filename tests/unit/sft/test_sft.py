"""Supervised fine-tuning: losses that no packing changes, and a run that goes on to the bit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from msgspec.structs import replace
from rich.console import Console
from safetensors.torch import load_file
from support.small_training import flat_gradient, tiny_pairs
from torch import Tensor

from pairuni_eval.adapters import load_model
from pairuni_eval.errors import UserError
from pairuni_eval.models.base import LoadOptions
from pairuni_eval.models.learner import Lesson, LessonSettings, PreparedLesson
from pairuni_eval.tiny import bagel, world
from pairuni_train.checkpoints import last_checkpoint
from pairuni_train.config import find_arm
from pairuni_train.pair_data.dataset import write_pairs
from pairuni_train.sft.average import WeightAverage
from pairuni_train.sft.config import SftRecipe, find_sft_recipe, sft_recipe_names
from pairuni_train.sft.packs import packs_of, units_of
from pairuni_train.sft.run import SftJob, fine_tune, set_up
from pairuni_train.sft.trainer import SftTrainer

SMALL = bagel.TinyBagelSize(
    hidden=32, layers=2, heads=2, feed_forward=48, vision_hidden=16, vision_layers=1,
    vision_feed_forward=24,
)  # fmt: skip
QUIET = Console(quiet=True)
PAIRS = tiny_pairs(12)


@pytest.fixture(scope="module")
def small_bagel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bagel")
    bagel.save(bagel.build(0, SMALL), folder, recipe="none", step=0)
    return folder


@pytest.fixture(params=["janus", "bagel"])
def checkpoint(request: pytest.FixtureRequest, untrained: Path, small_bagel: Path) -> Path:
    return untrained if request.param == "janus" else small_bagel


def recipe_of(checkpoint: Path, **changes: Any) -> SftRecipe:
    settings = {
        **{"checkpoint": str(checkpoint), "pairs_per_step": 4, "warmup": 0, "lr": 1e-3},
        **{"steps": 4, "checkpoint_every": 2, "probe.every": 0},
        **{key.replace("__", "."): value for key, value in changes.items()},
    }
    return find_sft_recipe("tiny" if "trainable" in changes else "tiny-bagel", settings)


def job_of(checkpoint: Path, out: Path, **changes: Any) -> SftJob:
    pairs = out.parent / "pairs.parquet"
    if not pairs.exists():
        write_pairs(pairs, PAIRS)
    return SftJob(find_arm("pairuni"), recipe_of(checkpoint, **changes), pairs, 0, out)


def trainer_of(checkpoint: Path, tmp_path: Path, **changes: Any) -> SftTrainer:
    job = job_of(checkpoint, tmp_path / "run", **changes)
    return set_up(job, PAIRS, Accelerator(cpu=True), None).trainer


def gradient(trainer: SftTrainer, units: Sequence[Sequence[PreparedLesson]]) -> Tensor:
    parts = trainer.parts
    parts.optimizer.zero_grad()
    trainer._accumulate(trainer._packs(units), trainer._counts(units), ("und", "gen"))
    parts.engine.sum_gradients()
    return flat_gradient(parts.learner)


def test_neither_order_nor_split_of_packs_changes_a_gradient(
    checkpoint: Path, tmp_path: Path
) -> None:
    whole = trainer_of(checkpoint, tmp_path, pack_tokens=100_000)
    units = whole._units(0)
    assert len(units) == 4
    assert [[one.task for one in unit] for unit in units] == [["und", "gen"]] * 4
    assert len(whole._packs(units)) == 1
    expected = gradient(whole, units)
    longest = max(sum(one.length for one in unit) for unit in units)
    split = trainer_of(checkpoint, tmp_path, pack_tokens=longest)
    assert len(split._packs(units)) > 1
    scale = float(expected.abs().max())
    for other in (gradient(split, units), gradient(whole, units[::-1])):
        torch.testing.assert_close(other, expected, rtol=1e-4, atol=1e-5 * scale)


def test_a_lesson_is_prepared_as_alone(checkpoint: Path, tmp_path: Path) -> None:
    trainer = trainer_of(checkpoint, tmp_path)
    learner, recipe = trainer.parts.learner, trainer.recipe
    lessons = [one for unit in units_of(PAIRS, PAIRS, recipe, seed=0, step=3) for one in unit]
    together = learner.prepare(lessons[:6])
    for lesson, one in zip(lessons, together, strict=False):
        (alone,) = learner.prepare([lesson])
        assert (alone.task, alone.length, alone.over) == (one.task, one.length, one.over)
        ours, theirs = (learner([this])[lesson.task].item() for this in (alone, one))
        assert ours == pytest.approx(theirs, rel=1e-5)


def test_a_look_of_the_probe_changes_no_update_and_is_what_autograd_says(
    checkpoint: Path, tmp_path: Path
) -> None:
    plain = trainer_of(checkpoint, tmp_path)
    looked = trainer_of(checkpoint, tmp_path, probe__every=1)
    first, second = plain.step(0), looked.step(0)
    norms = [second.metrics.pop(f"grad_norm/{task}") for task in ("und", "gen")]
    assert first.metrics == pytest.approx(second.metrics, rel=1e-4)
    assert not first.gradients
    row = next(one for one in second.gradients if one.block == "all" and not one.preconditioned)
    # Those of all that trains, of which the row has what both tasks share.
    assert norms[0] ** 2 >= row.tasks[0] * 0.9999 and norms[1] ** 2 >= row.tasks[2] * 0.9999
    assert (row.scenario, row.rows, row.und_live, row.gen_live) == ("pairuni", 4, 1.0, 1.0)
    assert row.und_halves is not None and row.gen_halves is not None

    fresh = trainer_of(checkpoint, tmp_path)
    units, learner = fresh._units(0), fresh.parts.learner
    counts, blocks = fresh._counts(units), fresh._blocks
    named = {name: one for name, one in learner.named_parameters() if name in blocks}
    found = learner([one for unit in units for one in unit])
    counted = {"und": fresh.recipe.word_weight, "gen": fresh.recipe.picture_weight}
    vectors = []
    for task in ("und", "gen"):
        taken = torch.autograd.grad(
            counted[task] * found[task] / counts[task],
            list(named.values()),
            retain_graph=True,  # type: ignore[index]
        )
        vectors.append(torch.cat([one.double().flatten() for one in taken]))
    u, g = vectors
    assert row.tasks == pytest.approx((float(u @ u), float(u @ g), float(g @ g)), rel=1e-3)
    # What is shared gets both gradients: no cosine is thinned by zeros of one task.
    assert all(float(one.abs().max()) > 0 for one in vectors)


def test_every_shared_weight_of_bagel_gets_both_gradients(
    small_bagel: Path, tmp_path: Path
) -> None:
    trainer = trainer_of(small_bagel, tmp_path)
    learner = trainer.parts.learner
    found = learner([one for unit in trainer._units(0) for one in unit])
    named = dict(learner.named_parameters())
    both = []
    for task in ("und", "gen"):
        taken = torch.autograd.grad(
            found[task],
            list(named.values()),
            retain_graph=True,
            allow_unused=True,  # type: ignore[index]
        )
        both.append(
            {n for n, one in zip(named, taken, strict=True) if one is not None and one.any()}
        )
    assert set(learner.shared_parameters()) == both[0] & both[1]


@pytest.mark.parametrize("saved_as", ["float32", "bfloat16"])
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    small_bagel: Path, tmp_path: Path, saved_as: str, ema: float
) -> None:
    settings = {"saved_as": saved_as, "ema": ema, "probe__every": 2}
    whole = fine_tune(job_of(small_bagel, tmp_path / "whole", **settings), QUIET)
    fine_tune(job_of(small_bagel, tmp_path / "cut", **settings, steps=2), QUIET)
    # Killed in step 4: its line is there, its checkpoint is not.
    lines = (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "cut" / "metrics.jsonl").write_text("".join(lines[:3]) + '{"step": 3, "lo')
    again = fine_tune(job_of(small_bagel, tmp_path / "cut", **settings), QUIET)
    assert whole is not None and again is not None
    for name in ("ema.safetensors", "trainer/optimizer.safetensors"):
        ours, theirs = load_file(whole / name), load_file(again / name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), name
    for name in ("metrics.jsonl", "gradients.jsonl"):
        files = [tmp_path / run / name for run in ("whole", "cut")]
        assert files[0].read_bytes() == files[1].read_bytes()
    declared = json.loads((again / "pairuni.json").read_text())
    assert declared["step"] == 4
    assert declared["recipe"] == "pairuni by sft on tiny-bagel, seed 0"


def test_a_checkpoint_reloads_to_equal_velocities(small_bagel: Path, tmp_path: Path) -> None:
    job = job_of(small_bagel, tmp_path / "run", ema=0.0)
    setup = set_up(job, PAIRS, Accelerator(cpu=True), None)
    for step in range(2):
        setup.trainer.step(step)
    learner = setup.trainer.parts.learner
    learner.save(tmp_path / "saved", {"capabilities": ["understand", "generate"], "step": 2})
    again = load_model(str(tmp_path / "saved"), None, LoadOptions(device="cpu"))
    reloaded = again.learner(job.recipe.lessons)  # type: ignore[attr-defined]
    lessons = [one for unit in units_of(PAIRS, PAIRS, job.recipe, seed=0, step=9) for one in unit]
    prepared = learner.prepare(lessons[:4])
    ours, theirs = learner(prepared), reloaded(prepared)
    assert all(torch.equal(ours[task], theirs[task]) for task in ours)
    names = {path.name for path in (tmp_path / "saved").iterdir()}
    assert names >= {"ema.safetensors", "ae.safetensors", "llm_config.json", "tokenizer.json"}
    base = load_file(small_bagel / "ae.safetensors")
    kept = load_file(tmp_path / "saved" / "ae.safetensors")
    assert all(torch.equal(base[name], kept[name]) for name in base)


def test_what_is_taught_is_learned(checkpoint: Path, tmp_path: Path) -> None:
    trainer = trainer_of(checkpoint, tmp_path, steps=25, lr=3e-3, prompt_dropout=0.0)
    found = [result.metrics for result in trainer.steps(0)]
    first, last = found[:4], found[-4:]
    for task in ("und", "gen"):
        before, after = (sum(one[f"loss/{task}"] for one in some) for some in (first, last))
        assert after < 0.95 * before, task


def test_an_answer_of_janus_has_the_log_prob_of_its_policy(untrained: Path, tmp_path: Path) -> None:
    from pairuni_eval.decoding import Decoding
    from pairuni_eval.models.base import Request, Rollout, View

    model = load_model(str(untrained), None, LoadOptions(device="cpu"))
    learner = model.learner(LessonSettings(prompt_dropout=0.0))  # type: ignore[attr-defined]
    picture = world.render(world.Scene((world.Thing("circle", "red", 0, 0),)))
    lesson = Lesson("und", "What color is the circle?", picture, "red circle", 0)
    (one,) = learner.prepare([lesson])
    policy = model.policy  # type: ignore[attr-defined]
    ids = policy.processor.tokenizer.encode("red circle", add_special_tokens=False)
    tokens = torch.tensor([[*ids, policy.processor.tokenizer.eos_token_id]])
    asked = Request((picture, lesson.text), Decoding(temperature=1.0), 0, "")
    conditions = {"prompt": policy.encode("und", [asked]), "decoding": asked.decoding}
    mask = torch.ones_like(tokens, dtype=torch.bool)
    logp = policy(Rollout("und", tokens, mask, conditions, False), View(mask, torch.ones(1)))
    assert learner([one])["und"].item() == pytest.approx(-logp.logp_NT.sum().item(), rel=1e-5)
    assert one.over == 3


def test_a_dropped_prompt_is_another_lesson(checkpoint: Path) -> None:
    model = load_model(str(checkpoint), None, LoadOptions(device="cpu"))
    pair = PAIRS[0]
    assert pair.generation is not None
    picture = world.render(world.Scene(()))
    found = []
    for share in (0.0, 1.0):
        learner = model.learner(LessonSettings(prompt_dropout=share))  # type: ignore[attr-defined]
        values = [
            learner(learner.prepare([Lesson("gen", text, picture, "", 5)]))["gen"].item()
            for text in ("a red circle", "two blue squares")
        ]
        found.append(values)
    assert found[0][0] != found[0][1]
    assert found[1][0] == pytest.approx(found[1][1], rel=1e-6)


def test_an_average_follows_the_weights() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    average = WeightAverage({"w": weight}, 0.75)
    for value, expected in ((5.0, 2.0), (4.0, 2.5)):  # .75 * 1 + .25 * 5, .75 * 2 + .25 * 4
        weight.data.fill_(value)
        average.update()
        assert average.weights["w"].item() == pytest.approx(expected)


def test_halves_meet_as_the_ratio_says(checkpoint: Path, tmp_path: Path) -> None:
    trainer = trainer_of(checkpoint, tmp_path, pairs_per_step=2, ratio=[1, 3])
    tasks = [one.task for unit in trainer._units(0) for one in unit]
    assert (tasks.count("und"), tasks.count("gen")) == (2, 6)


def test_packs_hold_whole_units() -> None:
    def unit(*lengths: int) -> list[PreparedLesson]:
        return [PreparedLesson("und", length, 1.0, None) for length in lengths]

    packs = packs_of([unit(3, 4), unit(2, 1), unit(5, 5), unit(1)], 10)
    assert [[one.length for one in pack] for pack in packs] == [[3, 4, 2, 1], [5, 5], [1]]
    with pytest.raises(UserError, match="A pair takes 11 tokens, and a pack holds 10"):
        packs_of([unit(3), unit(6, 5)], 10)


def test_what_cannot_be_taught_is_refused(small_bagel: Path) -> None:
    with pytest.raises(UserError, match="answer_form says no answer"):
        recipe_of(small_bagel, answer_form="yes")
    with pytest.raises(UserError, match="thought_form says no thought"):
        recipe_of(small_bagel, thought_form="<think>")
    with pytest.raises(UserError, match="Did you mean 'tiny'"):
        find_sft_recipe("tini", {})


def test_an_answer_is_said_in_the_form_that_was_asked_for(small_bagel: Path) -> None:
    form = recipe_of(
        small_bagel,
        answer_form="<answer>{answer}</answer>",
        thought_form="<think>{thought}</think>",
        instruction="Say it.",
    )
    half = PAIRS[0].understanding
    assert half is not None
    thinking = replace(half, facts={**half.facts, "thought": "red circle"})
    pairs = [PAIRS[0], replace(PAIRS[0], understanding=thinking)]
    (plain,), (thought,) = units_of(pairs, (), form, seed=0, step=0)
    assert plain.answer == f"<answer>{half.answer}</answer>"
    assert thought.answer == f"<think>red circle</think><answer>{half.answer}</answer>"
    assert plain.text == f"{half.question}\nSay it."


def test_shipped_recipes_are_read() -> None:
    assert {"bagel", "tiny", "tiny-bagel", "tiny-names", "janus-pro-1b"} == set(sft_recipe_names())
    official = find_sft_recipe("bagel", {})
    assert (official.eps, official.betas, official.ema) == (1e-15, (0.9, 0.95), 0.9999)
    assert (official.pack_tokens, official.time_shift, official.warmup) == (10_240, 1.0, 2000)
    assert (official.lr, official.max_grad_norm, official.ratio) == (2e-5, 1.0, (1, 1))


def test_a_finished_run_is_left_as_it_is(small_bagel: Path, tmp_path: Path) -> None:
    job = job_of(small_bagel, tmp_path / "run", steps=1, checkpoint_every=1)
    fine_tune(job, QUIET)
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    fine_tune(job, QUIET)
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before
    last = last_checkpoint(tmp_path / "run")
    assert last is not None and last.step == 1
    shutil.rmtree(last.folder)
