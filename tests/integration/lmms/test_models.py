"""lmms-eval's model classes on our benchmarks: a simple one, and one of chat templates."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.command_line import Cli

from pairuni_eval.adapters import load_model
from pairuni_eval.decoding import Decoding
from pairuni_eval.errors import ModelError, UserError
from pairuni_eval.models.base import LoadOptions, Request
from pairuni_eval.store.read import StoredRun

WORDS = ["<unk>", "<pad>", "<s>", "</s>", "<image>", "\n", *map(chr, range(32, 127))]
TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}"
    "{% endfor %}\n{% endfor %}assistant:"
)


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaVA of transformers with random weights and a vocabulary of single characters."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models

    folder = tmp_path_factory.mktemp("checkpoints") / "llava"
    known = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.BPE(vocab=known, merges=[], unk_token="<unk>"))
    tokenizer.decoder = decoders.Fuse()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens={"image_token": "<image>"},
    )
    side = {"height": 28, "width": 28}
    transformers.LlavaProcessor(
        transformers.CLIPImageProcessor(size={"shortest_edge": 28}, crop_size=side),
        fast,
        patch_size=14,
        vision_feature_select_strategy="full",
        image_token="<image>",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    ).save_pretrained(folder)
    small = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(
            **small, image_size=28, patch_size=14, projection_dim=32
        ),
        text_config=transformers.LlamaConfig(
            **small,
            vocab_size=len(WORDS),
            max_position_embeddings=1024,
            bos_token_id=2,
            eos_token_id=3,
            pad_token_id=1,
        ),
        image_token_index=4,
        image_seq_length=5,
        vision_feature_select_strategy="full",
    )
    torch.manual_seed(0)
    transformers.LlavaForConditionalGeneration(config).save_pretrained(folder)
    return folder


def requests(**settings: Any) -> list[Request]:
    pictures = [Image.new("RGB", (64, 40), (255, 80 * i, 0)) for i in range(3)]
    return [
        Request((picture, f"How many? {'x' * i}"), Decoding(max_tokens=6, **settings), i, str(i))
        for i, picture in enumerate(pictures)
    ]


def load(name: str, **arguments: str) -> Any:
    return load_model(name, "lmms", LoadOptions("cpu", arguments=arguments))


@pytest.fixture
def data(tmp_path: Path, photographs: dict[str, bytes], write_pope: Callable[..., Path]) -> Path:
    """Four questions in POPE's published columns."""
    asked = [("cat", "chelsea.png", "yes"), ("dog", "chelsea.png", "no")]
    asked += [("cup", "coffee.png", "yes"), ("car", "coffee.png", "no")]
    rows = [
        {
            "id": str(number),
            "question_id": str(number),
            "question": f"Is there a {thing} in the image?",
            "answer": gold,
            "image_source": Path(name).stem,
            "image": {"bytes": photographs[name], "path": name},
            "category": "random",
        }
        for number, (thing, name, gold) in enumerate(asked)
    ]
    write_pope(tmp_path / "data", rows)
    return tmp_path / "data"


def test_a_chat_class_answers_whoever_its_neighbors_are(llava: Path) -> None:
    model = load("lfm2_5_vl", pretrained=str(llava))
    together = model.answer(requests())
    assert all(reply.text and not reply.error for reply in together)
    assert [reply.tokens for reply in together] == [6, 6, 6]
    assert [model.answer([one])[0] for one in requests()] == together
    drawn = model.answer(requests(temperature=1.0))
    assert len({reply.text for reply in drawn}) == 3
    alone = [model.answer([one])[0] for one in reversed(requests(temperature=1.0))]
    assert alone[::-1] == drawn


def test_a_chat_class_runs_a_benchmark_from_its_published_schema(
    cli: Cli, llava: Path, data: Path
) -> None:
    def run(out: str, size: int) -> StoredRun:
        ran = cli(
            *("run", "--checkpoint", "lfm2_5_vl", "--model", "lmms"),
            *("--model-args", f"pretrained={llava}", "--benchmarks", "pope", "--data", data),
            *("--batch-size", size, "--device", "cpu", "--out", out, "--report", "none"),
        )
        assert ran.code == 0, ran.err
        return StoredRun(Path(out))

    one, many = run("one", 1), run("many", 16)
    assert list(one.outputs["parts"]) == list(many.outputs["parts"])
    assert one.outputs["error"].isna().all()
    identity = one.card.checkpoint
    assert identity.name == f"lmms:lfm2_5_vl pretrained={llava}"
    assert identity.dtype == "bfloat16"
    assert f"--model-args pretrained={llava}" in one.card.command
    before = Path("one/COMPLETE").read_bytes()
    run("one", 1)
    assert Path("one/COMPLETE").read_bytes() == before


def test_a_simple_class_answers_as_the_model_behind_it(cli: Cli, data: Path) -> None:
    """lmms-eval's name for our own models: there and back again is the same answer."""

    def answers(out: str, *checkpoint: str) -> list[str]:
        ran = cli(
            *("run", *checkpoint, "--benchmarks", "pope", "--data", data, "--device", "cpu"),
            *("--out", out, "--report", "none"),
        )
        assert ran.code == 0, ran.err
        return [json.loads(parts)[0]["text"] for parts in StoredRun(Path(out)).outputs["parts"]]

    theirs = ("--checkpoint", "pairuni", "--model", "lmms", "--model-args", "checkpoint=tiny")
    assert answers("there", *theirs) == answers("here", "--checkpoint", "tiny")


def test_weights_in_a_folder_are_hashed_and_others_are_what_they_are_called(llava: Path) -> None:
    from pairuni_eval.models.weights import check_weights

    assert load("lfm2_5_vl", pretrained=str(llava)).identity.weights == check_weights(llava).digest
    one, other = (load("dummy", response=text).identity for text in ("A", "B"))
    assert one.weights != other.weights
    assert one.dtype == "unknown"


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("lfm2_5_v", {}, "Unknown lmms-eval model 'lfm2_5_v'. Did you mean 'lfm2_5_vl'?"),
        ("huggingface", {"wrong": "1"}, "AssertionError: Unexpected kwargs: {'wrong': 1}"),
        ("pairuni", {"checkpoint": "nothing"}, "There is no checkpoint 'nothing'"),
        ("pairuni", {"chekpoint": "tiny"}, "unexpected keyword argument 'chekpoint'"),
    ],
)
def test_what_a_class_cannot_be_made_of_is_told(
    name: str, arguments: dict[str, str], told: str
) -> None:
    with pytest.raises(UserError) as caught:
        load(name, **arguments)
    assert told in caught.value.message


def test_what_a_class_raises_is_an_error_of_the_model(llava: Path) -> None:
    with pytest.raises(ModelError, match="audios"):  # this processor has no place for sound
        load("huggingface", pretrained=str(llava)).answer(requests())


def test_code_of_a_checkpoint_is_not_run(llava: Path, tmp_path: Path) -> None:
    folder = tmp_path / "own-code"
    shutil.copytree(llava, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    with pytest.raises(UserError, match="brings code of its own"):
        load("lfm2_5_vl", pretrained=str(folder))
    assert not (tmp_path / "ran").exists()
