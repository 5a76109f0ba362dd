"""The official code of BAGEL on tiny random weights, against ours: number by number.

The recorded arrays are described beside them, in shared/data/models/bagel/README.md. Inside a block
that shares its position ours has the marks of a picture before its tokens, so that keys and values
are compared after the same move.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from pairuni_eval.decoding import Decoding
from pairuni_eval.models.bagel import pictures as pics
from pairuni_eval.models.bagel.config import PictureShapes, ResizeRule
from pairuni_eval.models.bagel.contexts import Context, picture_block, read
from pairuni_eval.models.bagel.flow import (
    FlowBranches,
    FlowGuidance,
    VelocityField,
    euler,
    timesteps,
)
from pairuni_eval.models.bagel.inference import (
    THINK_THEN_ANSWER,
    THINK_THEN_DRAW,
    BagelInference,
)
from pairuni_eval.models.bagel.loading import LoadedBagel, load_bagel
from pairuni_eval.models.bagel.text_sampler import next_logits
from pairuni_eval.models.base import LoadOptions, Request

CLOSE = 1e-4
Arrays = Mapping[str, "np.ndarray[Any, Any]"]
SOURCE = ResizeRule(longest=96, shortest=48, stride=16)
SEEN = ResizeRule(longest=84, shortest=56, stride=14)
RENORMS = ("global", "channel", "text_channel")
DRAWINGS = (
    *("t2i_global", "t2i_channel", "t2i_text_channel", "t2i_norenorm", "t2i_nocfg"),
    *("t2i_whole_interval", "t2i_interval"),
)
EDITS = ("edit_text_channel", "edit_global", "edit_channel")


class Recorded(NamedTuple):
    """What the official code gave, and our modules with its weights."""

    folder: Path
    loaded: LoadedBagel
    inference: BagelInference
    cases: Mapping[str, Any]

    def arrays(self, name: str) -> Arrays:
        with np.load(self.folder / f"{name}.npz") as found:
            return dict(found)

    def image(self, name: str) -> Image.Image:
        return Image.open(self.folder / "images" / f"{name}.png")

    def request(self, *parts: str | Image.Image, seed: int = 0, **decoding: Any) -> Request:
        return Request(parts, Decoding(**decoding), seed, "uid")


@pytest.fixture(scope="module")
def recorded(shared: Path) -> Recorded:
    folder = shared / "data" / "models" / "bagel"
    if not folder.is_dir():
        pytest.skip(f"no recorded outputs of BAGEL in {folder}")
    loaded = load_bagel(folder / "checkpoint", LoadOptions(device="cpu"))
    loaded = loaded._replace(shapes=PictureShapes(source=SOURCE, asked=SEEN, edited=SEEN))
    cases = json.loads((folder / "cases.json").read_text(encoding="utf-8"))
    return Recorded(folder, loaded, BagelInference(loaded), cases)


def close(ours: Tensor, theirs: np.ndarray[Any, Any], within: float = CLOSE) -> None:
    torch.testing.assert_close(ours, torch.from_numpy(theirs), rtol=0, atol=within)


def marks_first(theirs: np.ndarray[Any, Any], blocks: Sequence[int]) -> np.ndarray[Any, Any]:
    """Recorded tokens with the end mark of the pictures that begin at these places moved."""
    order = list(range(len(theirs)))
    for start, end in blocks:
        order[start : end + 1] = [start, end, *range(start + 1, end)]
    return theirs[order]


def cached(context: Context, layer: int) -> tuple[Tensor, Tensor]:
    assert context.past is not None
    return tuple(one[layer][0].transpose(0, 1) for one in (context.past.keys, context.past.values))


def test_sizes_follow_the_resize_rule(recorded: Recorded) -> None:
    rows = json.loads((recorded.folder / "resize.json").read_text(encoding="utf-8"))
    assert len(rows) > 200
    for (longest, shortest, stride, *area), size, pictures, expected in rows:
        rule = ResizeRule(longest=longest, shortest=shortest, stride=stride)
        if area:
            rule = ResizeRule(longest=longest, shortest=shortest, stride=stride, area=area[0])
        if expected is not None:
            assert list(pics.fitted(tuple(size), rule, pictures=pictures)) == expected


def test_words_have_the_official_ids(recorded: Recorded) -> None:
    assert recorded.loaded.marks == (367, 368, 375, 376)
    for text, ids in recorded.cases["token_ids"].items():
        assert recorded.inference._ids(text) == ids, text


@pytest.mark.parametrize("name", ["a", "b"])
@torch.inference_mode()
def test_a_picture_goes_in_and_out(recorded: Recorded, name: str) -> None:
    arrays, loaded = recorded.arrays(f"vision_{name}"), recorded.loaded
    image = pics.on_white(recorded.image(name))
    of_latents = pics.to_pixels(pics.resized(image, SOURCE))
    close(of_latents, arrays["vae_pixels"], 1e-6)
    close(pics.to_pixels(pics.resized(image, SEEN)), arrays["vit_pixels"], 1e-6)
    again = pics.resized(pics.resized(image, SOURCE), SEEN)
    close(pics.to_pixels(again), arrays["vit_pixels_after_vae_resize"], 1e-6)

    pixels = torch.from_numpy(arrays["vit_pixels"])
    tokens = pics.patches(pixels, 14)
    close(tokens, arrays["vit_tokens"], 1e-6)
    places = pics.places((pixels.shape[1] // 14, pixels.shape[2] // 14), 10)
    assert places.tolist() == arrays["vit_position_ids"].tolist()
    network = loaded.network
    close(network.vit_model(tokens[None], places)[0], arrays["vit_output"])
    seen = network.seen(tokens[None], places)[0]
    close(seen, arrays["connector_output"] + arrays["vit_pos_embed"])

    block = picture_block(network, loaded.marks, [seen])
    _, context = read(network, Context.empty(1, network.device), block)
    end = len(tokens) + 1
    close(cached(context, 0)[0], marks_first(arrays["k_layer0"], [(0, end)]))
    close(cached(context, 1)[0], marks_first(arrays["k_layer1"], [(0, end)]))
    close(cached(context, 1)[1], marks_first(arrays["v_layer1"], [(0, end)]))
    assert context.next_R.tolist() == [1]

    autoencoder = loaded.autoencoder
    close(autoencoder.moments(of_latents[None]), arrays["vae_moments"])
    noise = torch.from_numpy(arrays["vae_eps"])
    close(autoencoder.encode(of_latents[None], noise), arrays["vae_latent"])
    mean = autoencoder.encode(of_latents[None], torch.zeros_like(noise))
    close(mean, arrays["vae_latent_mean"])
    latent = torch.from_numpy(arrays["vae_latent"])
    close(autoencoder.decode(latent), arrays["vae_reconstruction"])


@torch.inference_mode()
def test_latents_are_decoded(recorded: Recorded) -> None:
    arrays = recorded.arrays("vae_decode")
    close(recorded.loaded.autoencoder.decode(torch.from_numpy(arrays["latent"])), arrays["image"])


@pytest.mark.parametrize(
    "name",
    ["answer_chat", "answer_chat_two", "answer_inferencer", "answer_text_only", "answer_think"],
)
@torch.inference_mode()
def test_an_answer_has_the_official_logits(recorded: Recorded, name: str) -> None:
    case, logits = recorded.cases[name], recorded.arrays(name)["logits"]
    images = [recorded.image(one) for one in case["images"]]
    if name in {"answer_inferencer", "answer_think"}:
        images = [pics.resized(pics.on_white(one), SOURCE) for one in images]
    assert case.get("system", THINK_THEN_ANSWER) == THINK_THEN_ANSWER
    request = recorded.request(
        *(*images, case["question"]),
        max_tokens=case["max_length"] - 1,
        thinking="system" in case,
    )
    assert recorded.inference.answer([request])[0].text == case["text"].strip()
    context = recorded.inference.asked([request])
    token = torch.tensor([recorded.loaded.marks.text_start])
    for step, expected in enumerate(logits):
        found, context = next_logits(recorded.loaded.network, context, token)
        close(found[0], expected)
        token = torch.tensor([case["ids"][step]])


def drawing(recorded: Recorded, **decoding: Any) -> FlowBranches:
    request = recorded.request(recorded.cases["t2i_prompt"], **decoding)
    return recorded.inference.branches_of_prompts([request])[0]


def editing(recorded: Recorded, noise: Tensor | None = None, **decoding: Any) -> FlowBranches:
    case = recorded.cases["edit"]
    source = pics.resized(pics.on_white(recorded.image(case["image"])), SOURCE)
    assert list(source.size) == case["size_after_vae_resize"]
    request = recorded.request(source, case["instruction"], **decoding)
    if noise is None:
        noise = torch.from_numpy(recorded.arrays("edit_context")["vae_eps"])
    latents = recorded.inference.latents_of([source], noise)
    return recorded.inference.branches_of_edits([request], [source], latents)[0]


def lengths(branches: FlowBranches) -> dict[str, dict[str, int]]:
    whole, wordless, pictureless = branches
    named = {"cond": whole, "cfg_text": wordless, "cfg_img": pictureless or whole}
    return {
        name: {"kv_len": int(one.valid_RS.sum()), "rope": int(one.next_R[0])}
        for name, one in named.items()
    }


@torch.inference_mode()
def test_contexts_have_the_official_keys(recorded: Recorded) -> None:
    arrays, branches = recorded.arrays("edit_context"), editing(recorded)
    assert lengths(branches) == recorded.cases["edit"]["contexts"]
    assert lengths(drawing(recorded)) == recorded.cases["velocity_t2i"]["contexts"]
    blocks = [(0, 21), (22, 53)]  # the latents of the source, then what the tower sees of it
    close(cached(branches.whole, 1)[0], marks_first(arrays["cond_k_layer1"], blocks))
    close(cached(branches.whole, 1)[1], marks_first(arrays["cond_v_layer1"], blocks))
    close(cached(branches.wordless, 1)[0], marks_first(arrays["cfg_text_k_layer1"], blocks))
    assert branches.pictureless is not None
    close(cached(branches.pictureless, 1)[0], arrays["cfg_img_k_layer1"])


@pytest.mark.parametrize("name", ["velocity_t2i", "velocity_edit"])
@torch.inference_mode()
def test_velocities_are_mixed_as_officially(recorded: Recorded, name: str) -> None:
    arrays = recorded.arrays(name)
    branches = drawing(recorded) if name.endswith("t2i") else editing(recorded)
    shape = recorded.cases[name]["shape_hw"]
    canvas = recorded.inference.canvas((shape[0] // 16, shape[1] // 16))
    assert canvas.places_T.tolist() == arrays["latent_position_ids"].tolist()
    x = torch.from_numpy(arrays["x_t"])[None]
    for time in (1.0, 0.75, 0.3):
        for context, branch in zip(branches, ("cond", "cfg_text", "cfg_img"), strict=True):
            alone = branches._replace(whole=context or branches.whole)
            field = VelocityField(recorded.loaded.network, alone, canvas, FlowGuidance())
            close(field.at(x, time)[0], arrays[f"{branch}_t{time}"])
        for renorm in RENORMS:
            for least in (0.0, 0.5, 1.0):
                for image in (1.0, 2.0):
                    guidance = FlowGuidance(4.0, image, 0.0, 1.0, renorm, least)
                    field = VelocityField(recorded.loaded.network, branches, canvas, guidance)
                    expected = arrays[f"mixed_t{time}_{renorm}_min{least}_img{image}"]
                    close(field.at(x, time)[0], expected)
        only_image = FlowGuidance(1.0, 2.0)
        field = VelocityField(recorded.loaded.network, branches, canvas, only_image)
        close(field.at(x, time)[0], arrays[f"only_img_t{time}"])


def guidance_of(options: Mapping[str, Any]) -> FlowGuidance:
    low, high = options["cfg_interval"]
    return FlowGuidance(
        options["cfg_text_scale"],
        options.get("cfg_img_scale", 1.0),
        *(low, high),
        options["cfg_renorm_type"],
        options["cfg_renorm_min"],
    )


@pytest.mark.parametrize("name", [*DRAWINGS, *EDITS])
@torch.inference_mode()
def test_every_step_of_a_drawing(recorded: Recorded, name: str) -> None:
    case, arrays = recorded.cases[name], recorded.arrays(name)
    options, branches = case["options"], (drawing if name in DRAWINGS else editing)(recorded)
    grid = (case["shape_hw"][0] // 16, case["shape_hw"][1] // 16)
    canvas = recorded.inference.canvas(grid)
    field = VelocityField(recorded.loaded.network, branches, canvas, guidance_of(options))
    times = timesteps(options["num_timesteps"], options["timestep_shift"])
    *steps, last = euler(field.at, torch.from_numpy(arrays["noise"])[None], times)
    np.testing.assert_allclose([step.time for step in steps], arrays["timesteps"], atol=1e-6)
    for number, step in enumerate(steps):
        close(step.x_NTC[0], arrays["x_t"][number])
        close(step.velocity_NTC[0], arrays["v_t"][number])
    close(last.x_NTC[0], arrays["final"])
    pixels = recorded.inference.pixels_of(last.x_NTC, grid)
    close(pixels, arrays["image"])
    made = np.asarray(pics.to_images(pixels)[0]).astype(int)
    assert np.abs(made - arrays["uint8"].astype(int)).max() <= 1


@torch.inference_mode()
def test_a_length_is_never_made_longer(recorded: Recorded) -> None:
    case, arrays = recorded.cases["velocity_clamp"], recorded.arrays("velocity_clamp")
    contexts = [
        recorded.inference.branches_of_prompts([recorded.request(case[name])])[0].whole
        for name in ("cond_prompt", "cfg_text_prompt")
    ]
    shape = case["shape_hw_of_request"]
    canvas = recorded.inference.canvas((shape[0] // 16, shape[1] // 16))
    for renorm in RENORMS:
        guidance = FlowGuidance(case["cfg_text_scale"], renorm=renorm)
        field = VelocityField(recorded.loaded.network, FlowBranches(*contexts), canvas, guidance)
        close(field.at(torch.from_numpy(arrays["x_t"])[None], case["t"])[0], arrays[renorm])


@pytest.mark.parametrize("name", ["t2i_end_to_end", "edit_end_to_end"])
def test_a_request_from_its_seed_to_its_picture(recorded: Recorded, name: str) -> None:
    case = recorded.cases[name]
    options = case["options"]
    decoding = {
        "cfg_scale": options["cfg_text_scale"],
        "cfg_image_scale": options["cfg_img_scale"],
        "cfg_interval": tuple(options["cfg_interval"]),
        "timestep_shift": options["timestep_shift"],
        "steps": options["num_timesteps"],
        "cfg_renorm_min": options["cfg_renorm_min"],
        "cfg_renorm": options["cfg_renorm_type"],
    }
    if name.startswith("t2i"):
        size = tuple(reversed(options["image_shapes"]))
        request = recorded.request(
            recorded.cases["t2i_prompt"], seed=case["seed"], size=size, **decoding
        )
        (reply,) = recorded.inference.draw([request])
    else:
        image = recorded.image(case["image"])
        request = recorded.request(image, case["instruction"], seed=case["seed"], **decoding)
        (reply,) = recorded.inference.edit([request])
    assert reply.image is not None
    difference = np.asarray(reply.image).astype(int) - recorded.arrays(name)["uint8"].astype(int)
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("name", ["t2i_think", "edit_think"])
@torch.inference_mode()
def test_a_thought_comes_before_a_picture(recorded: Recorded, name: str) -> None:
    case, arrays = recorded.cases[name], recorded.arrays(name)
    assert case["texts_fed"][0] == THINK_THEN_DRAW
    decoding = {"thinking": True, "max_tokens": case["max_think_token_n"] - 1}
    generator = torch.Generator().manual_seed(case["seed"])
    if name == "t2i_think":
        branches = drawing(recorded, **decoding)
    else:
        branches = editing(recorded, torch.randn(1, 16, 8, 10, generator=generator), **decoding)
    assert lengths(branches) == case["contexts"]
    noise = torch.from_numpy(arrays["noise"])
    close(torch.randn(noise.shape, generator=generator), arrays["noise"], 0)
    shape, options = arrays["uint8"].shape, case["options"]
    canvas = recorded.inference.canvas((shape[0] // 16, shape[1] // 16))
    interval = tuple(options.get("cfg_interval", (0.4, 1.0)))
    renorm = options.get("cfg_renorm_type", "global")
    scales = options["cfg_text_scale"], options["cfg_img_scale"]
    guidance = FlowGuidance(*scales, *interval, renorm)
    field = VelocityField(recorded.loaded.network, branches, canvas, guidance)
    close(field.at(noise[None], 1.0)[0], arrays["v_first"])

    settings = {
        "cfg_scale": scales[0],
        "cfg_image_scale": scales[1],
        "cfg_interval": interval,
        "cfg_renorm": renorm,
        "steps": case["num_timesteps"],
        "size": (shape[1], shape[0]) if name == "t2i_think" else None,
    }
    if name == "t2i_think":
        parts: tuple[Any, ...] = (recorded.cases["t2i_prompt"],)
        respond = recorded.inference.draw
    else:
        edit = recorded.cases["edit"]
        parts = (recorded.image(edit["image"]), edit["instruction"])
        respond = recorded.inference.edit
    (reply,) = respond([recorded.request(*parts, seed=case["seed"], **decoding, **settings)])
    assert reply.text == case["think_text"]
    difference = np.asarray(reply.image).astype(int) - arrays["uint8"].astype(int)
    assert np.abs(difference).max() <= 1
