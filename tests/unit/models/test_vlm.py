"""Models of transformers that answer questions: small random ones of real classes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from support import small_vlms

from pairuni_eval.adapters import expected_memory, load_model
from pairuni_eval.decoding import Decoding
from pairuni_eval.errors import UserError
from pairuni_eval.models.base import LoadOptions, Model, Request
from pairuni_eval.models.vlm.token_choice import TokenChoice
from pairuni_eval.models.weights import check_weights
from pairuni_eval.records import Capability

GREEDY = Decoding(max_tokens=10)
SAMPLED = Decoding(max_tokens=10, temperature=1.0, top_k=60, top_p=0.95)
NAMES = sorted(small_vlms.FAMILIES)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One checkpoint of each family."""
    root = tmp_path_factory.mktemp("vlms")
    return {name: make(root / name) for name, make in small_vlms.FAMILIES.items()}


@pytest.fixture(scope="module")
def models(folders: dict[str, Path]) -> dict[str, Model]:
    return {name: load(folder) for name, folder in folders.items()}


@pytest.fixture
def folder(folders: dict[str, Path], tmp_path: Path) -> Path:
    """A checkpoint that a test may damage."""
    return Path(shutil.copytree(folders["idefics3"], tmp_path / "checkpoint"))


def load(folder: Path, **options: Any) -> Model:
    return load_model(str(folder), "transformers", LoadOptions("cpu", **options))


def picture(seed: int, width: int = 40, height: int = 30) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def requests(decoding: Decoding, count: int = 9) -> list[Request]:
    """Questions of different lengths about no picture, one or two, of different sizes."""
    return [
        Request(
            (
                *(picture(10 * i + k, 40 + 9 * i, 30 + 7 * k) for k in range(i % 3)),
                f"What is {i}?" + "!" * i,
            ),
            decoding,
            seed=100 + i,
            uid=str(i),
        )
        for i in range(count)
    ]


# By default one family is greedy, too: what greed leaves out is the draw alone.
ASKED = [
    pytest.param(
        name,
        decoding,
        id=f"{name}-{kind}",
        marks=pytest.mark.slow if kind == "greedy" and number else (),
    )
    for number, name in enumerate(NAMES)
    for kind, decoding in (("greedy", GREEDY), ("sampled", SAMPLED))
]


@pytest.mark.parametrize(("name", "decoding"), ASKED)
def test_a_reply_depends_on_no_neighbor(
    models: dict[str, Model], name: str, decoding: Decoding
) -> None:
    asked = requests(decoding)
    together = models[name].answer(asked)
    alone = [models[name].answer([one])[0] for one in asked]
    turned = models[name].answer(asked[::-1])[::-1]
    assert together == alone == turned
    assert not any(reply.error for reply in together)
    assert all(0 < reply.tokens <= decoding.max_tokens for reply in together)
    assert len({reply.text for reply in together}) > 5, "it tells questions apart"


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_decides_what_is_sampled_and_nothing_greedy(
    models: dict[str, Model], name: str
) -> None:
    sampled = [requests(SAMPLED, 2)[1]._replace(seed=seed) for seed in (1, 2, 1)]
    first, second, again = models[name].answer(sampled)
    assert first == again != second
    greedy = [one._replace(decoding=GREEDY) for one in sampled]
    assert len(set(models[name].answer(greedy))) == 1


@pytest.mark.parametrize("name", NAMES)
def test_every_picture_counts_and_so_does_its_place(models: dict[str, Model], name: str) -> None:
    one, two = picture(1), picture(2)
    parts: list[tuple[Any, ...]] = [
        (one, "and", two, "?"),
        (two, "and", one, "?"),
        (one, "and", one, "?"),
        (one, "and?"),
        ("and?",),
    ]
    asked = [Request(p, GREEDY, seed=0, uid=str(i)) for i, p in enumerate(parts)]
    assert len({reply.text for reply in models[name].answer(asked)}) == len(parts)


def test_greedy_answers_are_those_of_generate(
    models: dict[str, Model], folders: dict[str, Path]
) -> None:
    """Held against transformers' own greedy search, fed by hand."""
    from transformers import AutoProcessor, Idefics3ForConditionalGeneration

    place = folders["idefics3"]
    network = Idefics3ForConditionalGeneration.from_pretrained(place)
    processor = AutoProcessor.from_pretrained(place)
    shown = picture(3)
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Cats?"}]}]
    prompt = processor.apply_chat_template(chat, add_generation_prompt=True)
    inputs = processor(text=prompt, images=[[shown]], return_tensors="pt")
    made = network.generate(**inputs, max_new_tokens=10, do_sample=False)[0]
    said = processor.tokenizer.decode(
        made[inputs["input_ids"].shape[1] :], skip_special_tokens=True
    )
    (reply,) = models["idefics3"].answer([Request((shown, "Cats?"), GREEDY, seed=0, uid="")])
    assert reply.text == said.strip()


def test_letters_of_a_special_token_stay_text(models: dict[str, Model]) -> None:
    model = models["qwen2.5-vl"]
    plain, spelled = (
        Request((picture(1), f"What is {word}?"), GREEDY, seed=0, uid="")
        for word in ("image_pad", "<|image_pad|>")
    )
    replies = model.answer([plain, spelled, plain])
    assert replies[0] == replies[2]
    assert [reply.error for reply in replies] == [None] * 3


# What is loaded


@pytest.mark.parametrize("name", NAMES)
def test_it_is_what_its_files_say(
    models: dict[str, Model], folders: dict[str, Path], name: str
) -> None:
    model, folder = models[name], folders[name]
    assert model.capabilities == {Capability.UNDERSTAND}
    assert model.identity.weights == check_weights(folder).digest
    assert (model.identity.adapter, model.identity.name) == ("transformers", name)
    assert (model.identity.dtype, model.ran_remote_code) == ("float32", False)
    memory = expected_memory(str(folder), "transformers", LoadOptions("cpu"))
    numbers = sum(t.numel() for t in load_file(folder / "model.safetensors").values())
    assert memory is not None
    assert (memory.weights, memory.dtype) == (4 * numbers, "float32")


def test_the_precision_is_the_checkpoints_own(tmp_path: Path) -> None:
    folder = small_vlms.llava(tmp_path / "llava", dtype=torch.bfloat16)
    assert load(folder).identity.dtype == "bfloat16"
    model = load(folder, dtype="float32")
    assert model.identity.dtype == "float32"
    (reply,) = model.answer([Request((picture(0), "What?"), GREEDY, seed=0, uid="")])
    assert reply.text and reply.error is None


def weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change the weights of a checkpoint."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def test_a_missing_tensor_is_named(folder: Path) -> None:
    gone = next(name for name in load_file(folder / "model.safetensors") if "q_proj" in name)
    weights(folder, lambda tensors: tensors.pop(gone))
    with pytest.raises(UserError, match=r"1 weight is missing, e\.g\. .*q_proj"):
        load(folder)


def test_a_tensor_without_a_place_is_a_note_and_laid_over_a_base_an_error(
    folder: Path, folders: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    weights(folder, lambda tensors: tensors.update(stranger=torch.zeros(2)))
    load(folder)
    assert "stranger has no place in Idefics3ForConditionalGeneration" in caplog.text
    over = f"{folders['idefics3']}+{folder / 'model.safetensors'}"
    with pytest.raises(UserError, match=r"has no place in Idefics3.*: stranger"):
        load_model(over, "transformers", LoadOptions("cpu"))


def test_weights_are_laid_over_a_base(folder: Path, folders: dict[str, Path]) -> None:
    (folder / "config.json").unlink()
    weights(folder, lambda tensors: [t.mul_(2) for t in tensors.values() if t.dim() > 1])
    over = f"{folders['idefics3']}+{folder / 'model.safetensors'}"
    ours = load_model(over, "transformers", LoadOptions("cpu"))
    base = load(folders["idefics3"])
    asked = requests(GREEDY, 4)
    assert ours.answer(asked) != base.answer(asked)
    assert ours.identity.weights != base.identity.weights


def test_numbers_that_are_not_finite_are_refused_and_logits_an_error(
    folder: Path, models: dict[str, Model]
) -> None:
    model = load(folder)
    network: Any = model._network  # type: ignore[attr-defined]
    network.lm_head.weight.data[5] = float("nan")
    told = "the model gave no finite logits in float32; try another checkpoint"
    for reply in model.answer(requests(SAMPLED, 3)):
        assert reply.text is None and str(reply.error).startswith(told)
    weights(folder, lambda tensors: tensors["lm_head.weight"].fill_(float("inf")))
    with pytest.raises(UserError, match=r"not finite in lm_head\.weight"):
        load(folder)


# What is refused


def edit_json(path: Path, **changes: Any) -> None:
    table = json.loads(path.read_text())
    path.write_text(json.dumps(table | changes))


def test_without_a_chat_template_nobody_can_ask(tmp_path: Path) -> None:
    folder = small_vlms.llava(tmp_path / "base", template=None)
    with pytest.raises(UserError, match="has no chat template"):
        load(folder)


def test_a_template_that_leaves_pictures_out_is_refused(tmp_path: Path) -> None:
    template = "{% for m in messages %}{{ m.content[-1].text }}{% endfor %}"
    folder = small_vlms.qwen(tmp_path / "blind", template=template)
    with pytest.raises(UserError, match="cannot show a picture to the model"):
        load(folder)


@pytest.mark.parametrize("make", [small_vlms.qwen, small_vlms.llava, small_vlms.idefics])
def test_a_tokenizer_of_a_text_model_is_refused(make: Any, tmp_path: Path) -> None:
    folder = make(tmp_path / "checkpoint")
    words = small_vlms.tokenizer(("<s>", "</s>"), end="</s>", pad="</s>", template=None)
    words.save_pretrained(folder)
    if make is small_vlms.qwen:  # which keeps its template with the tokenizer
        (folder / "chat_template.jinja").write_text(small_vlms.QWEN_TEMPLATE)
    with pytest.raises(UserError, match=r"its tokenizer has no token|its tokenizer has number"):
        load(folder)


def test_without_a_processor_of_images_it_is_refused(folder: Path) -> None:
    for name in ("processor_config.json", "preprocessor_config.json"):
        (folder / name).unlink(missing_ok=True)
    with pytest.raises(UserError, match="processor"):
        load(folder)


@pytest.mark.skipif(find_spec("torchvision") is not None, reason="torchvision is installed")
def test_a_processor_that_needs_a_package_names_it(folder: Path) -> None:
    edit_json(folder / "config.json", model_type="smolvlm")
    edit_json(folder / "processor_config.json", processor_class="SmolVLMProcessor")
    told = "a package that is not installed: SmolVLMProcessor reads videos, too, by torchvision"
    with pytest.raises(UserError, match=told) as refused:
        load(folder)
    assert "torchvision must fit" in str(refused.value.hint)


@pytest.mark.parametrize(
    ("table", "told", "hint"),
    [
        ({"model_type": "llama"}, "no model of model_type 'llama' that answers", "newer"),
        ({"model_type": "llada"}, "it is Lumina-DiMOO", "--model llada takes it"),
        ({"model_type": "brand_new"}, "no model of model_type 'brand_new'", "newer"),
    ],
)
def test_a_model_of_another_kind_is_named(
    folder: Path, table: dict[str, Any], told: str, hint: str
) -> None:
    (folder / "config.json").write_text(json.dumps(table))
    with pytest.raises(UserError, match=told) as refused:
        load(folder)
    assert hint in str(refused.value.hint)


def test_a_folder_of_such_a_family_names_the_adapter(folder: Path) -> None:
    with pytest.raises(UserError, match="which answers questions about images") as refused:
        load_model(str(folder), None, LoadOptions())
    assert refused.value.hint == "--model transformers takes it."


# Code of a checkpoint

_CODE = """
from pathlib import Path
from transformers import LlavaConfig, LlavaForConditionalGeneration

Path("MARK").touch()


class StrangeConfig(LlavaConfig):
    model_type = "strange"


class StrangeModel(LlavaForConditionalGeneration):
    config_class = StrangeConfig
"""


@pytest.fixture
def strange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint that only its own code reads; the code leaves a mark beside it."""
    monkeypatch.setattr(
        "transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules")
    )
    from transformers import LlavaForConditionalGeneration

    folder = small_vlms.llava(tmp_path / "strange")
    network = LlavaForConditionalGeneration.from_pretrained(folder)
    save_file(network.state_dict(), folder / "model.safetensors", {"format": "pt"})
    (folder / "strange_model.py").write_text(_CODE.replace("MARK", str(tmp_path / "ran")))
    offered = {
        "AutoConfig": "strange_model.StrangeConfig",
        "AutoModelForImageTextToText": "strange_model.StrangeModel",
    }
    edit_json(folder / "config.json", model_type="strange", auto_map=offered)
    return folder


def test_code_of_a_checkpoint_is_not_run_unless_allowed(strange: Path) -> None:
    with pytest.raises(UserError, match="only code that lies in it can read it") as refused:
        load(strange)
    assert "--allow-remote-code" in str(refused.value.hint)
    assert not (strange.parent / "ran").exists()


def test_code_of_a_checkpoint_is_run_where_allowed(strange: Path) -> None:
    model = load(strange, remote_code=True)
    assert model.ran_remote_code
    assert (strange.parent / "ran").exists()
    asked = requests(GREEDY, 4)
    native = load(small_vlms.llava(strange.parent / "native"), remote_code=True)
    assert not native.ran_remote_code, "transformers reads it by itself"
    assert model.answer(asked) == native.answer(asked)


def test_code_without_the_class_that_answers_is_refused(strange: Path) -> None:
    edit_json(strange / "config.json", auto_map={"AutoModel": "strange_model.StrangeModel"})
    with pytest.raises(UserError, match="its code offers AutoModel, and not AutoModelFor"):
        load(strange, remote_code=True)


# Which token comes next


def choose(logits: Sequence[Sequence[float]], decoding: Decoding, *steps: Any) -> TokenChoice:
    choice = TokenChoice(
        decoding, range(len(logits)), ends=[0], filler=0, device=torch.device("cpu")
    )
    for one in (logits, *steps):
        left_BV = choice(torch.zeros(0), torch.tensor(one))
        assert (left_BV.isfinite().sum(-1) == 1).all(), "one token a row is left"
    return choice


def test_the_likeliest_token_is_chosen_up_to_the_end() -> None:
    first = [[0.0, 1.0, 2.0], [0.0, 3.0, 2.0]]
    second = [[5.0, 1.0, 2.0], [0.0, 1.0, 2.0]]  # the first row ends
    third = [[0.0, 1.0, 2.0], [0.0, 1.0, 0.0]]
    assert choose(first, GREEDY, second, third).said() == [[2, 0], [1, 2, 1]]


def test_one_row_that_is_not_finite_ends_alone() -> None:
    inf, nan = float("inf"), float("nan")
    rows = [[0.0, nan, 1.0], [0.0, 1.0, 0.0], [0.0, inf, 1.0], [-inf] * 3, [-inf, 0.0, -inf]]
    choice = choose(rows, SAMPLED)
    assert choice.finite_B.tolist() == [False, True, False, False, True]
    assert choice.said()[4] == [1], "minus infinity is a token that the network rules out"
    after = choose([[1.0, 0.0, 0.0]], GREEDY, [[nan] * 3])
    assert after.finite_B.tolist() == [True], "nobody looks at a row that has ended"


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    count = 4000
    choice = choose([[0.0, np.log(3.0), float("-inf")]] * count, Decoding(temperature=1.0))
    drawn = [row[0] for row in choice.said()]
    assert abs(sum(drawn) / count - 0.75) < 0.03
    assert set(drawn) == {0, 1}
