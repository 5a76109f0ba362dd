"""The card of a benchmark: everything that is decided about it, in one TOML file.

A card says where the data lies and at which revision, how many samples there must be, what a
cluster is, which protocols grade it, how their scores become metrics, and which figures were
published under which protocol. Metrics that protocols share stand once, in a list `metrics` at the
top: a protocol without a list takes them all, one with a list takes those that it names and adds
tables of its own. Unknown keys are errors. A run stores a copy of every card it used, so that a
report needs nothing but the run folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec

from pairuni_eval.config import Strict, as_record, read_record, read_table
from pairuni_eval.decoding import Decoding
from pairuni_eval.errors import UserError
from pairuni_eval.records import Capability


class UrlSpec(Strict, frozen=True, kw_only=True):
    """One file at a pinned address: what arrives must be exactly this.

    Attributes:
        file: Name below the folder of the benchmark's data, parts joined by "/".
        url: Where it is read: https, or http on this machine.
        sha256: SHA-256 of the file, 64 hex digits.
        bytes: Its size; no more is read.

    Raises:
        ValueError: for a name that leaves the folder, or an address of another kind.
    """

    file: str
    url: str
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    bytes: Annotated[int, msgspec.Meta(ge=1)]

    def __post_init__(self) -> None:
        if not is_plain_name(self.file):
            raise ValueError(f"file '{self.file}' is not a plain name below a folder")
        parts = urlsplit(self.url)
        if parts.scheme != "https" and not (parts.scheme == "http" and _is_here(self.url)):
            raise ValueError(f"url '{self.url}' is not https")
        if not parts.hostname or parts.username or parts.password or parts.fragment:
            raise ValueError(f"url '{self.url}' is not a plain address of a file")


class ByHandSpec(Strict, frozen=True, kw_only=True):
    """What no program can fetch, for lack of a pinned file: a person puts it there.

    Attributes:
        files: Glob patterns below DIR/<benchmark>; with a match for each, all is there.
        source: What it is and where it is found, for people.
    """

    files: tuple[str, ...]
    source: str


class DataSpec(Strict, frozen=True, kw_only=True):
    """Where the rows come from: from the hub, from pinned addresses, or made where they are read.

    Attributes:
        files: Glob patterns, looked for below `--data DIR`, DIR/<benchmark>, the benchmark's own
            folder and what was fetched, in this order.
        hub: Dataset id on the Hugging Face hub, or None.
        hub_files: Patterns that the hub is asked for, where `files` would match more of it than is
            needed; empty means `files`.
        revision: Commit of the dataset; "unpinned" is allowed and shown in every report.
        split: Name of the split, for people.
        rows: Rows in the files, where that differs from the number of samples.
        sha256: Expected SHA-256 by file name, for files that must be exactly these wherever they
            are found.
        urls: Files at pinned addresses, where the data is not on the hub. A user's own copy may
            differ from them: whether a complete one must not is the benchmark's business.
        by_hand: What else belongs to the data and cannot be fetched, or None.

    Raises:
        ValueError: for a hub and addresses at once, a name given twice, or addresses without a
            pinned revision.
    """

    files: tuple[str, ...] = ()
    hub: str | None = None
    hub_files: tuple[str, ...] = ()
    revision: str = "unpinned"
    split: str | None = None
    rows: int | None = None
    sha256: dict[str, str] = {}
    urls: tuple[UrlSpec, ...] = ()
    by_hand: ByHandSpec | None = None

    def __post_init__(self) -> None:
        if not self.urls:
            return
        if self.hub is not None:
            raise ValueError("hub and urls exclude each other")
        if self.revision == "unpinned":
            raise ValueError("urls need a revision: the commit that they are of")
        if len({one.file for one in self.urls}) < len(self.urls):
            raise ValueError("two urls have one file")

    @property
    def remote_files(self) -> tuple[str, ...]:
        """The patterns that the hub is asked for."""
        return self.hub_files or self.files

    @property
    def published(self) -> dict[str, str]:
        """SHA-256 of the files at pinned addresses, by name without folders."""
        return {one.file.rpartition("/")[2]: one.sha256 for one in self.urls}

    @property
    def source(self) -> str | None:
        """Where the files are fetched from: "hub:" and a dataset, or "url:" and a site."""
        if self.hub is not None:
            return f"hub:{self.hub}"
        sites = dict.fromkeys(_site(one.url, self.revision) for one in self.urls)
        return f"url:{', '.join(sites)}" if sites else None


def is_plain_name(name: str) -> bool:
    """Whether a file's name stays below the folder that it is put into, on every system.

    Relative, parts joined by "/"; no empty part, no "." or "..", no backslash, no colon, and
    nothing that cannot be printed.
    """
    parts = name.split("/")
    bad = {"", ".", ".."}
    return name.isprintable() and not set(name) & set("\\:") and not bad & set(parts)


def _is_here(url: str) -> bool:
    from pairuni_eval.network import is_loopback  # late: --help must not wait for ssl

    return is_loopback(url)


def _site(url: str, revision: str) -> str:
    """An address up to the revision in it, without its scheme; its host if there is none."""
    host, _, path = url.partition("://")[2].partition("/")
    before, found, _ = path.partition(f"/{revision}/")
    return f"{host}/{before}" if found else host


class WeightSpec(Strict, frozen=True, kw_only=True):
    """Weights of a model that grades: a detector, an image-text scorer.

    Looked for in DIR/<benchmark>/weights/<name>, then DIR/weights/<name> of `--data DIR`, then on
    the hub.

    Attributes:
        files: Glob patterns that must match.
        hub: Model id on the Hugging Face hub, or None.
        revision: Commit of the model repository, or "unpinned".
        sha256: Expected SHA-256 by file name.
        licence: Licence of the weights.
        summary: Whose training this is, for people.
    """

    files: tuple[str, ...]
    summary: str
    licence: str
    hub: str | None = None
    revision: str = "unpinned"
    sha256: dict[str, str] = {}


class MetricSpec(Strict, frozen=True, kw_only=True):
    """How the scores of one protocol become one number.

    Attributes:
        name: Key of the metric in summaries.
        aggregate: A built-in (`mean`, `macro_mean`, `weighted_mean`, `f1`, `precision`, `recall`,
            `macro_f1`, `macro_precision`, `macro_recall`, `yes_ratio`, `label_ratio`, `mme_total`)
            or "package.module:object" of a plugin. Those of POPE read `said_yes` (0 or 1) against
            the tag `label` (yes or no), and `label_ratio` is the share of that tag's yes; with
            `by`, a row in several groups counts once in each. `any_of_unit` is the share of units
            with any row right.
        of: The score metric it reads.
        by: Tag whose values are the groups of `macro_mean`, `weighted_mean` and the per-task table.
            A tag may name several groups joined by commas: the row then counts in each.
        where: Keep only rows whose tags hold these values.
        weights: Weight per group, for `weighted_mean`.
        title: The metric for people. That of a total ends with ", of N", the most that the
            complete benchmark gives; over fewer groups a report puts theirs in its place.
        scale: Factor for printing (100 prints a share as per cent).
        range: Lowest and highest value of a row, before scaling, where that is not 0 to 1.
        noise: The most that a row may be worth, before scaling, whose picture shows nothing: noise,
            color patches, a blank. `validate` holds the benchmark to it; None says nothing.
    """

    name: str
    aggregate: str = "mean"
    of: str = "correct"
    by: str | None = None
    where: dict[str, str] = {}
    weights: dict[str, float] = {}
    direction: Literal["up", "down", "none"] = "up"
    title: str | None = None
    scale: float = 100.0
    decimals: int = 1
    range: tuple[float, float] | None = None
    noise: float | None = None


class ProtocolSpec(Strict, frozen=True, kw_only=True):
    """One rule for turning outputs into scores and scores into metrics.

    Attributes:
        unparsed: How an answer that cannot be read counts: "wrong" (value 0) or "excluded".
        headline: The metric printed first.
        source: The official scorer this equals, as repository@commit:path.
        final_answer: The protocol of the card whose rule this one applies to the final answer of a
            text alone (see `scorers.answer_form`); None for a rule of its own, over the whole text.
            It is shown where answers carry tags, for without them both say the same.
        counts_empty: Whether an answer that says nothing of the question may be right: an option is
            drawn for it, it is taken for a yes, or one letter is right of every open question. Such
            a protocol is refused as a training reward.
    """

    summary: str
    source: str
    headline: str
    metrics: tuple[MetricSpec, ...]
    unparsed: Literal["wrong", "excluded"] = "wrong"
    scorer: str = ""
    final_answer: str | None = None
    counts_empty: bool = False

    def metric(self, name: str) -> MetricSpec:
        """The metric of that name; KeyError if the card has none."""
        for spec in self.metrics:
            if spec.name == name:
                return spec
        raise KeyError(name)


class JudgeSpec(Strict, frozen=True, kw_only=True):
    """Which judge a benchmark asks, and how often per output.

    Attributes:
        name: Name of the judge plugin.
        snapshot: Exact model name the protocol prescribes.
        calls: Calls per output and protocol, for the plan.
        temperature: Sampling temperature; None leaves it to the endpoint, as some protocols do.
        max_tokens: Longest reply in tokens; None leaves it to the endpoint.
        extra: Further fields of the request, e.g. `chat_template_kwargs`.
    """

    name: str
    snapshot: str | None = None
    calls: int = 1
    temperature: float | None = None
    max_tokens: int | None = None
    extra: dict[str, Any] = {}


class Published(Strict, frozen=True, kw_only=True):
    """A figure that somebody printed, with the protocol it rests on.

    Attributes:
        value: In the printed scale of the metric, i.e. after `MetricSpec.scale`.
    """

    model: str
    metric: str
    value: float
    source: str
    protocol: str = "not stated"


class Card(Strict, frozen=True, kw_only=True):
    """A benchmark's card; see the module docstring.

    Attributes:
        expected: Number of samples of the complete benchmark.
        counted: Samples of the complete benchmark by tag and group, for the metrics of a part
            (`where`); empty where nobody counted.
        draws: Outputs per sample (GenEval: 4 images a prompt).
        unit: What one cluster is: "image", "prompt" or "source".
        weights: Models that grade, by name; `Data.weights(name)` finds their files.
        keep_units: True if --limit must not cut a unit in two (MME scores pairs).
        meet_by: How the outputs of two runs meet: by the content of their samples, or by the key
            alone, where each run has samples of its own (a model's own pictures).
        tiny: True for the benchmarks of the tiny world, whose numbers never stand in one column
            with anybody else's.
    """

    name: str
    title: str
    summary: str
    version: str
    capability: Capability
    expected: int
    unit: Literal["image", "prompt", "source"]
    licence: str
    protocols: dict[str, ProtocolSpec]
    data: DataSpec = DataSpec()
    decoding: Decoding = Decoding()
    counted: dict[str, dict[str, int]] = {}
    draws: int = 1
    homepage: str | None = None
    judge: JudgeSpec | None = None
    weights: dict[str, WeightSpec] = {}
    published: tuple[Published, ...] = ()
    keep_units: bool = False
    meet_by: Literal["content", "key"] = "content"
    tiny: bool = False

    @property
    def default_protocol(self) -> str:
        """The protocol that is printed first: the first one in the card."""
        return next(iter(self.protocols))


class Suite(Strict, frozen=True, kw_only=True):
    """A named list of benchmarks.

    Attributes:
        baselines: Stored runs that a report compares with unless the user names others: by printed
            name a run folder, or one packed into a file, below the folder of the registry package
            that brings the suite.
    """

    name: str
    title: str
    benchmarks: tuple[str, ...]
    baselines: dict[str, str] = {}
    also_fetched: tuple[str, ...] = ()


def read_card(path: Path) -> Card:
    """Read and check a card.

    Raises:
        UserError: naming the file and the key, for bad TOML, an unknown key or a wrong type.
    """
    table = read_table(path)
    _share_metrics(table, path)
    card = as_record(table, Card, path, also=("metrics",))
    problem = card_problem(card)
    if problem:
        raise UserError(f"{path}: {problem}.")
    return card


class _Shared(Strict, frozen=True, kw_only=True):
    """The metrics that the protocols of a card share."""

    metrics: tuple[MetricSpec, ...] = ()


def _share_metrics(table: dict[str, Any], path: Path) -> None:
    """Give every protocol its metrics: those that it names, or all that stand at the card's top."""
    written = table.pop("metrics", [])
    shared = as_record({"metrics": written}, _Shared, path).metrics
    by_name = {spec.name: plain for spec, plain in zip(shared, written, strict=True)}
    protocols = table.get("protocols")
    for name, protocol in protocols.items() if isinstance(protocols, dict) else ():
        if isinstance(protocol, dict) and isinstance(protocol.get("metrics", written), list):
            listed = protocol.get("metrics", written)
            unknown = [one for one in listed if isinstance(one, str) and one not in by_name]
            if unknown:
                raise UserError(
                    f"{path}: protocols.{name}.metrics names '{unknown[0]}', which is none of the "
                    f"metrics at the card's top ({', '.join(by_name) or 'it has none'})."
                )
            found = [by_name[one] if isinstance(one, str) else one for one in listed]
            if found:
                protocol["metrics"] = found


def card_problem(card: Card) -> str | None:
    """What no type says of a card and makes it unusable, with its key; None if nothing does."""
    for name, protocol in card.protocols.items():
        known = [spec.name for spec in protocol.metrics]
        if protocol.headline not in known:
            return (
                f"protocols.{name}.headline is '{protocol.headline}', "
                f"which is none of its metrics ({', '.join(known)})"
            )
        whole = [key for key, other in card.protocols.items() if other.final_answer is None]
        if protocol.final_answer not in (None, *whole):
            return (
                f"protocols.{name}.final_answer is '{protocol.final_answer}', which is not a "
                f"protocol with a rule of its own ({', '.join(whole)})"
            )
    return None if card.protocols else "a card needs at least one [protocols.NAME] table"


def read_suite(path: Path) -> Suite:
    """Read and check a suite file; raises UserError like `read_card`."""
    return read_record(path, Suite)
