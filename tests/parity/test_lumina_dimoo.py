"""The official code of Lumina-DiMOO on tiny random weights, against ours: number by number.

The recorded arrays are described beside them, in shared/data/models/lumina_dimoo/README.md. Uniform
numbers of sampled cases were recorded, so every draw can be repeated. No choice was closer than
1.7e-3, so rounding flips none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from pairuni_eval.models.lumina_dimoo import prompts
from pairuni_eval.models.lumina_dimoo.cache import CachedLogits, CachePlan
from pairuni_eval.models.lumina_dimoo.config import DimooConfig, TokenIds, read_dimoo_config
from pairuni_eval.models.lumina_dimoo.image_sampler import (
    FreshLogits,
    ImagePlan,
    LogitSource,
    draw_codes,
    draw_weights,
    edit_weights,
    guided_sum,
)
from pairuni_eval.models.lumina_dimoo.layout import CodeGrid, Layout, Tail
from pairuni_eval.models.lumina_dimoo.masked_batch import Branches, masked_batch
from pairuni_eval.models.lumina_dimoo.network import Network, VocabularySlice
from pairuni_eval.models.lumina_dimoo.noise import gumbel
from pairuni_eval.models.lumina_dimoo.pictures import Size, crop_sizes, cropped, nearest_size
from pairuni_eval.models.lumina_dimoo.text_sampler import TextPlan, fill_text
from pairuni_eval.models.lumina_dimoo.vq import Vq, to_bytes
from pairuni_eval.models.tokenizer_file import read_tokenizer

LOGITS = 1e-4
Arrays = Mapping[str, "np.ndarray[Any, Any]"]
DRAWINGS = (
    *("t2i_one_step_greedy", "t2i_greedy_cfg4", "t2i_sampled_nocfg", "t2i_sampled_cfg4"),
    *("t2i_wide_sampled_cfg4", "t2i_temperature_half", "t2i_more_steps_than_tokens", "t2i_cache"),
    *("t2i_cache_greedy", "t2i_inpaint", "t2i_outpaint", "i2i_greedy", "i2i_sampled"),
    *("i2i_text_cfg_only", "i2i_no_cfg", "i2i_reference"),
)
ANSWERS = (
    *("text_one_token_vlmevalkit", "text_two_steps", "text_blocks", "text_uneven"),
    *("text_blocks_cfg", "text_sampled", "text_script_layout"),
)


class Recorded(NamedTuple):
    """What the official code gave, and our modules with its weights."""

    folder: Path
    config: DimooConfig
    network: Network
    vq: Vq
    layout: Layout

    def arrays(self, name: str) -> Arrays:
        with np.load(self.folder / "cases" / f"{name}.npz") as found:
            return dict(found)

    def table(self, name: str) -> Any:
        return json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))

    @property
    def codes(self) -> VocabularySlice:
        ids = self.config.ids
        return VocabularySlice(ids.image_offset, ids.image_offset + ids.codebook_size)

    def picture(self, name: str) -> list[list[int]]:
        codes: list[list[int]] = self.arrays("vq")[f"{name}_codes"].tolist()
        return codes


@pytest.fixture(scope="module")
def recorded(shared: Path) -> Recorded:
    folder = shared / "data" / "models" / "lumina_dimoo"
    if not folder.is_dir():
        pytest.skip(f"no recorded outputs of Lumina-DiMOO in {folder}")
    checkpoint = folder / "checkpoint"
    config = read_dimoo_config(checkpoint)
    network, vq = Network(config.network), Vq(config.vq)
    network.load_state_dict(load_file(checkpoint / "model.safetensors"))
    vq.load_state_dict(load_file(checkpoint / "vqvae" / "diffusion_pytorch_model.safetensors"))
    layout = Layout(read_tokenizer(checkpoint), config.ids, checkpoint)
    return Recorded(folder, config, network.eval(), vq.eval(), layout)


class RecordedNoise:
    """Uniform numbers in the order in which the official samplers drew them."""

    def __init__(self, arrays: Arrays):
        self._arrays = arrays

    def _uniform(self, number: int) -> Tensor:
        return torch.from_numpy(self._arrays[f"u_{number}"])

    def codes(self, step: int, index_BP: Tensor, logits_BPV: Tensor, temperature: float) -> Tensor:
        return (logits_BPV / temperature + gumbel(self._uniform(2 * step))).argmax(-1)

    def ranks(self, step: int, index_BP: Tensor) -> Tensor:
        return gumbel(self._uniform(2 * step + 1))

    def words(self, step: int, logits_BNV: Tensor, temperature: float) -> Tensor:
        waits = (-self._uniform(step).log()) ** temperature
        return (logits_BNV.double().exp() / waits).argmax(-1)


def said_of(name: str, text: str) -> prompts.Said:
    if name == "und":
        return prompts.ask(text)
    return prompts.draw(text) if name.startswith("t2i") else prompts.edit(text, name[4:])


def test_prompts_are_framed_as_officially(recorded: Recorded) -> None:
    for name, one in recorded.table("prompts").items():
        said = said_of(name, one["text"])
        assert list(recorded.layout.words(said)) == one["ids"], name
        if "uncond_ids" in one:
            assert list(recorded.layout.unconditional(said)) == one["uncond_ids"], name


def test_layouts_have_the_ids_of_the_full_vocabulary(recorded: Recorded) -> None:
    real = recorded.table("real_ids")
    ids, text = TokenIds(), tuple(real["text_ids"])
    layout = object.__new__(Layout)  # of other ids than the recorded tokenizer's
    layout.ids = ids
    picture = [[0, 38, 0], [41, 36, 54]]
    drawn = layout.drawing(CodeGrid(*real["grid"]))
    assert [*text, *drawn.ids] == real["t2i"]
    assert list(layout.picture(picture)) == real["image_sequence"]
    asked = layout.with_pictures(text, [picture])
    assert [*asked, *layout.single(16).ids] == real["und_vlmevalkit_gen16"]
    assert [*asked, *layout.answer(4).ids] == real["und_plain_gen4"]
    special = real["special_tokens_config_py"]
    assert (ids.mask, ids.newline, ids.boi, ids.eoi, ids.uncondition) == tuple(
        special[key] for key in ("mask_token", "newline_token", "boi", "eoi", "uncondition")
    )
    assert ids.image_offset == special["image_token_offset"]
    assert (ids.answer_start, ids.answer_end) == (special["answer_start"], special["answer_end"])


def test_schedules_are_the_official_ones(recorded: Recorded) -> None:
    real = recorded.table("real_ids")
    for key, left in real["schedule"].items():
        masked, steps = map(int, key.strip("()").split(","))
        assert list(ImagePlan(masked, steps, 1.0, (1.0,)).schedule) == left
    for key, quota in real["transfer"].items():
        tokens, steps = map(int, key.strip("()").split(","))
        assert list(TextPlan(tokens, tokens, steps, 0.0).quotas[0]) == quota


def test_sizes_of_pictures_are_the_official_ones(recorded: Recorded) -> None:
    geometry = recorded.table("geometry")
    for side in (512, 1024):
        assert [list(one) for one in crop_sizes(side, 32)] == geometry[f"crop_list_{side}"]
    for choice in geometry["choices"]:
        chosen = nearest_size(Size(*choice["input"]), crop_sizes(choice["target"], 32))
        assert list(chosen) == choice["chosen"]


def test_the_middle_is_cut_out_where_the_official_code_draws_a_place(recorded: Recorded) -> None:
    arrays = recorded.arrays("crop")
    height, width = arrays["seed_0"].shape[:2]
    found = np.array(cropped(Image.fromarray(arrays["pixels_u8"]), Size(width, height)))
    # All are rows of one scaled picture, 45 of them: ours begin at the sixth.
    for seed in range(3):
        theirs = arrays[f"seed_{seed}"]
        assert any(
            np.array_equal(_shifted(found, -rows), _shifted(theirs, rows)) for rows in range(-6, 8)
        )


def _shifted(picture: np.ndarray[Any, Any], rows: int) -> np.ndarray[Any, Any]:
    """A picture without some rows: the first ones, or with a number below 0 the last ones."""
    return picture[rows:] if rows > 0 else picture[: len(picture) + rows]


@pytest.mark.parametrize("name", ["square", "wide", "tall"])
def test_pictures_become_the_recorded_codes_and_codes_pictures(
    recorded: Recorded, name: str
) -> None:
    arrays = recorded.arrays("vq")
    pixels = torch.from_numpy(arrays[f"{name}_pixels_u8"]).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        latents = recorded.vq.latents(pixels)
    assert np.abs(latents.numpy() - arrays[f"{name}_latents"]).max() < LOGITS
    codes = recorded.vq.encode(pixels)
    assert np.array_equal(codes[0].numpy(), arrays[f"{name}_codes"])
    assert list(recorded.layout.picture(codes[0].tolist())) == arrays[f"{name}_sequence"].tolist()
    drawn = recorded.vq.decode(codes)
    assert np.abs(drawn.numpy() - arrays[f"{name}_decoded_raw"]).max() < LOGITS
    assert _levels(to_bytes(drawn)[0], arrays[f"{name}_decoded_u8"]) <= 1


def _levels(pixels: Tensor, wanted: np.ndarray[Any, Any]) -> int:
    return int(np.abs(pixels.numpy().astype(int) - wanted).max())


@torch.no_grad()
def test_logits_and_hidden_states_are_the_recorded_ones(recorded: Recorded) -> None:
    arrays = recorded.arrays("forward_text_image")
    ids = torch.from_numpy(arrays["ids"])
    assert np.abs(recorded.network(ids).numpy() - arrays["logits"]).max() < LOGITS
    assert np.abs(recorded.network.hidden(ids)[0].numpy() - arrays["hidden"][2]).max() < LOGITS


@torch.no_grad()
def test_a_padded_row_has_the_logits_it_has_alone(recorded: Recorded) -> None:
    arrays = recorded.arrays("forward_padded")
    short, long = (torch.from_numpy(arrays[f"ids_{name}"][0]) for name in ("short", "long"))
    ids, keep = (
        torch.zeros(2, len(long), dtype=torch.long),
        torch.ones(2, len(long), dtype=torch.bool),
    )
    for place in (slice(0, len(short)), slice(len(long) - len(short), None)):
        ids[:], keep[1] = 0, False
        ids[0], ids[1, place], keep[1, place] = long, short, True
        found = recorded.network(ids, keep)[1, place].numpy()
        assert np.abs(found - arrays["logits_short_alone"][0]).max() < LOGITS


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawings_and_edits_are_the_recorded_ones(recorded: Recorded, name: str) -> None:
    case, arrays = recorded.table("cases")[name], recorded.arrays(name)
    ids, grid = recorded.config.ids, CodeGrid(*case["grid"])
    asked, weights = _branches(recorded, name, case, arrays, grid)
    batch = masked_batch([asked], "cpu")
    masked = int((arrays["start"] == ids.mask).sum())
    plan = ImagePlan(masked, case["timesteps"], case["temperature"], weights)
    assert len(plan.schedule) == case["steps_run"]
    source: LogitSource = FreshLogits(recorded.network, recorded.codes)
    if case.get("use_cache"):
        reuse = CachePlan(case["cache_ratio"], case["warmup_ratio"], case["refresh_interval"])
        source = CachedLogits(recorded.network, recorded.codes, case["timesteps"], reuse)
    drawn = draw_codes(
        *(source, batch, plan, RecordedNoise(arrays)), mask=ids.mask, offset=ids.image_offset
    )
    assert drawn.codes_BN.tolist() == (arrays["vq_ids"] - ids.image_offset).tolist()
    kept = drawn.trace_BN[0] >= 0
    assert drawn.trace_BN[0, kept].tolist() == arrays["trace"].tolist()
    if case["temperature"] == 1:
        off = drawn.logp_BN[0, kept].numpy() - arrays["trace_logp_guided"]
        assert np.abs(off).max() < LOGITS
    picture = to_bytes(recorded.vq.decode(drawn.codes_BN.view(1, *grid)))[0]
    assert _levels(picture, arrays["image_u8"]) <= 1


def _branches(
    recorded: Recorded, name: str, case: Mapping[str, Any], arrays: Arrays, grid: CodeGrid
) -> tuple[Branches, tuple[float, ...]]:
    """A recorded case as our sequences, which are equal to the official ones."""
    layout, ids = recorded.layout, recorded.config.ids
    said = said_of(case["prompt"], recorded.table("prompts")[case["prompt"]]["text"])
    words, bare = layout.words(said), layout.unconditional(said)
    start, first = arrays["start"][0], int(arrays["code_start"])
    rows = start[first:-2].reshape(grid.height, grid.width + 1)[:, :-1]
    known = [
        [-1 if one == ids.mask else int(one) - ids.image_offset for one in row] for row in rows
    ]
    if name.startswith("i2i"):
        shown = [one for one in (case["reference"], case["source"]) if one]
        codes = [recorded.picture(one) for one in shown]
        weights = edit_weights(case["cfg_scale"], case["cfg_img"])
        prefixes = (layout.with_pictures(words, codes), layout.with_pictures(bare, codes), words)
        assert list(prefixes[1]) == arrays["uncond_text_prefix"].tolist()
        assert list(prefixes[2]) == arrays["uncond_image_prefix"].tolist()
    else:
        weights, prefixes = draw_weights(case["cfg_scale"]), (words, bare)
        assert list(prefixes[1]) == arrays["uncond_prefix"].tolist()
    asked = Branches(prefixes[: len(weights)], layout.drawing(grid, known))
    assert [*asked.prefixes[0], *asked.tail.ids] == start.tolist()
    return asked, weights


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_are_the_recorded_ones(recorded: Recorded, name: str) -> None:
    case, arrays = recorded.table("cases")[name], recorded.arrays(name)
    prefix, tail = _question(recorded, case, arrays)
    assert [*prefix, *tail.ids] == arrays["start"][0].tolist()
    batch = masked_batch([Branches((prefix,), tail)], "cpu")
    if case["cfg_scale"]:
        batch = batch.blank(recorded.config.ids.mask)
    tokens = len(tail.places)
    plan = TextPlan(
        *(tokens, min(tokens, case["block_length"]), case["steps"]),
        *(case["temperature"], case["cfg_scale"]),
    )
    filled = fill_text(
        *(recorded.network, batch, plan, RecordedNoise(arrays)),
        mask=recorded.config.ids.mask,
        banned_V=None,  # the official code bans nothing
    )
    wanted = [int(arrays["output"][0, len(prefix) + place]) for place in tail.places]
    assert filled.tokens_BN[0].tolist() == wanted
    assert filled.trace_BN[0].tolist() == arrays["trace"].tolist()
    assert np.abs(filled.logp_BN[0].numpy() - arrays["trace_logp"]).max() < LOGITS


def _question(
    recorded: Recorded, case: Mapping[str, Any], arrays: Arrays
) -> tuple[tuple[int, ...], Tail]:
    layout, length = recorded.layout, case["gen_length"]
    tail = layout.single(length) if case["layout"] == "vlmevalkit" else layout.answer(length)
    if case["layout"] == "script":  # broken there: its rows of codes are cut off
        end = int(arrays["code_start"]) - 1
        return tuple(arrays["start"][0, :end].tolist()), tail
    words = layout.words(prompts.ask(recorded.table("prompts")["und"]["text"]))
    return layout.with_pictures(words, [recorded.picture(case["source"])]), tail


@torch.no_grad()
def test_scores_of_noisy_sequences_are_the_recorded_ones(recorded: Recorded) -> None:
    arrays = recorded.arrays("scores")
    names = {key.rsplit("_ids", 1)[0] for key in arrays if key.endswith("_ids")} - {""}
    for name in sorted(name for name in names if not name.endswith("_uncond")):
        ids, labels = (torch.from_numpy(arrays[f"{name}_{key}"]) for key in ("ids", "labels"))
        aimed = labels[0] >= 0
        logits = recorded.network(ids)[0, aimed]
        full = logits.log_softmax(-1).gather(-1, labels[0, aimed][:, None])[:, 0]
        assert np.abs(full.numpy() - arrays[f"{name}_logp_full_vocabulary"]).max() < LOGITS
        assert abs(-full.mean().item() - float(arrays[f"{name}_loss"])) < LOGITS
        if name.startswith("und"):
            continue
        codes, offset = recorded.codes, recorded.config.ids.image_offset
        wanted = labels[0, aimed][:, None] - offset
        own = logits[:, slice(*codes)]
        found = own.log_softmax(-1).gather(-1, wanted)[:, 0]
        assert np.abs(found.numpy() - arrays[f"{name}_logp_code_slice"]).max() < LOGITS
        bare = torch.from_numpy(arrays[f"{name}_uncond_ids"])
        place = aimed.nonzero()[:, 0] - (ids.shape[1] - bare.shape[1])
        other = recorded.network(bare)[0, place][:, slice(*codes)]
        guided = guided_sum(torch.stack((own, other))[:, None], draw_weights(4.0))[0]
        found = guided.log_softmax(-1).gather(-1, wanted)[:, 0]
        assert np.abs(found.numpy() - arrays[f"{name}_logp_code_slice_cfg4"]).max() < LOGITS
