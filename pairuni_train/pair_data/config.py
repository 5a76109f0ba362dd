"""What a pair set is built from, as a TOML file: sources, encoder, selection, retrieval, writer.

One frozen value; the same value and the same source files give the same pair sets. Unknown keys are
errors that name the file and the nearest key. Shipped files are presets (`--preset NAME`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

import msgspec

from pairuni_eval.api.tiny import ALL, overlapping, read_names
from pairuni_eval.toolkit import UserError, unknown_name
from pairuni_eval.toolkit.data import (
    Count,
    Strict,
    as_record,
    changed,
    read_assignments,
    read_table,
    text_of,
)
from pairuni_train.pair_data.record import SIDES, Side

PairArm = Literal[
    "pairug",
    "aligned",
    "retrieved",
    "half",
    "u_only",
    "g_only",
    "unpaired",
    "low_similarity",
    "random",
]
PAIR_ARMS: tuple[PairArm, ...] = get_args(PairArm)

# Keys that a configuration once had, each with the only value that is left.
_SETTLED = (("retrieval", "order", "given"), ("completion", "lying", 0.0))

MIN_NAMES = 8  # of a source: a choice has four, a scene up to four others

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Columns(Strict, frozen=True, kw_only=True):
    """Where a source keeps what a row needs, as dotted paths ("prompt.0.content").

    Attributes:
        image: A column with an encoded image, the hub's {"bytes", "path"}, a path from the file's
            folder, a data URL, or a list that holds exactly one of these.
        id: Default: name of the file and number of the row (tar: the key).
        group: What the data card counts by, e.g. the task.
    """

    image: str
    question: str | None = None
    answer: str | None = None
    prompt: str | None = None
    id: str | None = None
    group: str | None = None


class FileSource(Strict, frozen=True, kw_only=True, tag_field="kind", tag="files"):
    """Rows in parquet, JSON-lines or WebDataset tar files, from the hub or a folder.

    Attributes:
        name: How the source is called in ids, cards and counts.
        files: Patterns below the folder or the repository, e.g. "train/*.parquet".
        exclude: Files that match one of these are left alone.
        hub: Dataset id; exclusive of `folder`.
        revision: Commit of the hub's repository; default the newest.
        folder: A relative one starts from the folder of the configuration file.
        drop: Rows whose column holds one of these words are left out, whatever the case.
        strip: Cut out of questions and prompts, e.g. an image mark.
        rows: At most so many rows, the first ones.
    """

    name: str
    files: tuple[str, ...]
    columns: Columns
    licence: str
    exclude: tuple[str, ...] = ()
    hub: str | None = None
    revision: str | None = None
    folder: str | None = None
    drop: dict[str, tuple[str, ...]] = {}
    strip: tuple[str, ...] = ()
    rows: Count | None = None


class TinySource(Strict, frozen=True, kw_only=True, tag_field="kind", tag="tiny"):
    """Rows that the tiny world makes; see `tiny_rows` and `tiny_name_rows`.

    Attributes:
        rows: How many.
        names: The made-up names that the source is about: "all", or places in the list of 24, such
            as "0-15". None makes rows about shapes and colors.
        common: With `names`, the share of rows that are about shapes and colors all the same, of
            units that no suite holds out.
        exact: With `names`, a prompt names all that its picture shows, as one must that a model is
            taught to draw from; a prompt that is written for a picture does so as well, or there
            is none. Otherwise pictures show further things, as photographs do.

    Raises:
        ValueError: for names that there are none of, or too few to choose from, and for `common`
            or `exact` without names.
    """

    rows: Count
    names: str | None = None
    common: Share = 0.0
    exact: bool = False

    def __post_init__(self) -> None:
        if self.names is not None and len(read_names(self.names)) < MIN_NAMES:
            raise ValueError(f"names '{self.names}': a source needs at least {MIN_NAMES}")
        if self.names is None and self.common:
            raise ValueError("common is for sources with names; without them all rows are")
        if self.names is None and self.exact:
            raise ValueError("exact is for sources with names")


Source = FileSource | TinySource


class EncoderSpec(Strict, frozen=True, kw_only=True):
    """Which features say how alike two images are.

    Attributes:
        name: A plugin: resnet50, dinov3, pe, tiny, ...
        checkpoint: Folder or hub id of its weights; default: the encoder's own.
        batch_size: Images that go through it together.
        device: "cpu", "cuda", ...
    """

    name: str = "resnet50"
    checkpoint: str | None = None
    batch_size: Count = 64
    device: str = "cpu"


class SelectionSpec(Strict, frozen=True, kw_only=True):
    """Which rows become aligned pairs.

    Attributes:
        method: "kmeans" takes the medoid of each cluster, "random" draws (the paper's T9).
        clusters: K of MiniBatchKMeans for the arm `pairug`. The paper does not print its K; it
            ends with 4,971 aligned pairs of 16,320.
        attempts: How many rows of a cluster may be tried, nearest to the center first, until one is
            completed and verified; also how deep the other clusters make up for one that gives
            none. The paper names the medoid only: 1.
        in_memory: Images whose features k-means holds in memory at most; of more it reads
            mini-batches from the disk, three times through all of them.
    """

    clusters: Count
    method: Literal["kmeans", "random"] = "kmeans"
    attempts: Count = 1
    in_memory: Count = 250_000


class RetrievalSpec(Strict, frozen=True, kw_only=True):
    """Which images are alike enough to be a retrieved pair.

    Attributes:
        threshold: Least cosine of the features (the paper's T8: 0.6 is best of 0.5, 0.6, 0.7).
        neighbors: n: understanding images that one generation image is paired with. The paper does
            not print its n; 1 pairs one to one.
        index: "exact" compares every generation image with every understanding image, "ivf" with
            those in some lists of an inverted-file index: for a million images, and not all
            neighbors are found. Card and command say how many are.
        nlist: Lists of the index; default: 4 times the root of the number of understanding images.
        nprobe: Lists that are looked into for each generation image, all where there are fewer;
            default: 32.
        recall_queries: Generation images that its recall is measured on.

    Raises:
        ValueError: for settings of an index that is not asked for.
    """

    threshold: Share = 0.6
    neighbors: Count = 1
    index: Literal["exact", "ivf"] = "exact"
    nlist: Count | None = None
    nprobe: Count | None = None
    recall_queries: Count = 1000

    def __post_init__(self) -> None:
        for key in ("nlist", "nprobe"):
            if getattr(self, key) is not None and self.index != "ivf":
                raise ValueError(
                    f'{key} is a setting of index = "ivf", and index is "{self.index}"'
                )


class CompletionSpec(Strict, frozen=True, kw_only=True):
    """Who writes the missing half of an aligned pair, and who checks it.

    Attributes:
        completer: "endpoint" asks models, "tiny" knows the tiny world.
        verify: False stores halves that nobody checked; the data card counts them.
        longest_side: Images are shrunk to this many pixels before they are sent.
        writer: Options of the model that writes, as in a judge file of `pairuni-eval`: `name` of a
            judge plugin (default "openai"), `snapshot`, `base_url`, `key_env`, `max_calls`, ...
        verifier: The same for the model that checks; default: the writer.
    """

    completer: Literal["endpoint", "tiny"] = "endpoint"
    verify: bool = True
    longest_side: Count = 1024
    writer: dict[str, Any] = {}
    verifier: dict[str, Any] = {}

    def judges(self) -> tuple[str, ...]:
        """The judge plugins of writer and verifier; none if no model is asked."""
        if self.completer == "tiny":
            return ()
        return judge_name(self.writer), judge_name(self.verifier or self.writer)


def judge_name(options: Mapping[str, Any]) -> str:
    """The judge plugin that a writer's or verifier's options name."""
    return str(options.get("name", "openai"))


class PairConfig(Strict, frozen=True, kw_only=True):
    """The whole file.

    Attributes:
        name: How the pair set is called.
        pairs: Pairs of a full arm: the budget that every arm gets.
        seed: Of every draw.
        arms: Which arms to cut.
        generation_images: Store the picture of the generation half. Training never looks at it.
        overlap: How much the tiny sources of both sides know in common: their common names by all
            of both, a multiple of 1/12. It settles what `names = "all"` means on either side.
        balanced: As many yes as no among the answers of an arm. What is too much of one is left
            out, so there are more clusters than pairs to be made of them.

    Raises:
        ValueError: for an overlap that 24 names cannot have, or that no source asks for.
    """

    name: str
    pairs: Count
    understanding: tuple[Source, ...]
    generation: tuple[Source, ...]
    selection: SelectionSpec
    encoder: EncoderSpec = EncoderSpec()
    retrieval: RetrievalSpec = RetrievalSpec()
    completion: CompletionSpec = CompletionSpec()
    seed: int = 0
    arms: tuple[PairArm, ...] = PAIR_ARMS
    generation_images: bool = True
    overlap: Share | None = None
    balanced: bool = False

    def __post_init__(self) -> None:
        if self.overlap is None:
            return
        overlapping(self.overlap)
        sources = (*self.understanding, *self.generation)
        if not any(isinstance(one, TinySource) and one.names == ALL for one in sources):
            raise ValueError(f"overlap settles names = '{ALL}' of tiny sources, and there are none")

    @property
    def spares(self) -> bool:
        """Whether the set keeps to the units that no suite holds out: where a source has names."""
        sources = (*self.understanding, *self.generation)
        return any(isinstance(one, TinySource) and one.names is not None for one in sources)

    def sources(self, side: Side) -> tuple[Source, ...]:
        """The sources of a side; what a tiny one knows is settled by `overlap`."""
        sources: tuple[Source, ...] = getattr(self, side)
        if self.overlap is None:
            return sources
        known = overlapping(self.overlap)[SIDES.index(side)]
        return tuple(
            msgspec.structs.replace(one, names=known)
            if isinstance(one, TinySource) and one.names == ALL
            else one
            for one in sources
        )


class LoadedConfig(NamedTuple):
    """A configuration and the file it is from."""

    config: PairConfig
    path: Path


def read_config(path: Path) -> LoadedConfig:
    """Read and check a configuration.

    Raises:
        UserError: naming the file, the key and the nearest valid key or value.
    """
    if not path.is_file():
        raise UserError(
            f"There is no configuration {path}.",
            hint="Start from a preset: pairuni-train pairs build --preset tiny --out DIR",
        )
    config = as_record(_current(_table(path)), PairConfig, path)
    _check(config, path)
    return LoadedConfig(config, path)


def _table(path: Path) -> Any:
    """A TOML file, or the JSON that a build keeps of its own configuration."""
    if path.suffix != ".json":
        return read_table(path)
    try:
        return json.loads(text_of(path))
    except ValueError as failure:
        raise UserError(f"{path}: not valid JSON: {failure}.") from failure


def _current(table: Any) -> Any:
    """A table of an older version without the keys that say what is done anyway."""
    for name, key, value in _SETTLED:
        inner = table.get(name) if isinstance(table, dict) else None
        if isinstance(inner, dict) and inner.get(key) == value:
            del inner[key]
    return table


def find_preset(name: str) -> LoadedConfig:
    """A shipped configuration; UserError with the nearest name if there is none."""
    folder = Path(str(files("pairuni_train"))) / "pair_data" / "presets"
    names = sorted(path.stem for path in folder.glob("*.toml"))
    if name not in names:
        raise unknown_name("preset", name, names, list_command="pairuni-train pairs build --help")
    return read_config(folder / f"{name}.toml")


def with_settings(read: LoadedConfig, settings: Iterable[str]) -> LoadedConfig:
    """A configuration with keys replaced that are written as KEY=VALUE.

    Raises:
        UserError: for a key that there is none of, a wrong value, or what does not fit together.
    """
    changes = read_assignments(settings)
    if not changes:
        return read
    config = changed(read.config, changes, "the pair configuration")
    _check(config, read.path)
    return read._replace(config=config)


def check_arms(names: tuple[str, ...]) -> tuple[PairArm, ...]:
    """The arms of these names, in the order of `PAIR_ARMS`; UserError for an unknown one."""
    for name in names:
        if name not in PAIR_ARMS:
            raise unknown_name(
                "arm", name, PAIR_ARMS, list_command="pairuni-train pairs build --help"
            )
    return tuple(arm for arm in PAIR_ARMS if arm in names)


def _check(config: PairConfig, path: Path) -> None:
    """Rules between keys, which their types cannot say."""
    for side, wanted in (("understanding", ("question", "answer")), ("generation", ("prompt",))):
        sources: tuple[Source, ...] = getattr(config, side)
        if not sources:
            raise UserError(f"{path}: {side} names no source.", hint=f"[[{side}]]")
        for place, source in enumerate(sources):
            if isinstance(source, FileSource):
                _check_source(source, wanted, f"{path}: {side}[{place}]")


def _check_source(source: FileSource, wanted: tuple[str, ...], where: str) -> None:
    if (source.hub is None) == (source.folder is None):
        raise UserError(f"{where} needs exactly one of hub and folder.")
    for column in wanted:
        if getattr(source.columns, column) is None:
            raise UserError(f"{where}.columns.{column} is missing.")
    for pattern in source.files:
        if not pattern.endswith((".parquet", ".jsonl", ".tar")):
            raise UserError(f"{where}.files: '{pattern}' is not a *.parquet, *.jsonl or *.tar.")
