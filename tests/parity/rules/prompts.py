"""Recorded prompts of other harnesses as calls of ours."""

from __future__ import annotations

import math
import string
from pathlib import Path
from typing import Any

from parity.rules.form import Given, Rule
from parity.rules.harness_prompts import (
    lmms_mme_prompt,
    lmms_mmstar_prompt,
    lmms_pope_prompt,
    vlmevalkit_janus_prompt,
    vlmevalkit_janus_system,
)


def _told(line: Given, name: str) -> Any:
    """A cell of a table's row; None where it is absent or not a number."""
    value = line.get(name)
    return None if isinstance(value, float) and math.isnan(value) else value


def _images(given: Given) -> list[str]:
    """The images of a row by the names that the recordings give them; one unless they tell."""
    for place in (given, given["line"]):
        for name, value in place.items():
            if "image" in name and isinstance(value, int):
                return [f"img{n}.jpg" for n in range(value)]
            if "image" in name and isinstance(value, list):
                return [str(image) for image in value]
    return ["img0.jpg"]


def vlmevalkit_janus(given: Given, _: Path) -> Any:
    line = given["line"]
    options = {x: line[x] for x in string.ascii_uppercase if _told(line, x) is not None}
    text = vlmevalkit_janus_prompt(
        given["dataset"], line["question"], options, hint=_told(line, "hint")
    )
    images = _images(given)
    turn = {"role": "User", "content": "<image_placeholder>" * len(images) + text, "images": images}
    return {
        "message": [
            *({"type": "image", "value": image} for image in images),
            {"type": "text", "value": text},
        ],
        "conversation": [turn, {"role": "Assistant", "content": ""}],
        "system_prompt": vlmevalkit_janus_system(given["dataset"]),
    }


RULES: dict[str, Rule] = {
    "lmms_eval_prompt_pope": lambda given, _: lmms_pope_prompt(given["question"]),
    "lmms_eval_prompt_mmstar": lambda given, _: lmms_mmstar_prompt(given["question"]),
    "lmms_eval_prompt_mme": lambda given, _: lmms_mme_prompt(given["question"]),
    "vlmevalkit_janus_prompt": vlmevalkit_janus,
}
