"""What the bench of a GPU computes without one: sizes, the bound, the verdict, what is left out."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a module of the benches, which import each other as scripts do."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "bench"))
    return importlib.import_module


@pytest.mark.parametrize(
    ("name", "billions"),
    [("janus-pro-1b", 2.09), ("janus-pro-7b", 7.42)],  # as published, the pooling head left out
)
def test_shapes_are_the_published_ones(bench: Any, name: str, billions: float) -> None:
    shapes = bench("random_janus")
    model = shapes.build(shapes.PUBLISHED[name], torch.device("meta"), torch.bfloat16)
    numbers = sum(one.numel() for one in model.parameters())
    assert numbers / 1e9 == pytest.approx(billions, rel=0.01)
    assert {one.dtype for one in model.parameters()} == {torch.bfloat16}


def test_the_bound_is_what_has_to_be_read(bench: Any) -> None:
    shapes = bench("random_janus")
    model = shapes.build(shapes.TINY, torch.device("meta"), torch.float32)
    found = bench("bandwidth").loop_bytes(model, model.lm_head, rows=3, prompt=5, tokens=4)
    layer = 4 * 64 * 64 + 3 * 64 * 128 + 2 * 64
    weights = 2 * layer + 64 + 512 * 64
    # Keys and values of 64 numbers in two layers, of 6, 7 and 8 tokens for the three steps.
    assert found == 4 * (4 * weights + 3 * 2 * 2 * 64 * (6 + 7 + 8))


def case(times: float | None, who: str = "ours, compiled", rows: int = 16) -> dict[str, Any]:
    per_second = None if times is None else 100.0 / times
    return {
        **{"shape": "janus-pro-1b", "rows": rows, "task": "pictures", "who": who},
        **{"note": "OutOfMemoryError: no", "unit": "pictures", "per_second": per_second},
        **{"bound_per_second": 100.0, "times_the_bound": times},
    }


def found(*cases: dict[str, Any], kind: str = "cuda") -> dict[str, Any]:
    return {
        **{"device": "a device", "kind": kind, "dtype": "bfloat16", "torch": "2", "words": 128},
        **{"transformers": "5", "copy_bytes_per_second": 4e12, "prompt_tokens": 32},
        **{"cases": list(cases), "training": None, "left_out": ["janus-pro-7b, all of it"]},
    }


@pytest.mark.parametrize(
    ("times", "verdict"),
    [
        ((1.4, 1.6), "is **met**: 2 of 2 cases of ours are within it."),
        ((1.4, 1.61), "is **not met**: 1 of 2 cases of ours are within it."),
        ((1.4, None), "is **not met**: 1 of 2 cases of ours are within it, 1 have no number."),
        ((None,), "nothing was measured"),
    ],
)
def test_the_goal_is_judged_by_every_case_of_ours(
    bench: Any, times: tuple[float | None, ...], verdict: str
) -> None:
    slow = case(30.0, "transformers, eager")
    text = bench("gpu_page").page(found(slow, *(case(one) for one in times)))
    assert verdict in text
    assert "- janus-pro-7b, all of it" in text
    assert ("| 21.43 | 100.0 | 1.40 x as long |" in text) == (times[0] == 1.4)
    assert ("OutOfMemoryError: no" in text) == (None in times)


def test_a_cpu_is_not_judged(bench: Any) -> None:
    text = bench("gpu_page").page(found(case(1.0), kind="cpu"))
    assert "No number here says anything of a GPU" in text
    assert "is one for a GPU: not judged" in text
    assert "**met**" not in text


def test_what_no_longer_fits_is_left_out_by_name(
    bench: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = bench("gpu_speed").Clock(60.0)
    assert clock.allows("a case", 30.0)
    assert not clock.allows("another", 61.0)
    assert clock.left_out == ["another"]
    assert "left out: another" in capsys.readouterr().out
