"""One task of lmms-eval with its documents: what it asks, how it scores, how it aggregates.

Everything comes from lmms-eval's own `ConfigurableTask`; `simple_evaluate`, which seeds the
process and patches other libraries, is never called. Departures from the class as it is:
    retries       the five attempts around reading the data and scoring a row are left out: they
                  take eight seconds and hide the cause
    data          files of the user take the place of the hub dataset; `token: True`, which fails
                  without a login, is dropped
    further data  what a task's own code reads from the hub comes from the user's files too
    judges        a row whose judge gave no reply has no value, see `task_judge`
    files         what an aggregation writes beside its figure goes to a folder that is removed
    documents     a row is scored on its document without the images, as the command does, unless
                  the task says that it scores with them
    images        a truncated image is a broken one; lmms-eval shows what is left of it. A file
                  that a row names is read from the dataset's folder only, see `named_files`
    guesses       where the task's code draws a random number, the row's own seed decides it
"""

from __future__ import annotations

import inspect
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image

from pairuni_eval.api import DatasetError, JudgeError, UserError, boundary
from pairuni_eval.data_folder import DataFolder
from pairuni_eval.errors import foreign_words
from pairuni_eval.lmms.config import TaskConfig
from pairuni_eval.lmms.further_data import FilesOf, from_folder
from pairuni_eval.lmms.generation import cut, stops_of
from pairuni_eval.lmms.named_files import hub_folder, named_files
from pairuni_eval.lmms.parquet_images import image_features
from pairuni_eval.lmms.quiet import quiet
from pairuni_eval.lmms.seeding import seeded
from pairuni_eval.lmms.task_judge import watched_judge
from pairuni_eval.pictures import BROKEN_IMAGE

if TYPE_CHECKING:
    from lmms_eval.api.task import ConfigurableTask

MODEL_NAME = "pairuni"  # the name tasks may have prompts of their own for
_PLAIN_FILTER = "none"  # the name lmms-eval gives to taking the answer as it is
_FUNCTIONS = ("doc_to_visual", "doc_to_text", "process_results", "process_docs")

# What a task's functions raise on rows they were not made for, beyond what `boundary` knows.
_FOREIGN = (AssertionError, AttributeError, ImportError, LookupError, NameError, TypeError)


class TaskQuestion(NamedTuple):
    """A document as it is put to the model.

    Attributes:
        images: In order; None if an image of the document is missing or broken.
        flaw: Why there are no images, where that is known.
    """

    number: int
    images: tuple[Image.Image, ...] | None
    text: str
    flaw: str | None = None


class RowResults(NamedTuple):
    """What a task makes of one answer.

    Attributes:
        values: For each of its metrics any JSON-like value. A key is the metric's name, with
            ",FILTER" behind it where the task filters answers.
        guessed: Whether its code drew a random number on the way.
    """

    values: dict[str, Any]
    guessed: bool


class LoadedTask:
    """A task with its documents loaded.

    Args:
        config: The task.
        files: Parquet files of its split; without any lmms-eval fetches the dataset itself.
        folder: Where rows may name files; default: where datasets keeps what it fetched.
        further: Where the task's own code finds, in place of the hub, what it reads beside them.

    Raises:
        UserError: if the documents cannot be had, or do not have the task's columns.
    """

    def __init__(
        self,
        config: TaskConfig,
        files: Sequence[Path],
        folder: DataFolder | None = None,
        further: FilesOf | None = None,
    ) -> None:
        self._config = config
        self._files = files
        self._further = further
        self._folder = folder or hub_folder()
        named = [config.settings.get(key) for key in _FUNCTIONS]
        self._functions = [function for function in named if callable(function)]
        self._speakers = {function.__module__ for function in self._functions}
        self._stops = stops_of(config.generation)
        self._task = self._load()

    def __len__(self) -> int:
        """How many documents there are."""
        return len(self._task.eval_docs_no_media)

    def asked(self) -> Iterator[TaskQuestion]:
        """Every document in order, as it is put to the model."""
        for number in range(len(self)):
            with quiet(self._speakers), named_files(self._folder):
                asked = self._ask(number)
            yield asked

    def results(self, number: int, answer: str, seed: int) -> RowResults:
        """What the task makes of an answer.

        Args:
            number: The document's.
            answer: As the model gave it.
            seed: Seed of a guess, should the task's code make one.

        Raises:
            JudgeError: if the task's own code fails on the row, or its judge gave no reply.
            UserError: for a result that cannot be stored.
        """
        try:
            with (
                boundary(JudgeError),
                quiet(self._speakers),
                named_files(self._folder),
                seeded(seed) as drew,
                watched_judge() as calls,
            ):
                found = dict(self._results(number, answer))
                guessed = drew()
        except _FOREIGN as failure:
            raise JudgeError(foreign_words(failure)) from failure
        if calls.silent is not None:
            raise JudgeError(f"the task's judge gave no reply: {calls.silent}")
        name = self._config.file.name
        return RowResults({key: _plain(value, name) for key, value in found.items()}, guessed)

    def aggregate(self, key: str, values: Sequence[Any]) -> Any:
        """The figure that the task makes of all rows' values of one key of `results`.

        Raises:
            JudgeError: if the task's own code fails.
        """
        function = self._task.aggregation()[key.partition(",")[0]]
        wants_options = "args" in inspect.signature(function).parameters
        try:
            with (
                boundary(JudgeError),
                quiet(self._speakers),
                seeded(0),
                tempfile.TemporaryDirectory() as folder,
            ):
                options = {"args": Namespace(output_path=folder)} if wants_options else {}
                return function(values, **options)
        except _FOREIGN as failure:
            raise JudgeError(foreign_words(failure)) from failure

    def _load(self) -> ConfigurableTask:
        settings = {**self._config.settings, **self._dataset()}
        try:
            with (
                boundary(DatasetError),
                quiet(self._speakers),
                named_files(self._folder),
                self._further_data(),
            ):
                task = _direct_task()(config=settings, model_name=MODEL_NAME)
        except (DatasetError, *_FOREIGN) as failure:
            raise self._unfit(failure) from failure
        if getattr(task.config, "auto_strip_thinking", False) and not self._reasoning_tags(task):
            from lmms_eval.filters.transformation import StripThinkingFilter

            for chain in task._filters:
                chain.filters.insert(0, StripThinkingFilter())
        return task

    def _dataset(self) -> dict[str, Any]:
        """The dataset's settings: the user's files, or those of the task without its token."""
        if not self._files:
            kwargs = dict(self._config.settings.get("dataset_kwargs") or {})
            kwargs.pop("token", None)
            return {"dataset_kwargs": kwargs or None}
        files = {self._config.split: [str(path) for path in self._files]}
        features = image_features(self._files[0])
        kwargs = {"data_files": files} | ({"features": features} if features else {})
        return {"dataset_path": "parquet", "dataset_name": None, "dataset_kwargs": kwargs}

    def _further_data(self) -> AbstractContextManager[None]:
        """Nothing is moved where lmms-eval fetches the documents themselves."""
        if not self._files or self._further is None:
            return nullcontext()
        return from_folder(self._functions, self._further)

    def _unfit(self, failure: BaseException) -> UserError:
        name, hub = self._config.file.name, self._config.settings.get("dataset_path")
        cause = foreign_words(failure).removeprefix("DatasetError: ")
        if self._files:
            return UserError(
                f"{self._files[0]}: its rows are not those of the lmms-eval task '{name}' "
                f"({cause}). It has the columns {', '.join(_columns(self._files[0]))}.",
                hint=f"Use the files of {hub} as published, columns unchanged.",
            )
        return UserError(
            f"lmms-eval cannot get the dataset {hub} of its task '{name}': {cause}.",
            hint=f"Without network: put its parquet files into DIR/lmms/{name}/ and give "
            "--data DIR.",
        )

    def _ask(self, number: int) -> TaskQuestion:
        text = self._text(number)
        try:
            return TaskQuestion(number, self._images(number), text)
        except DatasetError as failure:
            return TaskQuestion(number, None, text, str(failure))

    def _images(self, number: int) -> tuple[Image.Image, ...] | None:
        """The images of a document; None if a cell of them is empty.

        Raises:
            DatasetError: if one is broken, or not in the dataset's folder.
        """
        try:
            with boundary(DatasetError):
                document = self._task.eval_docs[number]  # decodes its images
        except BROKEN_IMAGE as broken:
            raise DatasetError(foreign_words(broken)) from broken
        try:
            with boundary(DatasetError):
                shown = self._task.doc_to_visual(document) or ()
        except AttributeError:  # an empty cell has no `convert`
            return None
        except LookupError as failure:
            raise self._unfit(failure) from failure
        for image in shown:
            if not isinstance(image, Image.Image):
                raise UserError(
                    f"The lmms-eval task '{self._config.file.name}' shows a "
                    f"{type(image).__name__}; here only images are shown.",
                    hint=f"python -m lmms_eval --tasks {self._config.file.name}",
                )
        return tuple(shown)

    def _text(self, number: int) -> str:
        document = self._task.eval_docs_no_media[number]
        try:
            with boundary(DatasetError):
                text = self._task.fewshot_context(document, 0)
        except (DatasetError, *_FOREIGN) as failure:
            raise self._unfit(failure) from failure
        if not isinstance(text, str):
            raise UserError(
                f"The lmms-eval task '{self._config.file.name}' asks with a "
                f"{type(text).__name__}; here a question is a text."
            )
        return text

    def _results(self, number: int, answer: str) -> Iterator[tuple[str, Any]]:
        """Filters, reasoning tags and scoring in lmms-eval's order, for one answer."""
        task = self._task
        about = {"task": self._config.file.name, "doc_id": number, "repeats": 1}
        request = task.construct_requests(
            doc_id=number, ctx="", metadata=about | {"split": self._config.split}
        )
        request.resps = [cut(answer, self._stops)]
        task._instances = [request]
        task.apply_filters()
        document = task.eval_docs_no_media[number]
        for name, filtered in request.filtered_resps.items():
            read = _without_reasoning(filtered, self._reasoning_tags(task))
            suffix = "" if name == _PLAIN_FILTER else f",{name}"
            for metric, value in task.process_results(document, [read]).items():
                if metric in task.aggregation():
                    yield f"{metric}{suffix}", value

    @staticmethod
    def _reasoning_tags(task: ConfigurableTask) -> list[list[str]] | None:
        from lmms_eval.api.reasoning import parse_reasoning_tags_config

        tags: list[list[str]] | None = parse_reasoning_tags_config(
            task_value=getattr(task.config, "reasoning_tags", None)
        )
        return tags


def _direct_task() -> type[ConfigurableTask]:
    """lmms-eval's task without its retries."""
    from lmms_eval.api.task import ConfigurableTask

    class DirectTask(ConfigurableTask):  # type: ignore[misc]
        """See the module docstring."""

        download = ConfigurableTask.download.__wrapped__
        process_results = ConfigurableTask.process_results.__wrapped__

    return DirectTask


def _without_reasoning(filtered: Any, tags: list[list[str]] | None) -> Any:
    from lmms_eval.api.reasoning import strip_reasoning_tags

    if tags is None:
        return filtered
    if isinstance(filtered, list):
        return [_without_reasoning(part, tags) for part in filtered]
    return strip_reasoning_tags(filtered, tags) if isinstance(filtered, str) else filtered


def _columns(path: Path) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as stream:
            return list(pq.read_schema(stream).names)
    except (pa.ArrowException, OSError):
        return []


def _plain(value: Any, task: str) -> Any:
    """A result as JSON-like values that come back equal from the store.

    Raises:
        UserError: for anything else.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(part, task) for part in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(part, task) for key, part in value.items()}
    if callable(getattr(value, "tolist", None)):  # numpy and torch
        return _plain(value.tolist(), task)
    raise UserError(
        f"The lmms-eval task '{task}' gives a {type(value).__name__} for a row, which cannot be "
        "stored.",
        hint=f"python -m lmms_eval --model pairuni --tasks {task}",
    )
