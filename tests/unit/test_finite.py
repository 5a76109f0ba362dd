"""Numbers that are not finite are found in files, in logits, in pixels and in scores."""

from __future__ import annotations

import hashlib
import math
import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from support import small_training as small

from pairuni_eval.adapters import load_model
from pairuni_eval.decoding import Decoding
from pairuni_eval.errors import UserError
from pairuni_eval.finite import count_not_finite, is_finite, mark_of, no_finite
from pairuni_eval.models.base import LoadOptions, Request
from pairuni_eval.models.janus import JanusModel, JanusPolicy
from pairuni_eval.models.weight_file import wrapper_of
from pairuni_eval.models.weights import check_weights
from pairuni_eval.records import Capability, ModelIdentity
from pairuni_eval.tiny import janus
from pairuni_train.pair_data.record import Pair

NAN, INF = math.nan, math.inf
NORM = "model.language_model.norm.weight"


@pytest.fixture
def folder(untrained: Path, tmp_path: Path) -> Path:
    """A checkpoint that a test may damage."""
    return Path(shutil.copytree(untrained, tmp_path / "checkpoint"))


def changed(folder: Path, **tensors: torch.Tensor | float) -> Path:
    """Fill tensors of a checkpoint's file, or add some."""
    path = folder / "model.safetensors"
    state = load_file(path)
    for name, value in tensors.items():
        if isinstance(value, torch.Tensor):
            state[name] = value
        else:
            state[name] = state[name].clone()
            state[name].view(-1)[0] = value
    save_file(state, path, metadata={"format": "pt"})
    return path


# Tensors


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.float8_e5m2]
)
def test_nan_and_both_infinities_are_counted(dtype: torch.dtype) -> None:
    tensor = torch.tensor([[1.0, NAN, INF], [-INF, 0.0, -2.0]]).to(dtype)
    assert count_not_finite(tensor) == 3
    assert not is_finite(tensor)
    assert is_finite(tensor[1, 1:])


def test_what_has_no_infinity_is_finite() -> None:
    eights = torch.tensor([1.0, NAN]).to(torch.float8_e4m3fn)  # has NaN and no infinity
    assert not is_finite(eights) and count_not_finite(eights) == 1
    for tensor in (torch.arange(3), torch.tensor([True]), torch.empty(0), torch.tensor(2.0)):
        assert is_finite(tensor) and count_not_finite(tensor) == 0
    assert count_not_finite(torch.tensor([complex(1, NAN), 1j])) == 1


def test_a_mark_is_finite_just_where_its_row_is_and_stays_so_when_added() -> None:
    rows = torch.tensor([[1.0, 2.0], [NAN, 2.0], [INF, 1.0], [-INF, 1.0], [INF, -INF]])
    assert mark_of(rows).isfinite().tolist() == [True, False, False, False, False]
    both = mark_of(rows) + mark_of(rows.flip(0))
    assert both.isfinite().tolist() == [False, False, False, False, False]
    # Whole rows of the largest float16 are finite, though their sum in float16 is not.
    assert mark_of(torch.full((1, 100_000), 65504.0, dtype=torch.float16)).isfinite().all()


def test_the_error_names_the_precision_to_try() -> None:
    assert no_finite("logits", torch.float16) == (
        "the model gave no finite logits in float16; try --dtype bfloat16 or float32"
    )
    assert no_finite("logits", torch.bfloat16).endswith("in bfloat16; try --dtype float32")
    assert no_finite("logits", torch.float32).endswith("this one has diverged")


# Checkpoints


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_checkpoint_with_one_broken_number_is_refused(folder: Path, value: float) -> None:
    path = changed(folder, **{NORM: value})
    with pytest.raises(UserError) as caught:
        load_model(str(folder), None, LoadOptions())
    assert f"{path}: numbers that are not finite in {NORM} (1 of 32)." == caught.value.message
    assert "another" in str(caught.value.hint) or "before that" in str(caught.value.hint)


def test_several_broken_tensors_are_named_and_counted(folder: Path) -> None:
    names = [name for name in load_file(folder / "model.safetensors") if name.endswith("weight")]
    changed(folder, **dict.fromkeys(names[:5], NAN))
    with pytest.raises(UserError, match=r"\(1 of \d+\), .*, and 2 more tensors\."):
        load_model(str(folder), None, LoadOptions())


def test_infinities_in_a_tensor_that_is_not_loaded_do_no_harm(folder: Path) -> None:
    changed(folder, attn_mask=torch.full((4, 4), -INF))
    found = check_weights(folder)
    assert [(one.name, one.values, one.size) for one in found.broken] == [("attn_mask", 16, 16)]
    assert load_model(str(folder), None, LoadOptions()).identity.weights == found.digest


def test_the_digest_is_the_hash_of_the_hashes_of_the_files(folder: Path) -> None:
    model = janus.load(folder).model
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="200KB")
    total = hashlib.sha256()
    files = sorted(folder.glob("*.safetensors"))
    for path in files:
        total.update(hashlib.sha256(path.read_bytes()).digest())
    found = check_weights(folder)
    assert found.files == tuple(files) and len(files) > 1
    assert found.digest == total.hexdigest()
    assert set(found.names) >= {NORM}


# Names with a wrapper's prefix


def wrap(folder: Path, prefix: str, names: int | None = None) -> None:
    path = folder / "model.safetensors"
    state = load_file(path)
    chosen = sorted(state)[:names]
    save_file(
        {prefix + name if name in chosen else name: value for name, value in state.items()},
        path,
        metadata={"format": "pt"},
    )


@pytest.mark.parametrize(
    "prefix",
    [
        "base_model.model.",
        "module._orig_mod.",
        *(pytest.param(one, marks=pytest.mark.slow) for one in ("_orig_mod.", "module.")),
    ],
)
def test_a_prefix_of_every_name_is_taken_off_and_said(
    folder: Path, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole = janus.load(folder).model.state_dict()
    wrap(folder, prefix)
    model = load_model(str(folder), None, LoadOptions())
    assert re.search(f"begins with '{prefix}'.*all of them fit", caplog.text)
    assert isinstance(model, JanusModel)
    loaded = model.policy.janus.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in whole.items())


def test_a_broken_number_is_found_behind_a_prefix(folder: Path) -> None:
    changed(folder, **{NORM: NAN})
    wrap(folder, "module.")
    with (
        warnings.catch_warnings(action="ignore"),
        pytest.raises(UserError, match=rf"not finite in module\.{NORM} \(1 of 32\)"),
    ):
        load_model(str(folder), None, LoadOptions())


def test_a_prefix_of_some_names_is_told_where_weights_are_missing(folder: Path) -> None:
    wrap(folder, "base_model.model.", names=5)
    with pytest.raises(UserError) as caught:
        load_model(str(folder), None, LoadOptions())
    assert "5 of the names in it begin with 'base_model.model.'" in caught.value.message
    assert "5 weights are missing" in caught.value.message
    assert "merge_and_unload" in str(caught.value.hint)


def test_only_what_all_names_carry_is_a_wrapper() -> None:
    assert wrapper_of(["module.a", "module.b"]) == "module."
    assert wrapper_of(["base_model.model.module.a"]) == "base_model.model.module."
    assert wrapper_of(["module.a", "b"]) == ""
    assert wrapper_of([]) == ""


# Rows

DRAW = Decoding(temperature=1.0, cfg_scale=4.0)
ANSWER = Decoding(temperature=0.0, max_tokens=6)


@pytest.fixture(scope="module")
def weights(untrained: Path) -> janus.Tiny:
    torch.set_num_threads(1)
    return janus.load(untrained)


@pytest.fixture
def model(weights: janus.Tiny) -> Iterator[JanusModel]:
    """The untrained model, whose weights a test may change."""
    before = {name: value.clone() for name, value in weights.model.state_dict().items()}
    identity = ModelIdentity(adapter="janus", name="untrained", weights="")
    policy = JanusPolicy(weights.model, weights.processor)
    yield JanusModel(policy, identity, frozenset(Capability))
    weights.model.load_state_dict(before)


def poison(model: JanusModel, word: str, value: float) -> None:
    """Let the model's embedding of one word be no number."""
    tokenizer = model.policy.processor.tokenizer
    (token,) = tokenizer(word, add_special_tokens=False).input_ids
    with torch.no_grad():
        model.policy.janus.get_input_embeddings().weight[token, 0] = value


def requests(decoding: Decoding, *words: str, image: Any = None) -> list[Request]:
    parts = [(word,) if image is None else (image, word) for word in words]
    return [Request(one, decoding, 7 + i, str(i)) for i, one in enumerate(parts)]


PROMPTS = ("a photo of a circle", "a photo of a triangle", "a photo of two circles")


@pytest.mark.parametrize("value", [NAN, INF])
@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_only_the_drawing_with_broken_logits_is_an_error(
    model: JanusModel, value: float, scale: float
) -> None:
    asked = requests(Decoding(temperature=1.0, cfg_scale=scale), *PROMPTS)
    sound = model.draw(asked)
    assert all(reply.error is None for reply in sound)
    poison(model, "triangle", value)
    replies = model.draw(asked)
    assert [reply.error is None for reply in replies] == [True, False, True]
    assert replies[1].error == (
        "the model gave no finite logits in float32; try another checkpoint: this one has diverged"
    )
    assert replies[1].image is None
    for one in (0, 2):
        alone = model.draw([asked[one]])[0].image
        assert alone is not None and replies[one].image is not None
        assert replies[one].image.tobytes() == alone.tobytes()


def test_only_the_answer_with_broken_logits_is_an_error(model: JanusModel) -> None:
    asked = requests(ANSWER, *PROMPTS, image=Image.new("RGB", (32, 32), "white"))
    sound = model.answer(asked)
    poison(model, "triangle", NAN)
    replies = model.answer(asked)
    assert [reply.error is None for reply in replies] == [True, False, True]
    assert replies[1].text is None
    assert (replies[0].text, replies[2].text) == (sound[0].text, sound[2].text)


@pytest.mark.parametrize("cut", [{"top_k": 3}, {"top_p": 0.5}])
def test_what_is_masked_on_purpose_is_no_error(model: JanusModel, cut: dict[str, Any]) -> None:
    drawn = model.draw(requests(Decoding(temperature=1.0, cfg_scale=3.0, **cut), *PROMPTS))
    said = model.answer(requests(Decoding(temperature=1.0, max_tokens=4, **cut), *PROMPTS))
    assert all(reply.error is None for reply in (*drawn, *said))


@pytest.mark.parametrize("value", [INF, -INF])
@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_one_infinite_logit_of_a_codebook_is_an_error(
    model: JanusModel, value: float, scale: float
) -> None:
    """As an overflow in float16 gives; guided, it is infinity minus infinity."""
    head = model.policy.janus.model.generation_head.vision_head
    with torch.no_grad():
        head.bias[3] = value
    replies = model.draw(requests(Decoding(temperature=0.0, cfg_scale=scale), *PROMPTS))
    assert all("no finite logits" in str(reply.error) for reply in replies)


def test_pixels_that_are_not_finite_are_an_error(model: JanusModel) -> None:
    with torch.no_grad():
        model.policy.janus.model.vqmodel.decoder.conv_out.bias[0] = NAN
    replies = model.draw(requests(DRAW, *PROMPTS))
    assert all("no finite pixels" in str(reply.error) for reply in replies)


def test_a_rollouts_rows_keep_what_is_known_of_them(model: JanusModel) -> None:
    poison(model, "triangle", NAN)
    rollout = model.policy.sample("und", requests(ANSWER, *PROMPTS[:2]))
    assert rollout.finite_N is not None
    part = rollout.rows(torch.tensor([1]))
    assert part.finite_N is not None and part.finite_N.tolist() == [False]
    assert model.policy.decode(part)[0].error is not None


def test_a_policy_with_nan_is_not_rewarded(model: JanusModel) -> None:
    """The run stops before a reward is paid for noise, and says at which step."""
    pairs: list[Pair] = small.tiny_pairs(2)
    with torch.no_grad():
        model.policy.janus.model.language_model.norm.weight[0] = NAN
    for task in small.TASKS:
        with pytest.raises(UserError, match=rf"step 0: 8 of 8 rollouts of '{task}' failed: the"):
            small.sampled(model.policy, task, pairs, small.small_recipe())
