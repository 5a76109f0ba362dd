"""What the tests of pair data share: small sources, configurations, features of photographs."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pairuni_train.pair_data.config import LoadedConfig, read_config
from pairuni_train.pair_data.embed import normalized
from pairuni_train.pair_data.record import Generation, Understanding

FloatArray = npt.NDArray[np.float32]


def picture(color: str, size: tuple[int, int] = (40, 30)) -> bytes:
    """A plain PNG."""
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, format="PNG")
    return buffer.getvalue()


def understanding(number: int, **changes: Any) -> Understanding:
    """A sound understanding half."""
    fields: dict[str, Any] = {
        "id": f"u{number}",
        "source": "asked",
        "licence": "MIT",
        "image": picture("red"),
        "question": f"What is {number}?",
        "answer": "A",
    }
    return Understanding(**(fields | changes))


def generation(number: int, **changes: Any) -> Generation:
    """A sound generation half."""
    fields: dict[str, Any] = {
        "id": f"g{number}",
        "source": "drawn",
        "licence": "MIT",
        "prompt": f"the number {number}",
    }
    return Generation(**(fields | changes))


def write_config(path: Path, **changes: Any) -> Path:
    """A configuration of the tiny world; `changes` are tables and keys by name."""
    tables: dict[str, Any] = {
        "name": "small",
        "pairs": 12,
        "seed": 1,
        "understanding": [{"kind": "tiny", "rows": 40}],
        "generation": [{"kind": "tiny", "rows": 40}],
        "encoder": {"name": "tiny", "batch_size": 16},
        "selection": {"clusters": 5, "attempts": 8},
        "retrieval": {"threshold": 0.6},
        "completion": {"completer": "tiny"},
    }
    for key, value in changes.items():
        old = tables.get(key)
        tables[key] = {**old, **value} if isinstance(old, dict) else value
    path.write_text(_toml(tables), encoding="utf-8")
    return path


def small(folder: Path, **changes: Any) -> LoadedConfig:
    """The same, read."""
    return read_config(write_config(folder / "small.toml", **changes))


def _toml(tables: Mapping[str, Any]) -> str:
    plain = [f"{key} = {_value(value)}" for key, value in tables.items() if not _is_table(value)]
    lists = [
        f"[[{key}]]\n" + "\n".join(f"{k} = {_value(v)}" for k, v in one.items())
        for key, value in tables.items()
        if isinstance(value, list) and _is_table(value)
        for one in value
    ]
    own = [
        f"[{key}]\n" + "\n".join(f"{k} = {_value(v)}" for k, v in value.items())
        for key, value in tables.items()
        if isinstance(value, dict)
    ]
    return "\n".join([*plain, *lists, *own]) + "\n"


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (
        isinstance(value, list) and bool(value) and isinstance(value[0], dict)
    )


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f'"{k}" = {_value(v)}' for k, v in value.items()) + " }"
    return json.dumps(value)


def photograph_features(
    photographs: Sequence[bytes], count: int, *, seed: int, width: int = 256
) -> FloatArray:
    """Unit vectors (count, width) of random crops of photographs.

    A crop of random place and size, shrunk to 8 x 8, through one random layer with ReLU: like
    pooled features of a convolutional network they are not negative and lie close to each other.
    """
    rng, weights = random.Random(seed), np.random.default_rng(0).normal(size=(192, width))
    images = [Image.open(io.BytesIO(data)).convert("RGB") for data in photographs]
    rows = []
    for _ in range(count):
        image = rng.choice(images)
        side = rng.randint(24, min(image.size) // 2)
        left, top = rng.randint(0, image.width - side), rng.randint(0, image.height - side)
        crop = image.resize((8, 8), Image.Resampling.BOX, (left, top, left + side, top + side))
        pixels = np.asarray(crop, dtype=np.float64).ravel() / 255
        rows.append(np.maximum((pixels - pixels.mean()) @ weights + 0.5, 0))
    return normalized(np.asarray(rows, dtype=np.float32))


def naive_pairs(u_UD: FloatArray, g_GD: FloatArray, *, threshold: float) -> list[tuple[int, int]]:
    """Algorithm 1 for n = 1 as it is written down, in float64 with all cosines at once."""
    cosine_UG = u_UD.astype(np.float64) @ g_GD.astype(np.float64).T
    pairs = []
    for g in range(len(g_GD)):
        u = int(cosine_UG[:, g].argmax())
        if cosine_UG[u, g] >= threshold:
            pairs.append((u, g))
            cosine_UG[u, :] = -np.inf
    return pairs
