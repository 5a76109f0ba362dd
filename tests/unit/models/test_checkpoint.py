"""Checkpoint folders: found, described, checked; only whole weights get through."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pairuni_eval.adapters import find_adapter, load_model
from pairuni_eval.errors import UserError
from pairuni_eval.models.base import LoadOptions, Model
from pairuni_eval.models.checkpoint import (
    find_folder,
    read_config,
    read_declaration,
)
from pairuni_eval.models.weights import check_weights
from pairuni_eval.records import Capability
from pairuni_eval.tiny import janus


@pytest.fixture
def folder(untrained: Path, tmp_path: Path) -> Path:
    """A checkpoint that a test may damage."""
    return Path(shutil.copytree(untrained, tmp_path / "checkpoint"))


def test_the_weights_of_the_tiny_model_are_shipped_and_small() -> None:
    files = check_weights(janus.shipped()).files
    assert read_config(janus.shipped())["model_type"] == "janus"
    assert sum(path.stat().st_size for path in files) < 12_000_000


def test_an_existing_folder_is_taken_as_it_is(folder: Path) -> None:
    assert find_folder(str(folder)) == folder


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("tinny", "There is no checkpoint 'tinny'.*Did you mean 'tiny'"),
        ("/no/such/folder", "There is no checkpoint '/no/such/folder'"),
        ("nobody/nothing", "There is no folder 'nobody/nothing', and the hub gave none"),
        ("no one/no thing", "There is no folder 'no one/no thing', and the hub gave none"),
    ],
)
def test_a_checkpoint_that_is_nowhere_is_refused(name: str, told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        find_folder(name)
    assert caught.value.hint


def test_a_near_folder_is_offered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    with pytest.raises(UserError, match="Did you mean 'checkpoint'"):
        find_folder("chekpoint")


def test_a_file_is_no_checkpoint(folder: Path) -> None:
    with pytest.raises(UserError, match="is a file; a checkpoint is a folder"):
        find_folder(str(folder / "config.json"))


def test_a_folder_without_config_says_what_it_holds(folder: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"has no config\.json. It holds: .*model\.safetensors"):
        read_config(folder)


@pytest.mark.parametrize(
    ("content", "told"), [(b"{", "not JSON"), (b"\xff", "not JSON"), (b"[]", "found list")]
)
def test_a_config_that_is_no_object_is_refused(folder: Path, content: bytes, told: str) -> None:
    (folder / "config.json").write_bytes(content)
    with pytest.raises(UserError, match=told):
        read_config(folder)


def test_a_declaration_is_optional_but_not_free(folder: Path) -> None:
    assert read_declaration(folder).step == 0
    (folder / "pairuni.json").write_text('{"step": "many"}')
    with pytest.raises(UserError, match=r"pairuni\.json"):
        read_declaration(folder)
    (folder / "pairuni.json").unlink()
    assert read_declaration(folder).capabilities is None


@pytest.mark.parametrize("kept", [0, 5, 1000, -1])
def test_truncated_weights_are_refused(folder: Path, kept: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"model\.safetensors: cut off or damaged"):
        check_weights(folder)


def test_pickled_weights_that_hold_code_are_refused_and_never_run(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    with pytest.raises(UserError, match=r"holds more than weights \(os.system\)"):
        check_weights(folder)
    assert not Path("ran").exists()


@pytest.mark.parametrize("name", ["model.pt", "last.ckpt"])
def test_weights_under_another_name_are_laid_over_a_base(folder: Path, name: str) -> None:
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(b"")
    with pytest.raises(UserError, match=f"no weights under their usual names .*but {name}") as told:
        check_weights(folder)
    assert f"BASE+{folder / name}" in str(told.value.hint)


def pickle_weights(folder: Path, names: Sequence[str] = ("pytorch_model.bin",)) -> None:
    """The folder's weights as torch.save writes them, in one file or in shards with an index."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    places = {name: names[i % len(names)] for i, name in enumerate(sorted(state))}
    for file in names:
        torch.save({n: t for n, t in state.items() if places[n] == file}, folder / file)
    if len(names) > 1:
        index = {"metadata": {}, "weight_map": places}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


SHARDS = ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin")


@pytest.mark.parametrize("names", [("pytorch_model.bin",), SHARDS])
def test_pickled_weights_give_the_same_model(
    folder: Path, untrained: Path, names: Sequence[str]
) -> None:
    pickle_weights(folder, names)
    ours, theirs = (load_model(str(one), None, LoadOptions()) for one in (folder, untrained))
    assert states_equal(ours, theirs)
    assert ours.identity.weights == check_weights(folder).digest != theirs.identity.weights


def test_a_pickled_shard_that_is_missing_is_named(folder: Path) -> None:
    pickle_weights(folder, SHARDS)
    (folder / SHARDS[1]).unlink()
    with pytest.raises(UserError, match=f"names {SHARDS[1]}, and there is no such file"):
        load_model(str(folder), None, LoadOptions())


def states_equal(ours: Model, theirs: Model) -> bool:
    one, two = (model.policy.state_dict() for model in (ours, theirs))  # type: ignore[attr-defined]
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_a_bare_file_of_weights_is_laid_over_its_base(folder: Path, tmp_path: Path) -> None:
    state = load_file(folder / "model.safetensors")
    name = "model.language_model.norm.weight"
    file = tmp_path / "trained.pt"
    torch.save({"state_dict": {f"module.{name}": state[name] + 1.0}}, file)
    model = load_model(f"{folder}+{file}", None, LoadOptions())
    own = model.policy.janus.state_dict()  # type: ignore[attr-defined]
    assert torch.equal(own[name], state[name] + 1.0)
    assert all(torch.equal(own[other], state[other]) for other in state if other != name)
    assert model.identity.name == "trained.pt"
    assert model.identity.weights not in (check_weights(folder).digest, check_weights(file).digest)
    other = tmp_path / "other.pt"
    torch.save({"value_head.weight": torch.zeros(2)}, other)
    with pytest.raises(UserError, match=r"1 tensor has no place in Janus: value_head\.weight"):
        load_model(f"{folder}+{other}", None, LoadOptions())
    with pytest.raises(UserError, match=r"there is no .*nothing\.pt to be laid over"):
        load_model(f"{folder}+{tmp_path / 'nothing.pt'}", None, LoadOptions())


def test_a_folder_without_weights_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="holds no model weights"):
        check_weights(folder)


def shard(folder: Path) -> None:
    model = janus.load(folder).model
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="200KB")


def test_a_missing_shard_is_refused(folder: Path) -> None:
    shard(folder)
    shards = sorted(folder.glob("*.safetensors"))
    assert len(shards) > 1
    load_model(str(folder), None, LoadOptions())
    shards[-1].unlink()
    with pytest.raises(UserError, match=shards[-1].name):
        load_model(str(folder), None, LoadOptions())


def test_weights_that_lack_a_tensor_are_refused_not_filled_up(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = janus.load(folder).model.state_dict()
    lost = "model.language_model.norm.weight"
    save_file(
        {name: t.clone() for name, t in tensors.items() if name != lost},
        path,
        metadata={"format": "pt"},
    )
    with pytest.raises(UserError, match=f"1 weight is missing, e.g. {lost}"):
        load_model(str(folder), None, LoadOptions())


def test_weights_of_another_size_are_refused(folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["text_config"]["vocab_size"] += 1
    path.write_text(json.dumps(config))
    told = r"2 tensors are of another shape than Janus.*lm_head\.weight is 222x32 and not 223x32"
    with pytest.raises(UserError, match=told):
        load_model(str(folder), None, LoadOptions())


@pytest.mark.parametrize("adapter", ["transformers", "diffusers", "bagel", "llada"])
def test_a_folder_of_another_adapters_family_is_refused_by_its_name(adapter: str) -> None:
    """transformers has a class for Janus, which answers, and not as Janus does."""
    with pytest.raises(UserError, match=f"tiny is not for --model {adapter}: it is Janus") as one:
        find_adapter("tiny", adapter)
    assert "--model janus takes it" in str(one.value.hint)
    assert find_adapter("tiny", "janus").adapter == "janus"
    assert find_adapter("OWNER/NAME", adapter).adapter == adapter  # not looked for on the hub


def test_a_model_type_without_adapter_is_named(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(UserError, match="No adapter for model_type 'llama'") as caught:
        find_adapter(str(folder))
    assert "--model" in str(caught.value.hint)
    with pytest.raises(UserError, match="not of a Janus model"):
        load_model(str(folder), "janus", LoadOptions())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (LoadOptions(device="gpu"), "Unknown device 'gpu'"),
        (LoadOptions(dtype="float"), ""),
        (LoadOptions(dtype="half precision"), "Unknown precision 'half precision'"),
    ],
)
def test_unknown_device_or_precision_is_refused(
    untrained: Path, options: LoadOptions, told: str
) -> None:
    if not told:
        assert load_model(str(untrained), None, options).identity.dtype == "float32"
        return
    with pytest.raises(UserError, match=told):
        load_model(str(untrained), None, options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_device_is_refused(untrained: Path) -> None:
    with pytest.raises(UserError, match="There is no device 'cuda' here"):
        load_model(str(untrained), None, LoadOptions(device="cuda"))


def test_an_identity_is_the_weights_and_not_the_folder(untrained: Path, folder: Path) -> None:
    one = load_model(str(untrained), None, LoadOptions()).identity
    two = load_model(str(folder), None, LoadOptions()).identity
    assert one.weights == two.weights == check_weights(folder).digest
    assert (one.name, two.name) == ("untrained", "checkpoint")
    assert (one.step, one.recipe, one.dtype, one.adapter) == (0, "none", "float32", "janus")


def test_capabilities_are_the_declared_ones_or_the_native_two(folder: Path) -> None:
    assert load_model(str(folder), None, LoadOptions()).capabilities == frozenset(Capability)
    (folder / "pairuni.json").unlink()
    assert load_model(str(folder), None, LoadOptions()).capabilities == {
        Capability.UNDERSTAND,
        Capability.GENERATE,
    }
    (folder / "pairuni.json").write_text('{"capabilities": ["draw"]}')
    with pytest.raises(UserError, match="draw"):
        load_model(str(folder), None, LoadOptions())


# Other precisions beside the weights, and indexes of other names


@pytest.mark.parametrize(
    "beside", ["model.fp16.safetensors", "model.fp16-00001-of-00002.safetensors"]
)
def test_a_variant_beside_the_weights_is_not_read(folder: Path, beside: str) -> None:
    before = check_weights(folder)
    shutil.copy(folder / "model.safetensors", folder / beside)
    assert check_weights(folder) == before
    (folder / "model.safetensors").unlink()
    assert [path.name for path in check_weights(folder).files] == [beside]


def test_of_several_variants_nobody_chooses(folder: Path) -> None:
    for variant in ("fp16", "non_ema"):
        shutil.copy(folder / "model.safetensors", folder / f"model.{variant}.safetensors")
    (folder / "model.safetensors").unlink()
    with pytest.raises(
        UserError, match=r"several variants .*: model\.fp16\.safetensors, model\.non"
    ):
        check_weights(folder)


@pytest.mark.parametrize("whole", ["model", "diffusion_pytorch_model"])
def test_a_shard_that_an_index_of_any_name_lists_is_missed(folder: Path, whole: str) -> None:
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = [f"{whole}-0000{i}-of-00002.safetensors" for i in (1, 2)]
    places = {name: names[i % 2] for i, name in enumerate(sorted(state))}
    for file in names:
        save_file({n: t for n, t in state.items() if places[n] == file}, folder / file)
    (folder / f"{whole}.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    assert [path.name for path in check_weights(folder).files] == names
    (folder / names[1]).unlink()
    with pytest.raises(UserError, match=f"names {names[1]}, and there is no such file"):
        check_weights(folder)


# What is fetched of a repository

REPOSITORIES = {
    "janus": (
        *("config.json", "tokenizer.json", "model.safetensors", "pytorch_model.bin", "janus.py"),
        "README.md",
    ),
    "pickled": ("config.json", "pytorch_model.bin"),
    "pipeline": (
        *("model_index.json", "whole.safetensors", "whole.fp16.safetensors", "own.py"),
        *("unet/config.json", "unet/diffusion_pytorch_model.safetensors"),
        *("unet/diffusion_pytorch_model.fp16.safetensors", "unet/diffusion_pytorch_model.bin"),
        *("tokenizer/merges.txt", "text_encoder/model-00001-of-00002.safetensors"),
    ),
}


@pytest.mark.parametrize(
    ("repo", "code", "fetched"),
    [
        ("janus", False, {"config.json", "tokenizer.json", "model.safetensors"}),
        ("janus", True, {"config.json", "tokenizer.json", "model.safetensors", "janus.py"}),
        ("pickled", False, {"config.json", "pytorch_model.bin"}),
        (
            "pipeline",
            False,
            {
                *("model_index.json", "unet/config.json", "tokenizer/merges.txt"),
                "unet/diffusion_pytorch_model.safetensors",
                "text_encoder/model-00001-of-00002.safetensors",
            },
        ),
    ],
)
def test_of_a_repository_what_is_read_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repo: str, code: bool, fetched: set[str]
) -> None:
    from huggingface_hub.utils import filter_repo_objects

    def download(name: str, *, allow_patterns: list[str], ignore_patterns: object = None) -> str:
        """What the hub's own client chooses, as empty files."""
        assert name == f"acme/{repo}"
        chosen = filter_repo_objects(
            REPOSITORIES[repo], allow_patterns=allow_patterns, ignore_patterns=ignore_patterns
        )
        for file in chosen:
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).touch()
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert find_folder(f"acme/{repo}", code=code) == tmp_path
    there = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert there == fetched
