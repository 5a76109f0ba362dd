"""DeepSeek's own code on a tiny Janus in its original format, against ours: number by number.

The recorded arrays and what each must agree to are described beside them, in
shared/data/models/janus_original/README.md. The transformers format is held to the same numbers.
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
from torch import Tensor

from pairuni_eval.adapters import load_model
from pairuni_eval.decoding import Decoding
from pairuni_eval.models.base import LoadOptions, Request
from pairuni_eval.models.janus import JanusModel, JanusPolicy
from pairuni_eval.models.janus.codes import code_embeddings, eight_bits, encode_pictures
from pairuni_eval.models.janus.decoder import StaticDecoder
from pairuni_eval.models.janus.prefix import begin
from pairuni_eval.models.janus.prompts import embed, unconditional

# Ids, codes and pixels agree exactly. What networks compute agreed to 0.0, image-token logits to
# 6e-6, on the kind of processor that recorded them; another rounds otherwise, by less than this
# (1e-5 seen). No choice was closer than 0.0077.
ROUNDING = 2e-5
CUT = 0.002  # share of a picture's values that such rounding carries over a whole number
UNDERSTANDING = ("one_image", "wide_image", "two_images", "no_image")
GENERATION = ("cfg5", "cfg1", "long")
STEPS = (0, 1, 7, 15)
IMAGES = ("square", "wide", "tall")


class Recorded(NamedTuple):
    """What DeepSeek's code gave: arrays by name, and the texts that were asked."""

    arrays: Mapping[str, np.ndarray[Any, Any]]
    texts: Mapping[str, Mapping[str, Any]]
    folder: Path

    def tensor(self, name: str) -> Tensor:
        return torch.from_numpy(self.arrays[name])

    def image(self, name: str) -> Image.Image:
        return Image.open(self.folder / "images" / f"{name}.png")

    def request(self, asked: str) -> Request:
        """A question as benchmarks ask it: images, then the text."""
        of = self.texts[asked]
        text = of["content"].replace("<image_placeholder>\n", "")
        return Request((*map(self.image, of["images"]), text), Decoding(max_tokens=8), 0, asked)

    def drawing(self, asked: str) -> Request:
        of = self.texts[f"gen/{asked}"]
        return Request((of["text"],), Decoding(cfg_scale=of["cfg"]), 0, asked)


@pytest.fixture(scope="module")
def recorded(shared: Path) -> Recorded:
    folder = shared / "data" / "models" / "janus_original"
    if not folder.is_dir():
        pytest.skip(f"no recorded outputs of DeepSeek's code in {folder}")
    texts = json.loads((folder / "golden.json").read_text(encoding="utf-8"))["texts"]
    with np.load(folder / "golden.npz") as arrays:
        return Recorded({name: arrays[name] for name in arrays.files}, texts, folder)


def assert_near(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=ROUNDING, rtol=0)


def loaded(folder: Path) -> JanusPolicy:
    model = load_model(str(folder), None, LoadOptions("cpu", "float32"))
    assert isinstance(model, JanusModel)
    return model.policy


@pytest.fixture(scope="module", params=["safetensors", "bin", "transformers"])
def policy(
    recorded: Recorded, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> JanusPolicy:
    """Either form of the original's files, and the transformers folder that ours writes of it."""
    form = "bin" if request.param == "bin" else "safetensors"
    policy = loaded(recorded.folder / f"checkpoint_{form}")
    if request.param != "transformers":
        return policy
    folder = tmp_path_factory.mktemp("transformers")
    policy.save(folder, {})
    return loaded(folder)


def test_token_ids_are_the_tokenizers(policy: JanusPolicy, recorded: Recorded) -> None:
    ids = json.loads((recorded.folder / "golden.json").read_text(encoding="utf-8"))["ids"]
    assert policy.vocabulary.end == ids["eos"]
    assert policy.vocabulary.pad == policy.guidance.pad == ids["pad"]
    assert set(policy.vocabulary.banned) == {ids[k] for k in ("image", "boi", "eoi", "pad", "bos")}
    assert policy.guidance.keep == (ids["bos"], ids["boi"])


@torch.no_grad()
@pytest.mark.parametrize("asked", UNDERSTANDING)
def test_questions(policy: JanusPolicy, recorded: Recorded, asked: str) -> None:
    prompt = policy.encode("und", [recorded.request(asked)])
    assert prompt.ids_NP[0].tolist() == recorded.arrays[f"und/{asked}/input_ids"].tolist()
    if prompt.pixels_ICHW is not None:
        names = recorded.texts[asked]["images"]
        pixels_ICHW = torch.stack([recorded.tensor(f"pixels/{name}") for name in names])
        assert torch.equal(prompt.pixels_ICHW, pixels_ICHW)
        features = policy.janus.model.get_image_features(pixels_ICHW, return_dict=True)
        assert_near(features.pooler_output, recorded.tensor(f"und/{asked}/image_features"))
    hidden = policy.janus.model.language_model(inputs_embeds=embed(policy.janus, prompt))
    logits_PV = policy.janus.lm_head(hidden.last_hidden_state)[0]
    assert_near(logits_PV[-1], recorded.tensor(f"und/{asked}/last_logits"))
    assert_near(logits_PV[::7, ::11], recorded.tensor(f"und/{asked}/logits_sample"))


@pytest.mark.parametrize("asked", UNDERSTANDING)
def test_answers(policy: JanusPolicy, recorded: Recorded, asked: str) -> None:
    rollout = policy.sample("und", [recorded.request(asked)])
    assert rollout.tokens_NT[0].tolist() == recorded.arrays[f"und/{asked}/answer_ids"].tolist()
    said = policy.processor.tokenizer.decode(rollout.tokens_NT[0], skip_special_tokens=True)
    assert said == recorded.texts[asked]["answer"]


@pytest.mark.parametrize("asked", GENERATION)
def test_image_token_logits(policy: JanusPolicy, recorded: Recorded, asked: str) -> None:
    prompt = policy.encode("gen", [recorded.drawing(asked)])
    bare = unconditional(prompt, keep=policy.guidance.keep, pad=policy.guidance.pad)
    assert prompt.ids_NP[0].tolist() == recorded.arrays[f"gen/{asked}/input_ids"].tolist()
    assert bare.ids_NP[0].tolist() == recorded.arrays[f"gen/{asked}/uncond_ids"].tolist()
    codes_N = recorded.tensor(f"gen/{asked}/codes").long()
    decoder = StaticDecoder(policy.janus.model.language_model)
    slots = prompt.ids_NP.shape[1] + len(codes_N)
    with torch.inference_mode():
        table_VD = code_embeddings(policy.janus)
        hidden_CD = decoder.prefill(begin(policy.janus, [prompt, bare]), slots=slots)
        for step, code in enumerate(codes_N.tolist()):
            both_CV = policy.janus.model.generation_head(hidden_CD)
            if step in STEPS:
                for row, kind in zip(both_CV, ("cond", "uncond"), strict=True):
                    given_V = recorded.tensor(f"gen/{asked}/step{step}/{kind}")
                    assert_near(row, given_V)
            decoder.expect_step()
            hidden_CD = decoder.step(table_VD[code].expand(2, -1))


@pytest.mark.parametrize("asked", GENERATION)
def test_pictures(policy: JanusPolicy, recorded: Recorded, asked: str) -> None:
    rollout = policy.sample("gen", [recorded.drawing(asked)])
    assert rollout.tokens_NT[0].tolist() == recorded.arrays[f"gen/{asked}/codes"].tolist()
    (reply,) = policy.decode(rollout)
    theirs_HWC = recorded.arrays[f"gen/{asked}/uint8"].astype(int)
    apart_HWC = np.abs(np.asarray(reply.image).astype(int) - theirs_HWC)
    assert apart_HWC.max() <= 1 and (apart_HWC > 0).mean() < CUT
    if asked == "cfg5":
        with torch.no_grad():
            pixels_CHW = policy.janus.model.vqmodel.decode(rollout.tokens_NT)[0]
        given_CHW = recorded.tensor("gen/cfg5/decoded")
        assert_near(pixels_CHW, given_CHW)
        assert eight_bits(given_CHW[None])[0].tolist() == theirs_HWC.tolist()


@pytest.mark.parametrize("name", IMAGES)
def test_codes_of_pictures(policy: JanusPolicy, recorded: Recorded, name: str) -> None:
    pixels_ICHW = recorded.tensor(f"pixels/{name}")[None]
    model = policy.janus.model.vqmodel
    with torch.no_grad():
        z_CHW = model.quant_conv(model.encoder(pixels_ICHW))[0]
    assert_near(z_CHW, recorded.tensor(f"vq/{name}/z"))
    codes_N = encode_pictures(policy.janus, pixels_ICHW)[0]
    assert codes_N.tolist() == recorded.arrays[f"vq/{name}/codes"].tolist()


def test_transformers_own_ways_would_be_seen(policy: JanusPolicy, recorded: Recorded) -> None:
    """The three departures that ours does not take are in the recorded cases."""
    wide = recorded.image("wide").convert("RGB")
    rounded = policy.processor.image_processor(wide, return_tensors="pt").pixel_values[0]
    assert not torch.equal(rounded, recorded.tensor("pixels/wide"))
    square_ICHW = recorded.tensor("pixels/square")[None]
    plain_N = policy.janus.model.vqmodel.encode(square_ICHW).image_tokens
    assert plain_N.tolist() != recorded.arrays["vq/square/codes"].tolist()
