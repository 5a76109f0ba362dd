"""Pipelines of diffusers: small random ones of real classes, that draw and that edit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from PIL import Image
from safetensors.torch import load_file, save_file
from support import small_pipelines

from pairuni_eval.adapters import expected_memory, find_adapter, load_model
from pairuni_eval.decoding import Decoding
from pairuni_eval.errors import UserError
from pairuni_eval.models.base import LoadOptions, Model, Reply, Request
from pairuni_eval.models.weights import check_weights, joint_digest
from pairuni_eval.records import Capability

pytest.importorskip("diffusers", reason="diffusers, which brings pipelines, is not installed")

from pairuni_eval.models.diffusion.adapter import DiffusersModel
from pairuni_eval.models.diffusion.call import PipelineCall

PARTS = ("text_encoder", "unet", "vae")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pipelines")
    return {
        "drawing": small_pipelines.drawing(root / "drawing"),
        "editing": small_pipelines.editing(root / "editing"),
    }


@pytest.fixture(scope="module")
def models(folders: dict[str, Path]) -> dict[str, Model]:
    return {name: load(folder) for name, folder in folders.items()}


@pytest.fixture
def folder(folders: dict[str, Path], tmp_path: Path) -> Path:
    """A pipeline that a test may damage."""
    return Path(shutil.copytree(folders["drawing"], tmp_path / "pipeline"))


def load(folder: Path, **options: Any) -> Model:
    return load_model(str(folder), "diffusers", LoadOptions("cpu", **options))


def source(seed: int, width: int = 40, height: int = 32) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def settings(model: Model, capability: Capability, **changes: Any) -> Decoding:
    """The pipeline's own settings with fewer steps."""
    own = model.decoding(capability, "geneval", Decoding(cfg_scale=5.0))
    return replace(own, **{"steps": 2, **changes})


def prompts(model: Model, count: int = 4, **changes: Any) -> list[Request]:
    decoding = settings(model, Capability.GENERATE, **changes)
    return [Request((f"a cat {i}",), decoding, seed=5 + i, uid=str(i)) for i in range(count)]


def edits(model: Model, count: int = 4, **changes: Any) -> list[Request]:
    """Edits of sources of two sizes."""
    decoding = settings(model, Capability.EDIT, **changes)
    return [
        Request((source(i, 40 + 8 * (i % 2)), f"make it {i}"), decoding, seed=5 + i, uid=str(i))
        for i in range(count)
    ]


def pixels(replies: list[Reply]) -> list[np.ndarray]:
    assert [reply.error for reply in replies] == [None] * len(replies)
    return [np.asarray(reply.image).astype(int) for reply in replies if reply.image is not None]


def test_a_picture_depends_on_no_neighbor(models: dict[str, Model]) -> None:
    for model, ask, asked in (
        (models["drawing"], models["drawing"].draw, prompts(models["drawing"], 3)),
        (models["editing"], models["editing"].edit, edits(models["editing"], 3)),
    ):
        together = pixels(ask(asked))
        alone = [pixels(ask([one]))[0] for one in asked]
        turned = pixels(ask(asked[::-1]))[::-1]
        assert model.batch_size(Capability.GENERATE) == 4
        for one, two, three in zip(together, alone, turned, strict=True):
            assert (one == two).all() and (one == three).all()
        assert not (together[0] == together[2]).all(), "seeds and prompts matter"


def test_what_goes_through_at_once_differs_by_a_level_at_most(models: dict[str, Model]) -> None:
    """As on a GPU, where a batch is one."""
    for name, capability, make in (
        ("drawing", Capability.GENERATE, prompts),
        ("editing", Capability.EDIT, edits),
    ):
        model = models[name]
        at_once = DiffusersModel(model._pipeline, model.identity)  # type: ignore[attr-defined]
        asked = make(model)
        ask = (lambda m: m.draw) if capability is Capability.GENERATE else (lambda m: m.edit)
        for one, two in zip(pixels(ask(model)(asked)), pixels(ask(at_once)(asked)), strict=True):
            assert abs(one - two).max() <= 1


def test_a_picture_is_what_the_pipeline_itself_draws(
    models: dict[str, Model], folders: dict[str, Path]
) -> None:
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(folders["drawing"])
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline(
        "a cat 0", num_inference_steps=2, generator=torch.Generator().manual_seed(5)
    ).images[0]
    assert (pixels(models["drawing"].draw(prompts(models["drawing"], 1)))[0] == made).all()


def test_seeds_words_and_settings_count(models: dict[str, Model]) -> None:
    model = models["drawing"]
    (one,) = prompts(model, 1)
    others = [
        one._replace(seed=6),
        one._replace(parts=("a dog",)),
        one._replace(decoding=replace(one.decoding, steps=4)),
        one._replace(decoding=replace(one.decoding, cfg_scale=1.0)),
        one,
    ]
    base, *made = pixels(model.draw([one, *others]))
    assert [bool((base == other).all()) for other in made] == [False] * 4 + [True]
    (wide,) = model.draw(prompts(model, 1, size=(32, 24)))
    assert wide.image is not None and wide.image.size == (32, 24)


def test_the_source_and_its_guidance_count(models: dict[str, Model]) -> None:
    model = models["editing"]
    (one,) = edits(model, 1)
    others = [
        one._replace(parts=(source(9), "make it 0")),
        one._replace(decoding=replace(one.decoding, cfg_image_scale=3.0)),
    ]
    base, *made = pixels(model.edit([one, *others]))
    assert base.shape == (32, 40, 3)
    assert not any((base == other).all() for other in made)


def test_an_edit_has_one_source(models: dict[str, Model]) -> None:
    from pairuni_eval.errors import ModelError

    (one,) = edits(models["editing"], 1)
    with pytest.raises(ModelError, match="has one source picture, and this has 2"):
        models["editing"].edit([one._replace(parts=(source(0), source(1), "mix"))])


# What it is measured with


def test_a_pipeline_is_measured_by_its_own_settings(models: dict[str, Model]) -> None:
    card = Decoding(temperature=0.0, cfg_scale=5.0)
    drawing = models["drawing"].decoding(Capability.GENERATE, "geneval", card)
    assert (drawing.steps, drawing.cfg_scale, drawing.cfg_image_scale) == (50, 7.5, None)
    editing = models["editing"].decoding(Capability.EDIT, "imgedit", card)
    assert (editing.steps, editing.cfg_scale, editing.cfg_image_scale) == (100, 7.5, 1.5)
    assert models["drawing"].decoding(Capability.EDIT, "imgedit", card) == card


def test_a_setting_that_the_pipeline_lacks_is_refused(models: dict[str, Model]) -> None:
    with pytest.raises(UserError, match=r"no setting for decoding\.timestep_shift"):
        models["drawing"].draw(prompts(models["drawing"], 1, timestep_shift=3.0))
    with pytest.raises(UserError, match=r"no setting for decoding\.size"):
        models["editing"].edit(edits(models["editing"], 1, size=(32, 32)))
    # guidance by the source is of edits: a run may have both
    assert models["drawing"].draw(prompts(models["drawing"], 1, cfg_image_scale=2.0))[0].image


CAPABILITIES = {
    "StableDiffusionXLPipeline": {"generate"},
    "FluxPipeline": {"generate"},
    "QwenImagePipeline": {"generate"},
    "FluxKontextPipeline": {"generate", "edit"},
    "Flux2Pipeline": {"generate", "edit"},
    "QwenImageEditPipeline": {"edit"},
    "StableDiffusionXLInstructPix2PixPipeline": {"edit"},
    "StableDiffusionXLImg2ImgPipeline": {"edit"},
}


@pytest.mark.parametrize("name", CAPABILITIES)
def test_what_a_pipeline_can_do_is_read_from_its_call(name: str) -> None:
    import diffusers

    found = PipelineCall(getattr(diffusers, name)).capabilities
    assert {str(one) for one in found} == CAPABILITIES[name]


def test_true_guidance_comes_with_a_blank_negative_prompt() -> None:
    from diffusers import FluxPipeline, QwenImagePipeline

    qwen, flux = PipelineCall(QwenImagePipeline), PipelineCall(FluxPipeline)
    own = qwen.decoding(Capability.GENERATE)
    assert (own.cfg_scale, own.steps) == (4.0, 50)
    assert qwen.arguments(Capability.GENERATE, own, 2) == {"negative_prompt": [" ", " "]}
    changed = qwen.arguments(Capability.GENERATE, replace(own, cfg_scale=2.0, size=(64, 32)), 1)
    assert changed == {
        "true_cfg_scale": 2.0,
        "width": 64,
        "height": 32,
        "negative_prompt": [" "],
    }
    own = flux.decoding(Capability.GENERATE)
    assert (own.cfg_scale, own.steps) == (3.5, 28)
    assert flux.arguments(Capability.GENERATE, own, 2) == {}
    assert flux.arguments(Capability.GENERATE, replace(own, steps=4, cfg_scale=2.0), 1) == {
        "num_inference_steps": 4,
        "guidance_scale": 2.0,
    }


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("StableDiffusionInpaintPipeline", "more than a prompt and a picture .mask_image"),
        ("StableDiffusionControlNetPipeline", "more than a prompt and a picture .controlnet_"),
        ("DDPMPipeline", "takes no prompt"),
        ("WanPipeline", "makes no single picture"),
    ],
)
def test_a_pipeline_of_another_purpose_is_refused(name: str, told: str) -> None:
    import diffusers

    with pytest.raises(UserError, match=told):
        PipelineCall(getattr(diffusers, name))


# Pictures that are none


def test_what_the_safety_checker_withholds_is_a_refusal(tmp_path: Path) -> None:
    strict = load(small_pipelines.drawing(tmp_path / "strict", checker="strict"))
    replies = strict.draw(prompts(strict, 2))
    assert replies == [Reply(refused="the pipeline's safety checker withheld the picture")] * 2
    lenient = load(small_pipelines.drawing(tmp_path / "lenient", checker="lenient"))
    shown = lenient.draw(prompts(lenient, 2))
    assert all(reply.image is not None and reply.refused is None for reply in shown)


def test_pixels_that_are_not_finite_are_an_error(folder: Path) -> None:
    model: Any = load(folder)
    model._pipeline.vae.decoder.conv_out.weight.data.fill_(float("nan"))
    (reply,) = model.draw(prompts(model, 1))
    assert reply.image is None
    assert str(reply.error).startswith("the model gave no finite pixels in float32")


# What is loaded


def test_it_is_what_its_files_say(models: dict[str, Model], folders: dict[str, Path]) -> None:
    model, folder = models["drawing"], folders["drawing"]
    identity = model.identity
    assert (identity.adapter, identity.name, identity.dtype) == ("diffusers", "drawing", "float32")
    assert identity.weights == joint_digest([check_weights(folder / part).digest for part in PARTS])
    memory = expected_memory(str(folder), "diffusers", LoadOptions("cpu"))
    held = [load_file(file) for file in folder.rglob("*.safetensors")]
    assert memory is not None
    assert memory.weights == 4 * sum(t.numel() for part in held for t in part.values())


def test_a_pipelines_folder_needs_no_option(folders: dict[str, Path]) -> None:
    place = str(folders["drawing"])
    assert find_adapter(place) == ("diffusers", place)


@pytest.mark.parametrize("part", PARTS)
def test_every_weight_counts(folder: Path, models: dict[str, Model], part: str) -> None:
    (file,) = (folder / part).glob("*.safetensors")
    tensors = load_file(file)
    first = min(tensors)
    save_file(tensors | {first: tensors[first] + 1}, file, {"format": "pt"})
    assert load(folder).identity.weights != models["drawing"].identity.weights
    save_file({k: v for k, v in tensors.items() if k != first}, file, {"format": "pt"})
    with pytest.raises(UserError, match=f"/{part}: 1 weight is missing, e"):
        load(folder)
    save_file(tensors | {first: tensors[first] * float("nan")}, file, {"format": "pt"})
    with pytest.raises(UserError, match="not finite"):
        load(folder)


def test_another_precision_beside_the_weights_is_not_read(
    folder: Path, models: dict[str, Model]
) -> None:
    files = sorted(folder.rglob("*.safetensors"))
    assert len(files) == len(PARTS)
    for file in files:
        half = {name: t.half() for name, t in load_file(file).items()}
        save_file(half, file.with_suffix(".fp16.safetensors"), {"format": "pt"})
    assert load(folder).identity == replace(models["drawing"].identity, name="pipeline")
    for file in files:
        file.unlink()
    halved = load(folder)
    assert halved.identity.dtype == "float16"
    whole = load(folder, dtype="float32")
    assert pixels(whole.draw(prompts(whole, 1)))[0].shape == (16, 16, 3)


def edit_index(folder: Path, **changes: Any) -> None:
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"_class_name": "StableDifusionPipeline"}, "Did you mean 'StableDiffusionPipeline'"),
        ({"vae": ["diffusers", "AutoencoderXX"]}, "'vae' is a AutoencoderXX of diffusers"),
        ({"vae": ["os", "system"]}, "'vae' is a system of os, and no such part is installed"),
        ({"hat": ["diffusers", "AutoencoderKL"]}, "names the part 'hat', and there is no folder"),
        ({"_class_name": "KandinskyCombinedPipeline"}, "loads further repositories"),
    ],
)
def test_an_index_that_names_what_is_not_there_is_refused(
    folder: Path, changes: dict[str, Any], told: str
) -> None:
    edit_index(folder, **changes)
    with pytest.raises(UserError, match=told) as refused:
        load(folder)
    assert refused.value.hint


def test_pickled_parts_are_refused(folder: Path) -> None:
    (file,) = (folder / "unet").glob("*.safetensors")
    torch.save(load_file(file), file.with_suffix(".bin"))
    file.unlink()
    with pytest.raises(UserError, match=r"holds no \*\.safetensors, .* It holds: config\.json"):
        load(folder)


def test_a_missing_part_is_named(folder: Path) -> None:
    shutil.rmtree(folder / "vae")
    with pytest.raises(UserError, match="names the part 'vae', and there is no folder"):
        load(folder)


def test_a_folder_that_is_no_pipeline_is_refused(untrained: Path) -> None:
    with pytest.raises(UserError, match="not for --model diffusers: it is Janus") as refused:
        load(untrained)
    assert refused.value.hint == "--model janus takes it."


_CODE = """
from pathlib import Path
from diffusers import StableDiffusionPipeline

Path("MARK").touch()


class StrangePipeline(StableDiffusionPipeline):
    pass
"""


@pytest.fixture
def strange(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pipeline whose class lies in the folder; its code leaves a mark beside it."""
    modules = str(folder.parent / "modules")
    monkeypatch.setattr("diffusers.utils.dynamic_modules_utils.HF_MODULES_CACHE", modules)
    code = _CODE.replace("MARK", str(folder.parent / "ran"))
    (folder / "strange_pipeline.py").write_text(code)
    edit_index(folder, _class_name=["strange_pipeline", "StrangePipeline"])
    return folder


def test_code_of_a_pipeline_is_run_where_allowed_alone(
    strange: Path, models: dict[str, Model]
) -> None:
    with pytest.raises(UserError, match="only code that lies in it can read it"):
        load(strange)
    assert not (strange.parent / "ran").exists()
    model = load(strange, remote_code=True)
    assert model.ran_remote_code and (strange.parent / "ran").exists()
    ours, theirs = (pixels(one.draw(prompts(one, 1)))[0] for one in (model, models["drawing"]))
    assert (ours == theirs).all()
