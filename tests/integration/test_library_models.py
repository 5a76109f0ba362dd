"""Models of transformers and pipelines of diffusers in whole commands, on benchmarks' own files."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image
from support import small_pipelines, small_vlms, upstream_data

from pairuni_eval.models.diffusion import DiffusersModel
from pairuni_eval.models.vlm import TransformersModel

INTERRUPTED = 130


@pytest.fixture(autouse=True)
def no_weights_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A detector in this machine's cache is none of the test's."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def data(tmp_path: Path, photographs: dict[str, bytes]) -> Path:
    """Every benchmark in its own files, with photographs that are small enough to be edited."""
    small = {}
    for name, encoded in photographs.items():
        held = io.BytesIO()
        Image.open(io.BytesIO(encoded)).convert("RGB").resize((48, 32)).save(held, format="PNG")
        small[name] = held.getvalue()
    return upstream_data.write_folder(tmp_path / "data", small)


def outputs(run: Path) -> pd.DataFrame:
    return pd.read_parquet(run / "outputs.parquet").sort_values("id", ignore_index=True)


def interrupt_after(
    calls: int, kind: type, name: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], None]:
    """Have a person stop the command while a model answers; returns what lets it run again."""
    own, made = getattr(kind, name), []

    def some(self: Any, requests: Any) -> Any:
        if len(made) == calls:
            raise KeyboardInterrupt
        made.append(len(requests))
        return own(self, requests)

    monkeypatch.setattr(kind, name, some)
    return lambda: monkeypatch.setattr(kind, name, own)


# By default one family goes through whole commands; what families differ in is tested by itself.
FAMILIES = [
    pytest.param(name, marks=pytest.mark.slow if number else ())
    for number, name in enumerate(small_vlms.FAMILIES)
]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_of_transformers_answers_benchmarks(
    cli: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    folder = small_vlms.FAMILIES[family](tmp_path / family)

    def run(out: str, batch: int, *more: object) -> Any:
        return cli(
            *("run", "--checkpoint", folder, "--model", "transformers", "--device", "cpu"),
            *("--benchmarks", "mmmu,pope", "--data", data, "--batch-size", batch),
            *("--set", "decoding.max_tokens=6", "--out", out, "--report", "none", *more),
        )

    ran = run("sixteen", 16)
    assert ran.code == 0, ran.err
    again = interrupt_after(4, TransformersModel, "answer", monkeypatch)
    assert run("one", 1).code == INTERRUPTED
    again()
    assert run("one", 1).code == 0
    whole, resumed = outputs(tmp_path / "sixteen"), outputs(tmp_path / "one")
    assert whole.equals(resumed)
    assert len(whole) == len(upstream_data.MMMU) + len(upstream_data.POPE)
    assert whole["error"].isna().all()
    card = json.loads((tmp_path / "one" / "run.json").read_text())
    assert card["checkpoint"]["adapter"] == "transformers"
    assert "remote code" not in card["environment"]
    scores = pd.read_parquet(tmp_path / "one" / "scores.parquet")
    assert set(scores["status"]) <= {"scored", "unparsed"}


def test_what_was_run_of_a_checkpoint_stands_in_the_run_card(
    cli: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import save_file
    from transformers import LlavaForConditionalGeneration

    monkeypatch.setattr(
        "transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules")
    )
    folder = small_vlms.llava(tmp_path / "strange")
    network = LlavaForConditionalGeneration.from_pretrained(folder)
    save_file(network.state_dict(), folder / "model.safetensors", {"format": "pt"})
    (folder / "strange_model.py").write_text(
        "from transformers import LlavaConfig, LlavaForConditionalGeneration\n"
        "class StrangeConfig(LlavaConfig):\n    model_type = 'strange'\n"
        "class StrangeModel(LlavaForConditionalGeneration):\n    config_class = StrangeConfig\n"
    )
    table = json.loads((folder / "config.json").read_text())
    table |= {
        "model_type": "strange",
        "auto_map": {
            "AutoConfig": "strange_model.StrangeConfig",
            "AutoModelForImageTextToText": "strange_model.StrangeModel",
        },
    }
    (folder / "config.json").write_text(json.dumps(table))
    asked = (
        *("run", "--checkpoint", folder, "--model", "transformers", "--device", "cpu"),
        *("--benchmarks", "pope", "--data", data, "--limit", 2),
        *("--set", "decoding.max_tokens=3", "--out", "run", "--report", "report"),
    )
    refused = cli(*asked)
    assert refused.code == 2
    assert "--allow-remote-code" in refused.next
    ran = cli(*asked, "--allow-remote-code")
    assert ran.code == 0, ran.err
    card = json.loads((tmp_path / "run" / "run.json").read_text())
    assert card["command"].endswith("--allow-remote-code")
    told = "the checkpoint's own code was run (--allow-remote-code)"
    assert card["environment"]["remote code"] == told
    for page in ("report.md", "report.html"):
        text = (tmp_path / "report" / page).read_text().replace("&#39;", "'")
        assert told in text


@pytest.mark.parametrize(
    ("kind", "benchmark", "call"),
    [
        ("drawing", "geneval", "draw"),
        # The command is the same; what editing does otherwise is tested by itself.
        pytest.param("editing", "imgedit", "edit", marks=pytest.mark.slow),
    ],
)
def test_a_pipeline_of_diffusers_draws_and_edits(
    cli: Any,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    benchmark: str,
    call: str,
) -> None:
    pytest.importorskip("diffusers", reason="diffusers, which brings pipelines, is not installed")
    folder = getattr(small_pipelines, kind)(tmp_path / kind)

    def run(out: str, batch: int) -> Any:
        return cli(
            *("run", "--checkpoint", folder, "--model", "diffusers", "--device", "cpu"),
            *("--benchmarks", benchmark, "--data", data, "--batch-size", batch, "--judge", "none"),
            *("--set", "decoding.steps=2", "--out", out, "--report", "none"),
        )

    ran = run("four", 4)
    assert ran.code == 0, ran.err
    again = interrupt_after(2, DiffusersModel, call, monkeypatch)
    assert run("one", 1).code == INTERRUPTED
    again()
    assert run("one", 1).code == 0
    whole, resumed = outputs(tmp_path / "four"), outputs(tmp_path / "one")
    assert whole.equals(resumed)
    expected = {"geneval": 4 * upstream_data.GENEVAL_ROWS, "imgedit": len(upstream_data.IMGEDIT)}
    assert len(whole) == expected[benchmark]
    assert whole["error"].isna().all()
    pictures = {json.loads(parts)[0]["image"] for parts in whole["parts"]}
    assert len(pictures) == len(whole)
    card = json.loads((tmp_path / "one" / "run.json").read_text())
    assert card["benchmarks"][benchmark]["decoding"]["cfg_scale"] == 7.5
    assert "diffusers" in card["environment"]
