"""The one record format, for text, image and edit alike.

A benchmark yields `Sample`s; a model turns each into one or more `Output`s; a scorer turns each
output into `Score`s under a protocol. Records are frozen and stored as JSON lines, later parquet.
Identity is content: the same sample, draw and decoding have the same id on every machine, so two
runs meet row by row. The id leaves out the model and the seed on purpose.

Missing is not zero: a `Score` without a value says why in its `status`.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Self

import msgspec

from pairuni_eval.decoding import Decoding
from pairuni_eval.errors import DatasetError
from pairuni_eval.seeds import stable_hash

if TYPE_CHECKING:
    from PIL import Image

RECORD_FORMAT = "pairuni-records/1"


class Capability(StrEnum):
    """What a sample asks of the model."""

    UNDERSTAND = "understand"
    GENERATE = "generate"
    EDIT = "edit"


class Status(StrEnum):
    """Why a score has a value, or why it has none."""

    SCORED = "scored"
    UNPARSED = "unparsed"  # the model answered, but not in a form the protocol can read
    REFUSED = "refused"  # the model or the judge declined
    JUDGE_FAILED = "judge_failed"  # no usable verdict
    MISSING_OUTPUT = "missing_output"  # the model or the dataset failed on this row
    SKIPPED = "skipped"  # not attempted, with the reason in the verdict


UNREADABLE_REPLY = "unreadable reply"  # a verdict that begins so goes on in the judge's words


class TextPart(msgspec.Struct, frozen=True, tag_field="kind", tag="text"):
    """A run of text inside a sample or an output."""

    text: str


# A picture's id becomes the name of a file: nothing else may be read from a table as one.
PictureId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]


class ImagePart(msgspec.Struct, frozen=True, tag_field="kind", tag="image", omit_defaults=True):
    """An image inside a sample or an output, known by the hash of its content.

    Attributes:
        image: The picture's id.
        flaw: Why the dataset's row holds no image that can be read; the picture is empty then.
            Stored only where there is one.
    """

    image: PictureId
    flaw: str | None = None


Part = TextPart | ImagePart


class Picture:
    """An image on its way into the store: encoded bytes plus the id of their content.

    Bytes that come from a dataset are kept as they are and addressed by their own SHA-256. Images
    that are made here are addressed by their pixels, so that the id does not depend on which zlib
    compressed them. One that the dataset's row does not hold is empty and knows why (`flaw`); all
    empty ones have one id, so that a reason in other words does not make another sample.
    """

    __slots__ = ("_digest", "data", "flaw", "id")

    def __init__(
        self, data: bytes, identity: str, digest: str | None = None, flaw: str | None = None
    ) -> None:
        self.data = data
        self.id = identity
        self.flaw = flaw
        self._digest = digest

    @property
    def digest(self) -> str:
        """The SHA-256 of the encoded bytes; the id itself where they came from a dataset."""
        if self._digest is None:
            self._digest = hashlib.sha256(self.data).hexdigest()
        return self._digest

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Wrap an encoded image (PNG, JPEG, ...) as found in a dataset; never decodes it."""
        digest = hashlib.sha256(data).hexdigest()
        return cls(data, digest, digest)

    @classmethod
    def broken(cls, flaw: str) -> Self:
        """An empty picture for a row that holds no readable image; `flaw` says why."""
        empty = hashlib.sha256().hexdigest()
        return cls(b"", empty, empty, flaw)

    @classmethod
    def from_image(cls, image: Image.Image) -> Self:
        """Encode a PIL image as PNG, addressed by its mode, size and pixels."""
        buffer = io.BytesIO()
        image.save(buffer, format="PNG")
        return cls(buffer.getvalue(), pixel_id(image))


def is_picture(data: bytes, identity: str) -> bool:
    """Whether encoded bytes are the picture of this id; decodes them only if their hash differs."""
    if hashlib.sha256(data).hexdigest() == identity:
        return True
    from pairuni_eval.pictures import read_as_stored

    try:
        return pixel_id(read_as_stored(io.BytesIO(data), DatasetError)) == identity
    except DatasetError:
        return False


def pixel_id(image: Image.Image) -> str:
    """The SHA-256 of an image's mode, size and pixels."""
    digest = hashlib.sha256(f"{image.mode} {image.width}x{image.height}\n".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One question, prompt or edit of a benchmark.

    Attributes:
        uid: Hash of the benchmark, its version and everything the model and the scorer see.
        benchmark: The benchmark's name.
        key: The dataset's own id of the row, for people and for importing recorded answers.
        capability: What is asked of the model.
        parts: The request in order, texts and images interleaved.
        reference: What the scorer needs (gold answer, GenEval metadata, ...), JSON-like.
        unit: The cluster for statistics: samples that share an image, a prompt or a source.
        tags: Groups that tables and aggregates split by, e.g. {"category": "count"}.
    """

    uid: str
    benchmark: str
    key: str
    capability: Capability
    parts: tuple[Part, ...]
    reference: dict[str, Any]
    unit: str
    tags: dict[str, str]

    @property
    def text(self) -> str:
        """All text parts, joined by blanks, for tables and logs."""
        return " ".join(part.text for part in self.parts if isinstance(part, TextPart))

    @property
    def images(self) -> tuple[str, ...]:
        """The ids of the images in the request, in order."""
        return tuple(part.image for part in self.parts if isinstance(part, ImagePart))


class Item(msgspec.Struct, frozen=True):
    """What a benchmark yields: a sample and the pictures its parts refer to."""

    sample: Sample
    pictures: tuple[Picture, ...] = ()


def make_item(
    *,
    benchmark: str,
    version: str,
    key: str,
    capability: Capability,
    parts: tuple[str | Picture, ...],
    reference: Mapping[str, Any],
    unit: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> Item:
    """Build a sample with its identity from plain text and pictures.

    `unit` defaults to the first image, or else to the key: questions about one image form one
    cluster.
    """
    pictures = tuple(part for part in parts if isinstance(part, Picture))
    records: tuple[Part, ...] = tuple(
        ImagePart(part.id, part.flaw) if isinstance(part, Picture) else TextPart(part)
        for part in parts
    )
    address = [_address(part) for part in records]
    uid = stable_hash(
        "sample/1", benchmark, version, key, str(capability), address, dict(reference)
    )
    sample = Sample(
        uid=uid,
        benchmark=benchmark,
        key=key,
        capability=capability,
        parts=records,
        reference=dict(reference),
        unit=unit or (pictures[0].id if pictures else key),
        tags=dict(tags or {}),
    )
    return Item(sample, pictures)


def _address(part: Part) -> Any:
    """What of a part belongs to a sample's identity: not the words about a flaw."""
    return msgspec.to_builtins(ImagePart(part.image) if isinstance(part, ImagePart) else part)


class Output(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the model gave for one draw of one sample.

    `skipped`, `error` and `refused` are exclusive of parts: the first says why it was not
    attempted, the second what failed at the boundary, the third that the model declined. Times are
    not here: they are in the run's journal, because a row must not differ between two runs of the
    same command.

    Attributes:
        id: Hash of sample, draw and decoding.
        sample: The uid of the sample.
        draw: Which of several outputs of the sample this is, from 0.
        seed: Seed of this output's own generator.
        decoding: Hash of the decoding.
        parts: What was said or drawn; empty if nothing was.
        tokens: How many tokens it took.
        error: What failed at the boundary, or None.
        skipped: Why it was not attempted, or None.
        refused: In what words the model, or a filter around it, declined, or None.
    """

    id: str
    sample: str
    draw: int
    seed: int
    decoding: str
    parts: tuple[Part, ...] = ()
    tokens: int = 0
    error: str | None = None
    skipped: str | None = None
    refused: str | None = None

    @property
    def text(self) -> str | None:
        """The text of the output, or None if it has none."""
        texts = [part.text for part in self.parts if isinstance(part, TextPart)]
        return "".join(texts) if texts else None

    @property
    def image(self) -> str | None:
        """The id of the drawn image, or None."""
        return next((part.image for part in self.parts if isinstance(part, ImagePart)), None)


def output_id(sample: str, draw: int, decoding: str) -> str:
    """The id of an output: its sample, draw and decoding, whoever produced it."""
    return stable_hash("output/1", sample, draw, decoding)


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """One number, or the reason for its absence, about one output under one protocol.

    Attributes:
        output: The id of the output that was graded.
        protocol: e.g. "pope@official".
        metric: e.g. "correct", "said_yes", "consistency".
        value: The number when `status` is scored, else None. Where another toolkit graded the row
            and its result is not a number, `status` is scored, the verdict holds the result and
            there is no value.
        status: Why there is a value, or why there is none.
        scorer: The scorer's name and version, e.g. "yes_no/1".
        judge: The judge's snapshot, if one was asked.
        verdict: What the scorer or judge said, in a few words or raw.
    """

    output: str
    protocol: str
    metric: str
    value: float | None
    status: Status
    scorer: str
    judge: str | None = None
    verdict: str | None = None


class ExternalMetric(msgspec.Struct, frozen=True, kw_only=True):
    """A number of a whole run as another toolkit computes it: no interval can be given.

    Attributes:
        protocol: e.g. "lmms:pope@lmms-eval".
        metric: The toolkit's own name of it.
        value: In the toolkit's own scale; None if it could not be computed.
        rows: The graded rows it rests on.
        source: The toolkit with its version.
        note: Why there is no value, or what must be known beside it.
    """

    protocol: str
    metric: str
    value: float | None
    rows: int
    source: str
    note: str | None = None


class ModelIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """Which weights these are, wherever they lie.

    Attributes:
        adapter: Name of the adapter, e.g. "janus".
        name: The checkpoint as people call it: "tiny", a hub id, the name of a folder.
        weights: SHA-256 over the weight files, or over what stands for weights.
        parent: `weights` of the checkpoint it was trained from, if known.
        step: Training step, if known.
        recipe: Training recipe, if known.
        dtype: The precision it runs in.
        parts: Which model each capability is given to, where several are measured as one.
    """

    adapter: str
    name: str
    weights: str
    parent: str | None = None
    step: int | None = None
    recipe: str | None = None
    dtype: str = "float32"
    parts: dict[Capability, ModelIdentity] | msgspec.UnsetType = msgspec.UNSET


class BenchmarkRun(msgspec.Struct, frozen=True, kw_only=True):
    """What a run does with one benchmark.

    Attributes:
        protocols: The protocols its outputs are graded under; the first is printed first.
        decoding: The decoding of every request.
        batch_size: Requests per batch.
        origin: Where the data came from, e.g. "hub:lmms-lab/POPE".
        revision: The dataset's revision, "unpinned" where none is known.
        judge: Snapshot of the judge, if there is one.
        second_judge: Snapshot and share of the judge that is asked again, if there is one.
        expected: Samples of the complete benchmark, by its card.
        planned: Samples of this run; fewer under --limit.
        preset: The name that the decoding was published under; empty if it was not.
    """

    protocols: tuple[str, ...]
    decoding: Decoding
    batch_size: int
    origin: str
    revision: str
    judge: str | None
    expected: int
    planned: int
    second_judge: str | None = None
    preset: str = ""


class RunCard(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is: written before the first output, equal for two runs of the same command.

    Attributes:
        format: Version of the record format.
        code: Version of this package.
        name: The run's name.
        checkpoint: Which weights were measured.
        suite: The suite; None if benchmarks were named.
        benchmarks: What the run does with each benchmark, by name.
        seed: Seed of every random draw.
        limit: Samples per benchmark the user asked for; any limit makes the run PARTIAL.
        environment: Versions and hardware that numbers may depend on.
        command: The command that repeats the run.
    """

    format: str
    code: str
    name: str
    checkpoint: ModelIdentity
    suite: str | None
    benchmarks: dict[str, BenchmarkRun]
    seed: int
    limit: int | None
    environment: dict[str, str]
    command: str

    @property
    def partial(self) -> bool:
        """True if some benchmark is not run whole."""
        return any(part.planned < part.expected for part in self.benchmarks.values())

    @property
    def rows_address(self) -> str:
        """Hash of what makes the rows of a run its own, wherever it lies and whoever judges it."""
        decodings = {name: part.decoding.id for name, part in self.benchmarks.items()}
        weights, dtype = self.checkpoint.weights, self.checkpoint.dtype
        return stable_hash("rows/1", weights, dtype, self.seed, self.limit, decodings)

    @property
    def protocol_hash(self) -> str:
        """Hash of everything but the checkpoint that can move a number."""
        asked = {
            name: [part.protocols, part.decoding.id, part.judge, part.planned, part.revision]
            for name, part in self.benchmarks.items()
        }
        return stable_hash("protocol/1", self.format, asked)


class GradientRow(msgspec.Struct, frozen=True, kw_only=True):
    """Inner products of the two tasks' gradients in one block of parameters at one step.

    Every triple is (a.a, a.b, b.b), summed in float64.

    Attributes:
        scenario: What was paired how, e.g. the arm.
        step: Training step, or number of the batch in an offline probe.
        block: Name of the block; "all" is every shared parameter together.
        preconditioned: True if both gradients were divided by Adam's root mean square first.
        tasks: Understanding (a) against generation (b).
        und_halves: First half of the understanding batch against the second; None if not taken.
        gen_halves: The same for generation.
        und_live: Share of the understanding groups that had spread in their rewards.
        gen_live: The same for generation.
        rows: Rows of the pair set in the batch.
    """

    scenario: str
    step: int
    block: str
    preconditioned: bool
    tasks: tuple[float, float, float]
    und_halves: tuple[float, float, float] | None
    gen_halves: tuple[float, float, float] | None
    und_live: float
    gen_live: float
    rows: int
