"""The tiny Lumina-DiMOO and its lessons: rows hide what they ask for, and a run goes on."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from pairuni_eval.adapters import load_model
from pairuni_eval.models.base import LoadOptions
from pairuni_eval.models.lumina_dimoo import prompts
from pairuni_eval.tiny import dimoo, world
from pairuni_train.tiny_pretraining.config import NameLessons
from pairuni_train.tiny_pretraining.curriculum import ORDER, WEIGHTS, Example, Turn
from pairuni_train.tiny_pretraining.dimoo_rows import DimooRows
from pairuni_train.tiny_pretraining.dimoo_run import DimooPretrainConfig, pretrain_dimoo

SMALL = dimoo.TinyDimooSize(hidden=32, layers=1, heads=2, feed_forward=32, vq_channels=8)
SCENE = world.Scene((world.Thing("circle", "red", 0, 0), world.Thing("cross", "blue", 3, 1)))


@pytest.fixture(scope="module")
def made() -> dimoo.TinyDimoo:
    return dimoo.build(0, SMALL)


def rows_of(made: dimoo.TinyDimoo, example: Example, **settings: float) -> list[list[int]]:
    """Forty draws of a row: its tokens with what was hidden put back."""
    cfg = DimooPretrainConfig(**settings)  # type: ignore[arg-type]
    maker, rng, found = DimooRows(made, cfg, dict.fromkeys(WEIGHTS, 1.0)), random.Random(0), []
    mask = made.config.ids.mask
    for _ in range(40):
        (batch,) = maker.batches([example], rng)
        assert (batch.ids_RT[batch.row_H, batch.place_H] == mask).all()
        assert int((batch.ids_RT == mask).sum()) == len(batch.row_H) > 0
        # Of an answer the words weigh 0.9 and the end 0.1; either may be all that is hidden.
        assert round(float(batch.weight_H.sum()), 5) in {0.1, 0.9, 1.0}
        batch.ids_RT[batch.row_H, batch.place_H] = batch.wanted_H
        found.append(batch.ids_RT[0].tolist())
    return found


def test_a_question_is_the_adapters_layout_with_its_answer(made: dimoo.TinyDimoo) -> None:
    turn = Turn("mme", "Is there a red circle in the image?", "<think>red circle</think> yes")
    layout, ids = made.layout, made.config.ids
    said = layout.plain(turn.answer or "")
    assert len(said) == 5
    first, *others = rows_of(made, Example((turn,), SCENE))
    assert all(row == first for row in others)
    shown = layout.with_pictures(layout.words(prompts.ask(turn.text)), [dimoo.codes_of(SCENE)])
    padded = (*said, ids.answer_end, ids.pad, ids.pad)
    assert first == [*shown, ids.answer_start, *padded, ids.answer_end]


def test_a_prompt_is_dropped_now_and_then_and_what_is_drawn_is_the_scene(
    made: dimoo.TinyDimoo,
) -> None:
    example = Example((Turn("colors", "a photo of a red circle"),), drawing=SCENE)
    bare = made.config.ids.uncondition
    rows = rows_of(made, example, prompt_dropout=0.5)
    dropped = [row for row in rows if bare in row]
    assert 8 < len(dropped) < 32
    assert not any(bare in row for row in rows_of(made, example, prompt_dropout=0.0))
    tail = made.layout.drawing(dimoo.GRID, dimoo.codes_of(SCENE)).ids
    assert all(tuple(row[-len(tail) :]) == tail for row in rows)


def test_lessons_are_numbered_as_for_janus(made: dimoo.TinyDimoo) -> None:
    cfg = DimooPretrainConfig()
    example = Example((Turn("colors", "a photo of a red circle"),), drawing=SCENE)
    (batch,) = DimooRows(made, cfg, WEIGHTS).batches([example], random.Random(0))
    assert set(batch.lesson_H.tolist()) == {ORDER["colors"]}
    assert batch.weight_H.sum() == pytest.approx(WEIGHTS["colors"])


def test_a_run_goes_on_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dimoo, "TinyDimooSize", lambda: SMALL)
    cfg = DimooPretrainConfig(
        steps=5, drawing_steps=2, vq_steps=2, vq_batch=2, batch_scale=0.1, drawing_rows=1.0,
        save_every=3, names=NameLessons(talks=10, drawings=10),
    )  # fmt: skip
    whole = pretrain_dimoo(cfg, tmp_path / "whole")
    again = pretrain_dimoo(cfg, tmp_path / "again", resume=tmp_path / "whole" / "step-3")
    # What lies beside its weights does not keep a checkpoint from being loaded.
    middle = load_model(str(tmp_path / "whole" / "step-3"), None, LoadOptions(device="cpu"))
    assert middle.identity.step == 3
    state = again.network.state_dict()
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, state[name]), name
