"""The tiny BAGEL and its lessons: rows ask what packs of the adapter ask, and a run goes on."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from pairuni_eval.adapters import load_model
from pairuni_eval.decoding import Decoding
from pairuni_eval.models.bagel.adapter import BagelModel
from pairuni_eval.models.bagel.contexts import Marks
from pairuni_eval.models.bagel.loading import MARKS
from pairuni_eval.models.bagel.packing import (
    LatentPicture,
    Sample,
    SeenPicture,
    Words,
    pack,
)
from pairuni_eval.models.bagel.pictures import patches, places, to_images, unpatched
from pairuni_eval.models.bagel.supervised import losses
from pairuni_eval.models.base import LoadOptions, Request
from pairuni_eval.models.checkpoint import find_folder
from pairuni_eval.records import Capability
from pairuni_eval.tiny import bagel, janus, world
from pairuni_train.tiny_pretraining.bagel_rows import BagelRowMaker
from pairuni_train.tiny_pretraining.bagel_run import (
    RECIPE,
    BagelPretrainConfig,
    bagel_losses,
    encoded,
    pretrain_bagel,
)
from pairuni_train.tiny_pretraining.bagel_warm_start import warm_start
from pairuni_train.tiny_pretraining.batches import pixels_of
from pairuni_train.tiny_pretraining.curriculum import ORDER, WEIGHTS, Example, Turn
from pairuni_train.tiny_pretraining.optimizers import rate_share
from pairuni_train.tiny_pretraining.picture_codes import random_states
from pairuni_train.tiny_pretraining.picture_latents import state_codes, train_autoencoder

SMALL = bagel.TinyBagelSize(
    hidden=32, layers=2, heads=2, feed_forward=48, vision_hidden=16, vision_layers=1,
    vision_feed_forward=24,
)  # fmt: skip
SCENE = world.Scene((world.Thing("circle", "red", 0, 0), world.Thing("cross", "blue", 3, 1)))
OTHER = world.Scene((world.Thing("circle", "red", 0, 0),))
ASKED = (
    Turn("mme", "Is there a red circle in the image?", "yes"),
    Turn("open", "What color is the cross?", "blue"),
    Turn("mme", "Is there a green cross?", "no"),
)
PLAIN = BagelPretrainConfig(prompt_dropout=0.0, unknown_words=0.0)


@pytest.fixture(scope="module")
def made() -> bagel.TinyBagel:
    return bagel.build(0, SMALL)


def words(made: bagel.TinyBagel, text: str, *, taught: bool = False) -> Words:
    return Words(made.tokenizer.encode(text, add_special_tokens=False).ids, taught)


def seen(made: bagel.TinyBagel, scene: world.Scene) -> SeenPicture:
    pixels = pixels_of(world.states_of(scene)[None])
    return SeenPicture(patches(pixels, 8)[0], places((4, 4), made.config.vision_side))


def marks(made: bagel.TinyBagel) -> Marks:
    return Marks(*map(made.tokenizer.token_to_id, MARKS))


def test_questions_side_by_side_are_asked_as_alone(made: bagel.TinyBagel) -> None:
    rows = BagelRowMaker(made, PLAIN, 0, 2.0).rows([Example(ASKED, SCENE)], random.Random(0))
    found = bagel_losses(made, rows, torch.Generator())
    alone = {}
    for turn in ASKED:
        sample: Sample = (
            seen(made, SCENE), words(made, turn.text), words(made, turn.answer or "", taught=True)
        )  # fmt: skip
        word, end = losses(made.network, pack([sample], marks(made))).words_E.tolist()
        alone.setdefault(turn.lesson, []).append(0.9 * word + 0.1 * end)
    assert found.nonzero()[:, 0].tolist() == sorted(ORDER[one] for one in alone)
    for lesson, values in alone.items():
        mean = sum(values) / len(values)
        assert found[ORDER[lesson]].item() == pytest.approx(WEIGHTS[lesson] * mean, rel=1e-4)


@pytest.mark.parametrize("edits", [False, True])
def test_noises_side_by_side_are_drawn_as_alone(made: bagel.TinyBagel, edits: bool) -> None:
    lesson = "add" if edits else "colors"
    one = Example((Turn(lesson, "a red circle"),), SCENE if edits else None, OTHER)
    rows = BagelRowMaker(made, PLAIN, 3, 2.0).rows([one], random.Random(1))
    found = bagel_losses(made, rows, torch.Generator().manual_seed(5))

    noise = torch.Generator().manual_seed(5)
    drawing = encoded(made, rows.drawings_RN, noise)[0]
    noises = torch.randn(3, *drawing.shape, generator=noise)
    place = places((4, 4), made.config.latent_side)
    before: list[object] = []
    if edits:
        source = encoded(made, rows.sources_RN, noise)[0]
        before = [LatentPicture(source, place), seen(made, SCENE)]
    errors = []
    for time, drawn in zip(rows.times_RK[0].tolist(), noises, strict=True):
        target = LatentPicture(drawing, place, time, drawn)
        sample = (*before, words(made, "a red circle"), target)
        errors.append(losses(made.network, pack([sample], marks(made))).velocities_TC.mean())  # type: ignore[arg-type]
    wanted = WEIGHTS[lesson] * torch.stack(errors).mean()
    assert found[ORDER[lesson]].item() == pytest.approx(wanted.item(), rel=1e-4)
    assert found.count_nonzero() == 1


def test_a_dropped_condition_is_not_there_at_all(made: bagel.TinyBagel) -> None:
    always = BagelPretrainConfig(prompt_dropout=1.0)
    kinds = set()
    one = Example((Turn("add", "a red circle"),), SCENE, OTHER)
    for seed in range(12):
        rows = BagelRowMaker(made, always, 1, 2.0).rows([one], random.Random(seed))
        there = rows.tokens_5RL[4, 0] == 0
        # Marks and latents of the noise are 18 tokens; source and its sight 36; the text 5.
        kinds.add((int(there.sum()), int(rows.tokens_5RL[0, 0, 0])))
    assert kinds == {(18 + 36, 2), (18 + 5, 5)}


def test_codes_of_states_are_far_apart_and_learned(made: bagel.TinyBagel) -> None:
    codes = state_codes()
    assert codes.shape == (world.STATES, made.config.token)
    apart = torch.cdist(codes, codes) + 9 * torch.eye(len(codes))
    assert float(apart.min()) > 2.5
    assert codes[1:, 2:].sum(1).abs().max() < 1e-6
    fresh = bagel.build(1, SMALL)
    cfg = BagelPretrainConfig(vq_steps=12, vq_batch=2)
    found = [loss for _, loss in train_autoencoder(fresh.autoencoder, cfg)]
    assert np.mean(found[-3:]) < 0.7 * np.mean(found[:3])
    grid = unpatched(codes[torch.zeros(1, 16, dtype=torch.long)], (4, 4), 2)
    assert fresh.autoencoder.decode(grid).shape == (1, 3, world.SIZE, world.SIZE)


def test_a_warm_start_reads_pictures_and_words_as_janus_does() -> None:
    made, tiny = bagel.build(3), janus.load(janus.shipped())
    warm_start(made, tiny)
    pixels = pixels_of(world.states_of(SCENE)[None])
    theirs = tiny.model.model.get_image_features(pixels).pooler_output[0]
    side = made.config.vision_side
    ours = made.network.seen(patches(pixels, 8), places((4, 4), side))[0]
    ours = ours - made.network.vit_pos_embed.pos_embed[places((4, 4), side)]
    assert float((ours - theirs).detach().abs().max()) < 0.02  # the two forms of gelu
    red, same = made.tokenizer.token_to_id("red"), tiny.processor.tokenizer.get_vocab()["red"]
    embedding = tiny.model.get_input_embeddings().weight
    assert torch.equal(made.network.experts.embed_tokens.weight[red], embedding[same])
    layer = made.network.experts.layers[2]
    their_layer = tiny.model.model.language_model.layers[2]
    for kind in ("", "_moe_gen"):
        mlp, attention = layer.get_submodule(f"mlp{kind}"), layer.self_attn
        assert torch.equal(mlp.down_proj.weight, their_layer.mlp.down_proj.weight)  # type: ignore[union-attr]
        query = attention.get_submodule(f"q_proj{kind}")
        assert torch.equal(query.weight, their_layer.self_attn.q_proj.weight)  # type: ignore[arg-type]
        assert query.bias.count_nonzero() == 0  # type: ignore[union-attr, operator]


def test_rates_hold_before_they_fall() -> None:
    cfg = BagelPretrainConfig(steps=100, warmup=0.05)
    shares = [rate_share(step, cfg, hold=0.4) for step in (0, 4, 39, 40, 70, 99)]
    assert shares == pytest.approx([0.2, 1.0, 1.0, 1.0, 0.5, 1 / 60])
    assert rate_share(52, cfg) == pytest.approx(48 / 95)  # without, from the warm-up on


def test_a_run_goes_on_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bagel, "TinyBagelSize", lambda: SMALL)
    cfg = BagelPretrainConfig(
        steps=4, vq_steps=2, vq_batch=2, save_every=2, start="nothing",
        scales=dict.fromkeys(("choice", "short", "dense", "draw", "edit"), 0.1),
    )  # fmt: skip
    whole = pretrain_bagel(cfg, tmp_path / "whole")
    again = pretrain_bagel(cfg, tmp_path / "again", resume=tmp_path / "whole" / "step-2")
    state = again.network.state_dict()
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, state[name]), name


def test_the_shipped_weights_answer_draw_and_keep_every_cell() -> None:
    folder = find_folder("tiny-bagel")
    assert sum(path.stat().st_size for path in folder.iterdir()) < 8_000_000
    model = load_model("tiny-bagel", None, LoadOptions(device="cpu"))
    assert isinstance(model, BagelModel)
    assert model.identity.dtype == "float32" and model.identity.recipe == RECIPE
    questions = [
        ("Is there a red circle in the image?", "yes"),
        ("What color is the cross?", "blue"),
    ]
    say = model.decoding(Capability.UNDERSTAND, "", Decoding())
    requests = [Request((world.render(SCENE), text), say, 0, text) for text, _ in questions]
    assert [one.text for one in model.answer(requests)] == [answer for _, answer in questions]
    draw = model.decoding(Capability.GENERATE, "", Decoding())
    asked = [Request(("a photo of a red circle",), draw, seed, str(seed)) for seed in range(4)]
    drawn = [world.read(reply.image) for reply in model.draw(asked) if reply.image]
    assert sum(bool(scene.select("circle", "red")) for scene in drawn) >= 3
    states = random_states(np.random.default_rng(1), 8)
    moments = model.loaded.autoencoder.moments(pixels_of(states))
    latents = model.loaded.autoencoder.drawn(moments, torch.zeros_like(moments.chunk(2, dim=1)[0]))
    made = to_images(model.loaded.autoencoder.decode(latents))
    shown = world.states_shown(np.stack([np.asarray(one) for one in made]))
    assert np.array_equal(shown, states)
