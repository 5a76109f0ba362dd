"""A model in an environment that has none of our packages, measured through the script of a bridge.

The script is written by the command, filled in as a user would, and run by a Python that has Pillow
alone; the client is `pairuni-eval run`.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.bare_python import bare_python, served

from pairuni_eval.models.endpoint.bridge import script
from pairuni_eval.store.read import StoredRun

FILLED = {
    'NAME = "my-model"': 'NAME = "checker"',
    "WEIGHTS: list[str] = []": 'WEIGHTS: list[str] = ["weights.bin"]',
    "DTYPE: str | None = None": 'DTYPE: str | None = "float16"',
    'raise NotImplementedError("fill in answer")': 'return ["Yes" for _ in requests]',
    'raise NotImplementedError("fill in draw")': "\n    ".join(
        [
            'sizes = [one.settings.get("size", (64, 64)) for one in requests]',
            "colors = [(one.seed % 256, 0, 0) for one in requests]",
            'return [Image.new("RGB", *one) for one in zip(sizes, colors)]',
        ]
    ),
    'raise NotImplementedError("fill in edit")': "return [one.images[0] for one in requests]",
}


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bare_python(tmp_path_factory.mktemp("environment"))


def filled(folder: Path) -> Path:
    """The script beside some weights, its first part filled in."""
    path = folder / "serve_model.py"
    text = path.read_text()
    for before, after in FILLED.items():
        assert text.count(before) == 1
        text = text.replace(before, after)
    path.write_text(text)
    (folder / "weights.bin").write_bytes(b"weights")
    return path


def test_the_script_is_written_once_and_replaced_by_force(cli: Any, tmp_path: Path) -> None:
    ran = cli("bridge", "--write", "serve_model.py")
    assert ran.code == 0, ran.err
    assert ran.next.startswith("pairuni-eval run --checkpoint endpoint:model.toml")
    path = tmp_path / "serve_model.py"
    assert path.read_text() == script()
    path.write_text("filled in")
    again = cli("bridge", "--write", "serve_model.py")
    assert again.code != 0
    assert "--write serve_model.py --force" in again.err
    assert path.read_text() == "filled in"
    assert cli("bridge", "--write", "serve_model.py", "--force").code == 0
    assert path.read_text() == script()
    folder = cli("bridge", "--write", tmp_path)
    assert folder.code != 0
    assert "is a folder" in folder.err


def test_the_script_is_of_python_3_8_and_imports_nothing_but_pillow() -> None:
    tree = ast.parse(script(), feature_version=(3, 8))
    imported = {
        alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {
        str(node.module).partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
    }
    assert imported - set(sys.stdlib_module_names) == {"PIL"}


def test_the_other_environment_has_none_of_our_packages(bare: Path) -> None:
    code = "import importlib.util as u; print([n for n in {} if u.find_spec(n)])"
    names = ["numpy", "msgspec", "torch", "openai", "pairuni_eval", "PIL"]
    ran = subprocess.run(
        [bare, "-c", code.format(names)],
        capture_output=True,
        text=True,
        check=True,
        env={},
        cwd=bare.parent,
    )
    assert ran.stdout.strip() == "['PIL']"


def test_script_and_client_measure_all_three_capabilities(
    cli: Any, tmp_path: Path, bare: Path
) -> None:
    assert cli("bridge", "--write", "serve_model.py").code == 0
    with served(bare, filled(tmp_path), "--port", "0") as base_url:
        assert base_url.startswith("http://127.0.0.1:")
        (tmp_path / "model.toml").write_text(f'base_url = "{base_url}"\nsize = [32, 48]\n')
        command = [
            *("run", "--checkpoint", "endpoint:model.toml", "--limit", 4),
            *("--benchmarks", "tiny-pope,tiny-geneval,tiny-imgedit", "--report", "none"),
        ]
        ran = cli(*command, "--out", "run")
        assert ran.code == 0, ran.err
        assert cli(*command, "--out", "single", "--batch-size", 1).code == 0
    run, single = StoredRun(tmp_path / "run"), StoredRun(tmp_path / "single")
    identity = run.card.checkpoint
    assert (identity.adapter, identity.name, identity.dtype) == ("endpoint", "checker", "float16")
    assert len(identity.weights) == 64
    assert run.outputs["error"].isna().all()
    outputs = ["id", "seed", "parts"]
    assert run.outputs[outputs].equals(single.outputs[outputs])
    samples = run.samples.set_index("uid")
    counted = Counter[str]()
    for output in run.outputs.to_dict(orient="records"):
        sample = samples.loc[output["sample"]]
        counted[sample["capability"]] += 1
        (part,) = json.loads(output["parts"])
        if sample["capability"] == "understand":
            assert part["text"] == "Yes"
            continue
        picture = run.pictures.load(part["image"])
        if sample["capability"] == "generate":
            assert picture.size == (32, 48)
            assert picture.getpixel((0, 0)) == (output["seed"] % 256, 0, 0)
        else:
            before = next(one["image"] for one in json.loads(sample["parts"]) if "image" in one)
            assert picture.tobytes() == run.pictures.load(before).tobytes()
    assert min(counted.values()) >= 4
    assert len(counted) == 3


def test_over_a_socket_a_model_of_one_capability_is_asked_for_that_alone(
    cli: Any, tmp_path: Path, bare: Path
) -> None:
    assert cli("bridge", "--write", "serve_model.py").code == 0
    path = filled(tmp_path)
    text = path.read_text()
    middle = text.index("def draw("), text.index("# ---- Part 2")
    path.write_text(text[: middle[0]] + text[middle[1] :])  # as a user deletes two functions
    with served(bare, path, "--socket", "s") as base_url:
        assert base_url == f"unix:{tmp_path / 's'}"
        assert (tmp_path / "s").stat().st_mode & 0o077 == 0
        (tmp_path / "model.toml").write_text(f'base_url = "{base_url}"\n')
        ran = cli(
            *("run", "--checkpoint", "endpoint:model.toml", "--limit", 2, "--out", "run"),
            *("--benchmarks", "tiny-pope,tiny-geneval", "--report", "none"),
        )
        assert ran.code == 0, ran.err
    run = StoredRun(tmp_path / "run")
    assert set(run.outputs["skipped"].dropna()) == {"the model cannot generate"}
    assert run.outputs["skipped"].isna().sum() == 2
