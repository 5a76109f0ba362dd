"""The public surface: everything a plugin or a notebook imports.

`runs_frame`, `samples_frame` and `scores_frame` are those of `pairuni_eval.frames`, which stands
above the store and the statistics and is imported when one of them is asked for: a plugin needs
none.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from pairuni_eval.benchmark import (
    Answer,
    Benchmark,
    Equipment,
    Fact,
    FactChoice,
    MetricValue,
    Painted,
)
from pairuni_eval.cards import (
    Card,
    DataSpec,
    JudgeSpec,
    MetricSpec,
    ProtocolSpec,
    Published,
    Suite,
    WeightSpec,
)
from pairuni_eval.data import Data, Origin, Row
from pairuni_eval.data_folder import DataFolder
from pairuni_eval.decoding import Decoding
from pairuni_eval.errors import (
    BoundaryError,
    DatasetError,
    JudgeError,
    ModelError,
    UserError,
    boundary,
)
from pairuni_eval.judges.judge import (
    Judge,
    JudgeReply,
    JudgeSetup,
    Question,
    consult,
    consult_all,
)
from pairuni_eval.judges.usage import JudgeCall, usage_of
from pairuni_eval.models.base import LoadOptions, Model, Reply, Request
from pairuni_eval.records import (
    Capability,
    ExternalMetric,
    ImagePart,
    Item,
    ModelIdentity,
    Output,
    Picture,
    Sample,
    Score,
    Status,
    TextPart,
)
from pairuni_eval.seeds import seed_for, stable_hash
from pairuni_eval.user_text import json_value

# Made by `__getattr__`.
runs_frame: Callable[..., Any]
samples_frame: Callable[..., Any]
scores_frame: Callable[..., Any]

__all__ = [
    "Answer",
    "Benchmark",
    "BoundaryError",
    "Capability",
    "Card",
    "Data",
    "DataFolder",
    "DataSpec",
    "DatasetError",
    "Decoding",
    "Equipment",
    "ExternalMetric",
    "Fact",
    "FactChoice",
    "ImagePart",
    "Item",
    "Judge",
    "JudgeCall",
    "JudgeError",
    "JudgeReply",
    "JudgeSetup",
    "JudgeSpec",
    "LoadOptions",
    "MetricSpec",
    "MetricValue",
    "Model",
    "ModelError",
    "ModelIdentity",
    "Origin",
    "Output",
    "Painted",
    "Picture",
    "ProtocolSpec",
    "Published",
    "Question",
    "Reply",
    "Request",
    "Row",
    "Sample",
    "Score",
    "Status",
    "Suite",
    "TextPart",
    "UserError",
    "WeightSpec",
    "boundary",
    "consult",
    "consult_all",
    "json_value",
    "runs_frame",
    "samples_frame",
    "scores_frame",
    "seed_for",
    "stable_hash",
    "usage_of",
]

_FRAMES = ("runs_frame", "samples_frame", "scores_frame")


def __getattr__(name: str) -> Any:
    if name in _FRAMES:
        return getattr(import_module("pairuni_eval.frames"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
