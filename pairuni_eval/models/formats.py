"""The formats that a checkpoint can be written in."""

from __future__ import annotations

from enum import StrEnum


class CheckpointFormat(StrEnum):
    """The two formats of a Janus checkpoint."""

    TRANSFORMERS = "transformers"
    ORIGINAL = "original"  # as DeepSeek publishes Janus
