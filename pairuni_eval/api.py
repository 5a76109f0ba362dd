"""The public surface: everything a plugin or a notebook imports."""

from pairuni_eval.benchmark import Answer, Benchmark, Mark
from pairuni_eval.cards import (
    Card,
    JudgeSpec,
    MetricSpec,
    ProtocolSpec,
    Published,
    Suite,
    WeightSpec,
)
from pairuni_eval.data import Data
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
    JudgeSetup,
    Question,
    Ruling,
    Verdict,
    consult,
    consult_all,
)
from pairuni_eval.models.base import LoadOptions, Model, Reply, Request
from pairuni_eval.records import (
    Capability,
    Decoding,
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

__all__ = [
    "Answer",
    "Benchmark",
    "BoundaryError",
    "Capability",
    "Card",
    "Data",
    "DatasetError",
    "Decoding",
    "ImagePart",
    "Item",
    "Judge",
    "JudgeError",
    "JudgeSetup",
    "JudgeSpec",
    "LoadOptions",
    "Mark",
    "MetricSpec",
    "Model",
    "ModelError",
    "ModelIdentity",
    "Output",
    "Picture",
    "ProtocolSpec",
    "Published",
    "Question",
    "Reply",
    "Request",
    "Ruling",
    "Sample",
    "Score",
    "Status",
    "Suite",
    "TextPart",
    "UserError",
    "Verdict",
    "WeightSpec",
    "boundary",
    "consult",
    "consult_all",
    "seed_for",
    "stable_hash",
]
