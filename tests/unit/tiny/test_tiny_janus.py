"""The tiny model's tokenizer, processor, folder and training recipe."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import AutoProcessor

from pairuni_eval import prompts as forms
from pairuni_eval.tiny import edits, janus, knowledge, prompts, question_rows, questions, world
from pairuni_train.tiny_pretraining import PretrainConfig, pretrain
from pairuni_train.tiny_pretraining.optimizers import build_optimizers, orthogonal, rate_share
from pairuni_train.tiny_pretraining.run import Lessons, train_model

SMALL = janus.TinySize(hidden=32, layers=1, heads=2, feed_forward=32, vision_hidden=32)


@pytest.fixture(scope="module")
def tiny() -> janus.Tiny:
    """An untrained model of the smallest size."""
    return janus.build(0, SMALL)


def _texts(rng: random.Random) -> list[str]:
    _, question = questions.random_question(rng)
    scene, said = questions.random_statement(rng)
    _, edit = edits.random_edit(rng)
    return [
        forms.mmmu_prompt(question.text, question.options("B")),
        forms.mmmu_prompt(f"<image 1> {question.text}", ()),
        forms.mmstar_prompt(question_rows.mmstar_text(question, "D")),
        forms.mme_prompt(question_rows.mme_text(said)),
        forms.pope_prompt(question_rows.pope_text("orange cross")),
        question.answer,
        edit.prompt,
        prompts.grid_words(scene, "color"),
    ]


def test_the_tokenizer_knows_every_word_of_the_world(tiny: janus.Tiny) -> None:
    tokenizer = tiny.processor.tokenizer
    rng = random.Random(0)
    texts = [text for _ in range(200) for text in _texts(rng)]
    texts += [row["prompt"] for tag in prompts.TAGS for row in prompts.geneval_rows(tag)]
    known = (*knowledge.plain_prompts(), *knowledge.knowledge_benchmark())
    texts += [prompt.row["Prompt"] for prompt in known]
    unknown = tokenizer.unk_token_id
    assert [text for text in texts if unknown in tokenizer(text)["input_ids"]] == []
    assert unknown in tokenizer("a zebra")["input_ids"]


def test_option_letters_are_not_the_article(tiny: janus.Tiny) -> None:
    tokenizer = tiny.processor.tokenizer
    ids = tokenizer("(A) a red circle", add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["(", "A", ")", "a", "red", "circle"]
    assert tokenizer.decode(ids[1]) == "A"


def test_chat_is_the_chat_template(tiny: janus.Tiny) -> None:
    parts = [{"type": "image"}, {"type": "text", "text": "What?"}]
    message = [{"role": "user", "content": parts}]
    templated = tiny.processor.apply_chat_template(
        message, add_generation_prompt=True, tokenize=False
    )
    assert templated == janus.chat("What?", images=1)
    assert templated == "<|User|>: <image_placeholder>\nWhat?\n\n<|Assistant|>:"


def test_pixel_values_are_the_processors(tiny: janus.Tiny) -> None:
    pictures = [world.render(world.random_scene(random.Random(seed))) for seed in range(3)]
    theirs = tiny.processor.image_processor(pictures, return_tensors="pt")["pixel_values"]
    assert torch.allclose(janus.pixel_values(pictures), theirs, atol=1e-6)


def test_a_folder_is_read_back_bit_for_bit(tiny: janus.Tiny, tmp_path: Path) -> None:
    janus.save(tiny, tmp_path, recipe="test", step=1)
    again = janus.load(tmp_path)
    theirs = again.model.state_dict()
    for name, tensor in tiny.model.state_dict().items():
        assert torch.equal(tensor, theirs[name]), name
    boi = tiny.processor.tokenizer.convert_tokens_to_ids(janus.BOI)
    assert again.model.generation_config.generation_kwargs == {"boi_token_id": boi}
    processor = AutoProcessor.from_pretrained(tmp_path)
    text, picture = janus.chat("Is there a cross?", images=1), world.render(world.Scene(()))
    ours, loaded = (
        tiny.processor(text=text, images=[picture]),
        processor(text=text, images=[picture]),
    )
    assert torch.equal(torch.as_tensor(ours["input_ids"]), torch.as_tensor(loaded["input_ids"]))


def test_transformers_generate_draws_and_answers(tiny: janus.Tiny) -> None:
    inputs = tiny.processor(
        text=[janus.chat("a photo of a circle")], generation_mode="image", return_tensors="pt"
    )
    codes = tiny.model.generate(
        **inputs, generation_mode="image", do_sample=True, top_k=0, guidance_scale=3.0
    )
    assert codes.shape == (1, world.CELLS)
    assert tiny.model.decode_image_tokens(codes).shape == (1, world.SIZE, world.SIZE, 3)


def test_same_seed_same_model() -> None:
    first, second = janus.build(5, SMALL).model, janus.build(5, SMALL).model
    for one, two in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, two)


def test_orthogonal_brings_singular_values_near_one() -> None:
    matrices = torch.randn(3, 8, 20, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonal(matrices))
    assert values.min() > 0.5
    assert values.max() < 1.5


def test_the_learning_rate_warms_up_and_ends_at_zero() -> None:
    cfg = PretrainConfig(steps=100, warmup=0.1)
    shares = [rate_share(step, cfg) for step in range(101)]
    assert shares[0] == 0.1
    assert max(shares) == shares[9] == 1.0
    assert shares[100] == 0.0


def test_pretraining_learns_and_writes_a_folder(tmp_path: Path) -> None:
    cfg = PretrainConfig(
        steps=6, vq_steps=4, vq_batch=4, batch_scale=0.1, save_every=4, threads=1, size=SMALL
    )
    trained = pretrain(cfg, tmp_path)
    assert (tmp_path / "pairuni.json").is_file()
    assert (tmp_path / "step-4" / "model.safetensors").is_file()
    again = pretrain(cfg, tmp_path / "more", resume=tmp_path / "step-4")
    assert janus.step_of(tmp_path / "more") == 6
    state = again.model.state_dict()
    for name, tensor in trained.model.state_dict().items():
        assert torch.equal(tensor, state[name]), name  # it ends as if it had never been stopped
    rows_KD = trained.model.model.vqmodel.quantize.embedding.weight
    assert torch.allclose(rows_KD.norm(dim=-1), torch.ones(len(rows_KD)), atol=1e-5)


def test_training_lowers_the_loss() -> None:
    cfg = PretrainConfig(steps=30, batch_scale=0.1, size=SMALL)
    tiny = janus.build(0, SMALL)
    lessons = Lessons(tiny, build_optimizers(tiny.model, cfg))
    losses = [loss.sum() for _, loss in train_model(lessons, cfg)]
    assert losses[-1] < 0.8 * losses[0]


def test_the_shipped_folder_is_small_complete_and_of_this_vocabulary() -> None:
    folder = janus.shipped()
    assert sum(path.stat().st_size for path in folder.iterdir()) < 12_000_000
    tiny = janus.load(folder)
    assert tiny.processor.tokenizer.get_vocab() == janus.vocabulary()
    assert janus.step_of(folder) > 0


@torch.no_grad()
def test_the_shipped_vq_redraws_scenes_exactly() -> None:
    vq = janus.load(janus.shipped()).model.model.vqmodel
    rng = random.Random(0)
    scenes = [world.random_scene(rng) for _ in range(30)]
    codes = vq.encode(janus.pixel_values([world.render(scene) for scene in scenes])).image_tokens
    pixels = ((vq.decode(codes.view(30, -1)) + 1) * 127.5).round().clamp(0, 255)
    drawn = [Image.fromarray(one) for one in pixels.permute(0, 2, 3, 1).byte().numpy()]
    assert [world.read(image) for image in drawn] == scenes
