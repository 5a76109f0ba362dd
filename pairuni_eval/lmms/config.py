"""A task's YAML file: what it says, whether it can be run here, and the card that follows from it.

Only tasks that ask one question about images and take one free answer are run: `generate_until`
with `doc_to_visual`, without examples in the prompt and without repeats.

The card has one metric of our own, the mean of the rows' scores with its interval; lmms-eval's
figures are computed by lmms-eval when the run is graded. A row's score is the first of the task's
metrics whose result for the row is a number, or a table with a number under "score"; of the tasks
in `known_tasks.toml` it is what is said there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pairuni_eval.api import Capability, Card, DataSpec, MetricSpec, ProtocolSpec, UserError
from pairuni_eval.lmms.generation import decoding_of
from pairuni_eval.lmms.known_tasks import KnownTask, known_tasks
from pairuni_eval.lmms.names import TaskFile, toolkit
from pairuni_eval.lmms.quiet import quiet

FAMILY = "lmms"
PROTOCOL = "lmms-eval"
ROW_SCORE = "row_score"
_SCORED = "lmms-eval reads and scores every answer; its own figures stand beside ours."
_ELSEWHERE = ("video", "From_YouTube", "builder_script", "load_from_disk")


class TaskConfig(NamedTuple):
    """A task's settings with its functions imported, as lmms-eval reads them."""

    file: TaskFile
    settings: Mapping[str, Any]

    @property
    def known(self) -> KnownTask | None:
        """What is known of its rule beyond its file."""
        return known_tasks().get(self.file.name)

    @property
    def split(self) -> str:
        """The split that is evaluated."""
        return str(self.settings.get("test_split") or self.settings.get("validation_split"))

    @property
    def generation(self) -> Mapping[str, Any]:
        """Its `generation_kwargs`."""
        return self.settings.get("generation_kwargs") or {}

    @property
    def metrics(self) -> list[Mapping[str, Any]]:
        """Its `metric_list`."""
        return self.settings.get("metric_list") or []


def read_config(file: TaskFile) -> TaskConfig:
    """Read a task's file; imports lmms-eval.

    Raises:
        UserError: if the file cannot be read, or the task is not of the kind that is run here.
    """
    known = known_tasks().get(file.name)
    try:
        with quiet():
            from lmms_eval.utils import load_yaml_config

            settings = load_yaml_config(str(file.path), mode="full")
    except Exception as failure:  # what a task's modules raise when they are imported is theirs
        lacks = "pip install what it lacks, or choose another task."
        key = "Its code asks a judge: set OPENAI_API_KEY (and OPENAI_API_URL, MODEL_VERSION)."
        raise UserError(
            f"{file.path}: lmms-eval cannot load its task '{file.name}': {failure}.",
            hint=key if known and known.judge and not isinstance(failure, ImportError) else lacks,
        ) from failure
    reason = _reason_against(settings)
    if reason:
        raise UserError(
            f"The lmms-eval task '{file.name}' {reason}; here one question about images with one "
            "free answer is run.",
            hint=f"python -m lmms_eval --model pairuni --tasks {file.name}",
        )
    return TaskConfig(file, settings)


def _reason_against(settings: Mapping[str, Any]) -> str | None:
    """Why a task is not run here, or None if it is."""
    kind = settings.get("output_type", "generate_until")
    kwargs = settings.get("dataset_kwargs") or {}
    checks = {
        "is Python code and no settings": "class" in settings,
        f"is of the type {kind}": kind != "generate_until",
        "shows no images": settings.get("doc_to_visual") is None,
        "shows examples in the prompt": bool(settings.get("num_fewshot")),
        "asks every question several times": int(settings.get("repeats") or 1) > 1,
        "names no split": not (settings.get("test_split") or settings.get("validation_split")),
        "has videos or files of its own": any(kwargs.get(key) for key in _ELSEWHERE),
    }
    return next((reason for reason, holds in checks.items() if holds), None)


def make_card(config: TaskConfig) -> Card:
    """The card of a task. `expected` is 0: only the data can tell how many documents there are."""
    name, settings, known = config.file.name, config.settings, config.known
    kwargs = settings.get("dataset_kwargs") or {}
    return Card(
        name=f"{FAMILY}:{name}",
        title=f"{known.title if known else name} (lmms-eval)",
        summary=_summary(name, known),
        version=toolkit().partition("==")[2],
        capability=Capability.UNDERSTAND,
        expected=0,
        unit="image",
        licence="that of the dataset",
        protocols={PROTOCOL: _protocol(config)},
        data=DataSpec(
            files=("**/*.parquet",),
            hub=settings.get("dataset_path"),
            revision=str(kwargs.get("revision") or "unpinned"),
            split=config.split,
        ),
        decoding=decoding_of(config.generation),
        keep_units=True,  # MME's two questions about an image are one score
    )


def _summary(name: str, known: KnownTask | None) -> str:
    run = f"The task {name} with the documents, prompts and scoring of {toolkit()}."
    return f"{known.summary} {run}" if known else run


def _protocol(config: TaskConfig) -> ProtocolSpec:
    better = [bool(metric.get("higher_is_better", True)) for metric in config.metrics]
    mean = MetricSpec(
        name=ROW_SCORE,
        title="mean of the rows' scores",
        of=ROW_SCORE,
        direction="up" if not better or better[0] else "down",
        scale=1.0,
        decimals=4,
    )
    return ProtocolSpec(
        summary=f"{config.known.protocol} {_SCORED}" if config.known else _SCORED,
        source=config.file.source,
        headline=ROW_SCORE,
        scorer=toolkit(),
        unparsed="excluded",
        metrics=(mean,),
    )
