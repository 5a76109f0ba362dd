"""Configurations as a stranger, or a tired person, writes them: cards, judges, pairs, arms.

Each shipped file of a kind is changed at one place, or as bytes; it is read, or refused in words.
"""

from __future__ import annotations

import json
import random
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hostile.conftest import Ground
from hostile.strangers import bent, changed, value

import pairuni_train
from pairuni_eval.cards import read_card, read_suite
from pairuni_eval.catalog import benchmark_folders
from pairuni_eval.endpoints.settings import address
from pairuni_eval.judges.settings import EndpointOptions, read_choices, read_options
from pairuni_eval.models.endpoint.settings import read_file

REGISTRY = benchmark_folders()["tiny-pope"].folder.parent
TRAINING = Path(pairuni_train.__file__).parent

ARM = """\
name = "mine"
summary = "Half of the pairs."
pairs = "half"
weighting = "linear"
surgery = "pcgrad"
source = "our own"
"""
JUDGE = """
name = "openai"
model = "judge-1"
base_url = "http://127.0.0.1:9/v1"
temperature = 0.0
max_tokens = 100
max_calls = 5
timeout_s = 5.0
retries = 1

[extra]
top_k = 1

[second]
model = "judge-2"
share = 0.1
"""

ENDPOINT = """
model = "model-1"
name = "ours"
base_url = "http://127.0.0.1:9/v1"
capabilities = ["understand", "edit"]
size = [640, 480]
omit = ["seed"]
max_calls = 5
retries = 1

[rename]
max_tokens = "max_completion_tokens"

[extra]
steps = 30
"""


def _toml(table: Mapping[str, Any], above: str = "") -> str:
    """A table as TOML; what TOML cannot say is left out."""
    plain, below = "", ""
    for key, one in table.items():
        name = json.dumps(str(key).encode("utf-8", "replace").decode())
        if isinstance(one, Mapping):
            inner = f"{above}.{name}" if above else name
            below += f"\n[{inner}]\n{_toml(one, inner)}"
        elif (text := _value(one)) is not None:
            plain += f"{name} = {text}\n"
    return plain + below


def _value(one: Any) -> str | None:
    if isinstance(one, bool):
        return str(one).lower()
    if isinstance(one, str):
        return json.dumps(one.encode("utf-8", "replace").decode()).replace("\x7f", "\\u007f")
    if isinstance(one, int | float):
        return str(one)
    if isinstance(one, list | tuple):
        return f"[{', '.join(filter(None, map(_value, one)))}]"
    if isinstance(one, Mapping):
        pairs = (f"{json.dumps(str(k))} = {v}" for k, inner in one.items() if (v := _value(inner)))
        return f"{{{', '.join(pairs)}}}"
    return None


def _judge(path: Path) -> object:
    choices = read_choices(str(path))
    for choice in choices:
        read_options(EndpointOptions, choice.options, choice.source)
    return choices


def _endpoint(path: Path) -> object:
    file = read_file(path)
    address(file, path)
    return file.as_sent({"seed": 1, "max_tokens": 3}), file.remedy("max_tokens", {}), file.alters


def _pairs(path: Path) -> object:
    from pairuni_train.pair_data.config import read_config

    return read_config(path)


def _arm(path: Path) -> object:
    from pairuni_train.config import find_arm

    return find_arm(str(path))


def _recipe(path: Path) -> object:
    from pairuni_train.config import find_recipe

    return find_recipe(str(path))


def _experiment(path: Path) -> object:
    from pairuni_train.study.spec import read_experiment

    return read_experiment(path)


KINDS: dict[str, tuple[list[Path] | str, Callable[[Path], object]]] = {
    "cards": (sorted(REGISTRY.glob("*/card.toml")), read_card),
    "suites": (sorted(REGISTRY.glob("suites/*.toml")), read_suite),
    "judges": (JUDGE, _judge),
    "endpoints": (ENDPOINT, _endpoint),
    "pairs": (sorted(TRAINING.glob("pair_data/presets/*.toml")), _pairs),
    "arms": (ARM, _arm),
    "recipes": (sorted(TRAINING.glob("recipes/*.toml")), _recipe),
    "experiments": (sorted(REGISTRY.glob("suites/experiments/*.toml")), _experiment),
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_configurations(ground: Ground, kind: str) -> None:
    sources, read = KINDS[kind]

    def make(rng: random.Random, folder: Path) -> Callable[[], object]:
        text = sources if isinstance(sources, str) else rng.choice(sources).read_text("utf-8")
        path = folder / "file.toml"
        if rng.random() < 0.3:
            path.write_bytes(bent(rng, text.encode()))
        else:
            table = tomllib.loads(text)
            new = changed(rng, table, lambda: value(rng, ground.away, folder))
            path.write_text(_toml(new), encoding="utf-8")
        return lambda: read(path)

    ends = ground.hold(kind, 120, make)
    assert ends.get("refused", 0) > 0  # most changes are no valid file
