"""Optional packages: every command works without them, or ends at once with the pip line it needs.

The commands run in one process in which none of the extras' packages can be imported.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
from support import ROOT
from support import example_run as example
from support import small_training as small

from pairuni_eval import extras
from pairuni_eval.cli import app as eval_app
from pairuni_eval.errors import UserError
from pairuni_eval.extras import needs, packages, pip_line
from pairuni_train.cli import app as train_app
from pairuni_train.pair_data.dataset import write_pairs

WORKS: dict[str, str] = {
    "list what is installed": "pairuni-eval list benchmarks",
    "version": "pairuni-eval version",
    "run": "pairuni-eval run --checkpoint scripted:script.jsonl --benchmarks tiny-pope --limit 4 "
    "--baseline none --out 'a run'",
    "plan": "pairuni-eval run --checkpoint scripted:script.jsonl --benchmarks tiny-pope --limit 4 "
    "--out planned --plan",
    "grade": "pairuni-eval grade --benchmark tiny-pope --responses answers.jsonl --limit 2",
    "report": "pairuni-eval report a --baseline b=b",
    "compare": "pairuni-eval compare a b",
    "board": "pairuni-eval board . --out board",
    "push": "pairuni-eval push a --to acme/model",
    "show": "pairuni-eval show 'a run' random",
    "validate": "pairuni-eval validate tiny-pope --limit 4",
    "fetch": "pairuni-eval fetch --benchmarks tiny-pope --to fetched",
    "bridge": "pairuni-eval bridge --write serve_model.py",
    "convert": "pairuni-eval convert tiny converted --format transformers",
    "train's list": "pairuni-train list",
    "train's version": "pairuni-train version",
    "stats": "pairuni-train pairs stats pairs/pairug.parquet",
    "check": "pairuni-train pairs check pairs/pairug.parquet --against tiny-pope",
    "neighbors": "pairuni-train pairs neighbors pairs/pairug.parquet --run 'a run' --encoder tiny",
}
TRAIN = "pairuni-train run --recipe tiny --pairs pairs --out trained"
NEEDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "suite": ("pairuni-eval run --checkpoint tiny --suite paper", ("geneval", "judge")),
    "plan of one": ("pairuni-eval run --checkpoint tiny --benchmarks wise --plan", ("judge",)),
    "hpsv2": ("pairuni-eval run --checkpoint tiny --benchmarks hpsv2", ("hps",)),
    "model behind an endpoint": (
        "pairuni-eval run --checkpoint endpoint:model.toml --benchmarks tiny-pope",
        ("judge",),
    ),
    "a pipeline": (
        "pairuni-eval run --checkpoint sdxl --model diffusers --benchmarks tiny-geneval",
        ("diffusers",),
    ),
    "task of lmms-eval": ("pairuni-eval run --checkpoint tiny --benchmarks lmms:x", ("lmms",)),
    "model of lmms-eval": (
        "pairuni-eval run --model lmms --checkpoint dummy --model-args response=A "
        "--benchmarks tiny-pope",
        ("lmms",),
    ),
    "grade by a judge": ("pairuni-eval grade --benchmark wise --responses x.jsonl", ("judge",)),
    "grade a sheet": (
        "pairuni-eval grade --benchmark tiny-pope --responses x.xlsx",
        ("vlmevalkit",),
    ),
    "train": (TRAIN, ("train",)),
    "train's built pairs": ("pairuni-train run --recipe tiny --out trained", ("train",)),
    "adapters": (f"{TRAIN} --set lora.rank=2", ("train", "lora")),
    "reward": (f"{TRAIN} --set 'gen.rewards=[{{name=\"hps\"}}]'", ("train", "hps")),
    "teach": (
        "pairuni-train sft --arm pairuni --recipe tiny --pairs pairs --out taught",
        ("train",),
    ),
    "probe": ("pairuni-train probe --checkpoint tiny --pairs pairs --out probed", ("train",)),
    "build": ("pairuni-train pairs build --preset tiny --out built", ("train",)),
    "build, models asked": (
        "pairuni-train pairs build --preset orsta-blip3o --out built",
        ("train", "judge"),
    ),
    "build, nobody asked": (
        "pairuni-train pairs build --preset orsta-blip3o --arms random --out built",
        ("train",),
    ),
    "build with pe": ("pairuni-train pairs build --config pe.toml --out built", ("train", "pe")),
    "neighbors by pe": (
        "pairuni-train pairs neighbors pairs/pairug.parquet --run a --encoder pe",
        ("pe",),
    ),
    "reproduce": ("pairuni-train reproduce table2 --root root", ("train",)),
    "reproduce at scale": (
        "pairuni-train reproduce table2 --recipe janus-pro-1b",
        ("train", "hps"),
    ),
}
PRETRAINS = "pairuni-train pretrain-tiny --out pretrained --resume WEIGHTS"
STOPS = {  # what they need is not there: a sentence
    "baselines": ("pairuni-train baselines --out packed", "The arm "),
    "readers": ("pairuni-eval readers a", "None of these runs asks a model about drawn pictures"),
    "timeline": ("pairuni-eval timeline a b", "None of these runs has a training step"),
    "follow": ("pairuni-eval follow a --evaluate tiny", "a is not a training folder"),
    "train's push": ("pairuni-train push a --to acme/model", "a is not a training with"),
    "transfer": (
        "pairuni-train pairs transfer pairs/pairug.parquet --before a --after b",
        "None of the benchmarks that both runs have names its concepts",
    ),
}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """How every command ended, by its name above."""
    folder = tmp_path_factory.mktemp("without extras")
    for name, skill in (("a", 0.9), ("b", 0.4)):
        example.write_run(
            folder / name, name=name, skill=skill, count=12, benchmarks=example.cards(12)[:1]
        )
    (folder / "script.jsonl").write_text('{"prompt": "*", "text": "yes"}\n')
    (folder / "answers.jsonl").write_text('{"id": "random/92", "text": "yes"}\n')
    (folder / "pairs").mkdir()
    write_pairs(folder / "pairs" / "pairug.parquet", small.tiny_pairs(4))
    preset = (ROOT / "pairuni_train/pair_data/presets/tiny.toml").read_text()
    assert 'name = "tiny"\n' in preset.partition("[encoder]")[2]
    head, table, rest = preset.partition("[encoder]")
    (folder / "pe.toml").write_text(head + table + rest.replace('"tiny"', '"pe"', 1))

    others = {name: command for name, (command, _) in (NEEDS | STOPS).items()}
    words = {**WORKS, **others}
    place = tmp_path_factory.mktemp("said")
    return dict(zip(words, without_extras(list(words.values()), folder, place), strict=True))


def without_extras(commands: list[str], folder: Path, place: Path) -> list[dict[str, Any]]:
    """How commands end in a folder; see `tests/support/without_extras.py`."""
    asked, said = place / "commands.json", place / "ended.json"
    asked.write_text(json.dumps([shlex.split(one) for one in commands]))
    subprocess.run(
        [
            sys.executable,
            str(ROOT / "tests" / "support" / "without_extras.py"),
            str(asked),
            str(said),
        ],
        cwd=folder,
        env={**os.environ, "XDG_CACHE_HOME": str(place / "cache")},
        check=True,
    )
    found: list[dict[str, Any]] = json.loads(said.read_text())
    return found


@pytest.mark.parametrize("name", WORKS)
def test_it_works_without_extras(ended: dict[str, Any], name: str) -> None:
    assert ended[name]["code"] == 0, ended[name]["err"]
    assert "pip install" not in ended[name]["err"]


@pytest.mark.slow
def test_the_tiny_model_is_trained_without_extras(tmp_path: Path, tiny_weights: Path) -> None:
    command = PRETRAINS.replace("WEIGHTS", shlex.quote(str(tiny_weights)))
    (one,) = without_extras([command], tmp_path, tmp_path)
    assert one["code"] == 0, one["err"]
    assert "pretrained/model.safetensors" in one["left"]


@pytest.mark.parametrize("name", NEEDS)
def test_it_ends_at_once_with_its_pip_line(ended: dict[str, Any], name: str) -> None:
    one, wanted = ended[name], NEEDS[name][1]
    assert one["code"] == 2, one["err"]
    error, hint = one["err"].splitlines()
    assert error.endswith("not installed.")
    for extra in wanted:
        assert packages()[extra][0] in error
    assert hint.startswith("Next:  python -m pip install ")
    assert hint.endswith(f"[{','.join(wanted)}]'")
    assert one["left"] == [], "nothing is begun"


@pytest.mark.parametrize("name", STOPS)
def test_what_lacks_something_else_says_so(ended: dict[str, Any], name: str) -> None:
    one = ended[name]
    assert (one["code"], one["left"]) == (2, [])
    assert one["err"].startswith(f"Error: {STOPS[name][1]}")


def test_every_command_is_tried() -> None:
    tried = [
        *WORKS.values(),
        *(command for command, _ in STOPS.values()),
        PRETRAINS,
        *(command for command, _ in NEEDS.values()),
    ]
    for program, app in (("pairuni-eval", eval_app), ("pairuni-train", train_app)):
        for path in _commands(typer.main.get_command(app)):
            words = [program, *path]
            assert any(shlex.split(one)[: len(words)] == words for one in tried), words


def _commands(command: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The paths of all commands below one."""
    inner = getattr(command, "commands", None)
    if inner is None:
        return [path]
    return [one for name, below in inner.items() for one in _commands(below, (*path, name))]


# The rules


def test_what_is_there_is_needed_without_a_word() -> None:
    needs("anything")
    needs("anything", "vlmevalkit", "judge")


def test_every_missing_package_is_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("faiss", "sklearn", "ftfy"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError) as refused:
        needs("It", "hps", "judge", "geneval", "train")
    message = "It needs the packages ftfy, faiss-cpu and scikit-learn, which are not installed."
    assert refused.value.message == message
    assert refused.value.hint == pip_line("hps", "geneval", "train")


def test_an_unknown_extra_is_a_bug() -> None:
    with pytest.raises(KeyError):
        needs("It", "no-such-extra")


def record(monkeypatch: pytest.MonkeyPatch, url: str, *, editable: bool = False) -> None:
    """Let pip's record say where the package is from."""

    class Installed:
        def read_text(self, name: str) -> str:
            assert name == "direct_url.json"
            return json.dumps({"url": url, "dir_info": {"editable": editable}})

    monkeypatch.setattr("importlib.metadata.distribution", lambda _: Installed())


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "a clone"
    (folder / "pairuni_eval").mkdir(parents=True)
    for name in ("constraints.txt", "constraints-lmms.txt"):
        (folder / name).touch()
    return folder


def test_the_pip_line_is_for_the_folder_it_came_from(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    record(monkeypatch, clone.as_uri())
    away = f"python -m pip install -c '{clone}/constraints.txt' '{clone}[train]'"
    assert pip_line("train") == away
    monkeypatch.chdir(clone)
    assert pip_line("train") == "python -m pip install -c constraints.txt '.[train]'"
    both = "python -m pip install -c constraints.txt -c constraints-lmms.txt '.[judge,lmms]'"
    assert pip_line("judge", "lmms") == both
    record(monkeypatch, clone.as_uri(), editable=True)
    assert pip_line("train") == "python -m pip install -c constraints.txt -e '.[train]'"


@pytest.mark.parametrize("url", ["https://example.org/pairuni.whl", "file:///nowhere/pairuni"])
def test_without_such_a_folder_the_pip_line_names_the_package(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    record(monkeypatch, url)
    assert pip_line("train", "lora") == "python -m pip install 'pairuni[train,lora]'"


def declared() -> dict[str, list[str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found: dict[str, list[str]] = project["optional-dependencies"]
    return found


def test_all_is_every_extra_that_brings_no_torchvision() -> None:
    (whole,) = declared()["all"]
    inside = whole.removeprefix("pairuni[").removesuffix("]").split(",")
    assert sorted([*inside, "lmms", "pe", "all", "dev"]) == sorted(declared())


def test_the_readme_names_every_extra() -> None:
    text = (ROOT / "README.md").read_text()
    for extra in declared():
        assert f"| `{extra}` |" in text, extra


def test_every_extra_that_code_names_is_declared() -> None:
    assert set(extras._OWN_CONSTRAINTS) <= set(declared())
    assert {name for name, _ in packages().items()} <= {*declared()}
