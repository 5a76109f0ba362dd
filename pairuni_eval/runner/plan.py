"""The plan of a run: what it owes, decided once and written down before the first output.

Planning reads every sample, stores its pictures, and cuts the outputs into fixed batches. A resumed
run finds the plan and computes the same batches again, so its numbers cannot depend on where it was
interrupted. `run.json` says what was asked; a folder that holds another run is refused.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from pairuni_eval import __version__, catalog
from pairuni_eval.benchmark import Benchmark
from pairuni_eval.cards import Card
from pairuni_eval.data import Data
from pairuni_eval.errors import UserError, writing
from pairuni_eval.extras import extra_of, needs
from pairuni_eval.models.base import Model
from pairuni_eval.places import is_file
from pairuni_eval.records import (
    RECORD_FORMAT,
    BenchmarkRun,
    Capability,
    Item,
    RunCard,
    Sample,
    output_id,
)
from pairuni_eval.runner.judging import (
    JudgePass,
    card_fields,
    judge_plugins,
    load_judges,
    with_mended_judges,
)
from pairuni_eval.runner.presets import check_preset, decoding_of
from pairuni_eval.runner.settings import RunSettings
from pairuni_eval.store import layout
from pairuni_eval.store.documents import read_bytes, read_document
from pairuni_eval.store.pictures import Pictures
from pairuni_eval.store.read import read_run_card
from pairuni_eval.store.rows import RowLog
from pairuni_eval.store.seal import own_files, read_planned
from pairuni_eval.store.tables import identity_of
from pairuni_eval.store.write import record_bytes, write_record


class PendingOutput(msgspec.Struct, frozen=True):
    """One output to make: its id, the sample and which draw of it."""

    id: str
    sample: str
    draw: int


class OutputBatch(msgspec.Struct, frozen=True):
    """Outputs that go through the model together, always the same ones."""

    benchmark: str
    capability: Capability
    outputs: tuple[PendingOutput, ...]


class RunPlan(NamedTuple):
    """A run folder once planned: the card, every sample, and the batches in order.

    Attributes:
        unchecked: How many of the samples that an earlier start left have no check.
        damage: What is to be told about samples of an earlier start that were stored again.
    """

    card: RunCard
    samples: list[Sample]
    batches: list[OutputBatch]
    unchecked: int = 0
    damage: tuple[str, ...] = ()

    @property
    def images(self) -> list[str]:
        """The ids of the pictures in all requests."""
        return [image for sample in self.samples for image in sample.images]


class RunComponents(NamedTuple):
    """The loaded code of a run: benchmarks in order and the passes of their judges."""

    benchmarks: list[Benchmark]
    judged: Mapping[str, Sequence[JudgePass]]

    def passes(self, benchmark: str) -> Sequence[JudgePass]:
        """The passes through a benchmark, at least one; without a judge nobody is asked."""
        return self.judged.get(benchmark) or [JudgePass()]


def check_installed(settings: RunSettings) -> None:
    """Raise a UserError if a benchmark or a judge needs a package that is not installed."""
    cards = settings.cards()
    with writing(str(settings.out)):  # a name that no folder can have
        complete = (settings.out / layout.COMPLETE).exists()  # nothing will be graded
    benchmarks = [] if complete else [catalog.load_benchmark(card.name) for card in cards]
    names = judge_plugins(settings.judge, cards)
    judges = [catalog.import_plugin("judges", name) for name in dict.fromkeys(names)]
    extras = [extra for one in (*benchmarks, *judges) for extra in extra_of(one)]
    asking = [card.name for card in cards if names and card.judge is not None]
    own = [benchmark.card.name for benchmark in benchmarks if extra_of(benchmark)]
    needs("Grading " + ", ".join(dict.fromkeys([*own, *asking])), *extras)


def load_components(settings: RunSettings) -> RunComponents:
    """Import the benchmarks and judges that the settings name."""
    cards = [as_begun(settings, card) for card in settings.cards()]
    benchmarks = [catalog.load_benchmark(card.name) for card in cards]
    for benchmark, card in zip(benchmarks, cards, strict=True):
        benchmark.card = card  # only with the protocols that were asked for
        if benchmark.reads:
            _show_pictures(benchmark, settings)
    return RunComponents(benchmarks, load_judges(settings.judge, cards, settings.out))


def _show_pictures(benchmark: Benchmark, settings: RunSettings) -> None:
    """Hand a benchmark the run whose pictures it reads.

    Raises:
        UserError: if none is named, or it has no such pictures.
    """
    if settings.painter is None:
        name, source = benchmark.card.name, benchmark.reads[0]
        raise UserError(
            f"'{name}' reads the pictures that a finished run drew for '{source}'.",
            hint="Name the run: --painter RUN",
        )
    benchmark.read_from(settings.painter, settings.control, device=settings.device)


def as_begun(settings: RunSettings, card: Card) -> Card:
    """The card, without protocols that it gained since the run in the folder began with others."""
    run = settings.out
    if settings.protocols or not is_file(run / layout.RUN_FILE):
        return card
    former = read_run_card(run)
    begun = former.benchmarks.get(card.name)
    if former.code != __version__ or begun is None or not {*begun.protocols} < {*card.protocols}:
        return card
    protocols = {name: card.protocols[name] for name in begun.protocols}
    if card.default_protocol not in protocols:
        return card
    return msgspec.structs.replace(card, protocols=protocols)


def plan_run(
    settings: RunSettings,
    components: RunComponents,
    model: Model,
    pictures: Pictures,
    read: Callable[[str], None] = lambda _: None,
    *,
    look_at_pictures: bool = True,
) -> RunPlan:
    """Plan a run, or find the plan that an earlier start of the same command wrote.

    Args:
        settings: What is asked.
        components: Benchmarks and judges.
        model: The model.
        pictures: The pictures of the run folder.
        read: Hears of every sample that is read, by its benchmark.
        look_at_pictures: Whether a plan that is found is made again where pictures of samples are
            missing or changed.

    Raises:
        UserError: if the folder holds another run, or the data cannot be read.
    """
    run = settings.out
    _check_changes(settings, components, model)
    if not (run / layout.RUN_FILE).exists():
        return _fresh(settings, components, model, pictures, read)
    hint = f"Delete {run / layout.RUN_FILE}: the same command plans again, what was made stands."
    _compare_with_plan(run, hint=hint)
    former = same_run(settings, components, model)
    if former != read_run_card(run):
        _put_card(run, former, hint=hint)
    batches = read_document(run / layout.PLAN_FILE, list[OutputBatch], hint=hint).value
    log = _sample_log(run, former.rows_address)
    found = log.recover()
    samples = _in_order(found.rows, batches)
    shown = {image for s in found.rows for image in s.images} if look_at_pictures else set()
    lost = {image for image in shown if pictures.trouble(image)}
    if samples is not None and not lost:
        return RunPlan(former, samples, batches, found.unchecked, log.damage)
    again = _fresh(settings, components, model, pictures, read, former)  # the outputs stand
    told = f"pictures of samples that are missing or changed: {len(lost)}; they are stored again."
    return again._replace(damage=(*log.damage, *([told] if lost else [])))


def read_plan(settings: RunSettings, components: RunComponents, model: Model) -> RunPlan:
    """The plan that another rank of the same command has just written; nothing is changed.

    Raises:
        UserError: if this rank was asked for another run, or the plan is not whole.
    """
    run, hint = settings.out, "See that all ranks have the same command and see the same folder."
    _compare_with_plan(run, hint=hint)
    try:
        card = same_run(settings, components, model)
    except UserError as error:  # what one process is told would have the run of the others deleted
        raise UserError(error.message, hint=hint) from error
    batches = read_document(run / layout.PLAN_FILE, list[OutputBatch], hint=hint).value
    found = _sample_log(run, card.rows_address).recover(mend=False)
    samples = _in_order(found.rows, batches)
    if samples is None:
        raise UserError(f"{run}: the samples of the plan are not all there.", hint=hint)
    return RunPlan(card, samples, batches, found.unchecked)


def _in_order(samples: Sequence[Sample], batches: Sequence[OutputBatch]) -> list[Sample] | None:
    """The samples in the order of the plan; None if they are not those of the plan."""
    by_uid = {sample.uid: sample for sample in samples}
    order = list(dict.fromkeys(pending.sample for batch in batches for pending in batch.outputs))
    return [by_uid[uid] for uid in order] if by_uid.keys() == set(order) else None


def _compare_with_plan(run: Path, *, hint: str) -> None:
    """Compare the run's own JSON with what planning wrote.

    Raises:
        UserError: for a file that is changed.
    """
    planned = run / layout.ROWS / layout.PLANNED
    if planned.exists():
        for name, digest in read_planned(planned, hint=hint).items():
            read_bytes(run / name, digest, hint=hint)


def _check_changes(settings: RunSettings, components: RunComponents, model: Model) -> None:
    """Refuse a changed setting that the model has for nothing that it is asked.

    Raises:
        UserError: naming the setting, and those that it has.
    """
    asked = {one.card.capability for one in components.benchmarks} & model.capabilities
    known = [model.settings(capability) for capability in sorted(asked)]
    named = [one for one in known if one is not None]
    if not named or len(named) < len(known):
        return
    has = sorted(frozenset().union(*named))
    for key in settings.changed:
        if key not in has:
            raise UserError(
                f"--set decoding.{key} would change nothing: the adapter {model.identity.adapter} "
                f"does not read it for what is asked. It reads: {', '.join(has) or 'nothing'}.",
                hint=f"Leave out --set decoding.{key}=...",
            )


def same_run(settings: RunSettings, components: RunComponents, model: Model) -> RunCard:
    """The card of the run that the folder holds, with its judges as they were mended since.

    Raises:
        UserError: if that is another run than is asked for.
    """
    run = settings.out
    former = read_run_card(run)
    if former.code != __version__:
        raise UserError(
            f"{run} was written by pairuni {former.code}; this is {__version__}. Numbers of two "
            "versions are not mixed in one run.",
            hint="Choose another folder with --out, or finish it with the version that began it.",
        )
    now = _run_card(settings, components, model, former.benchmarks)
    _check_painters(run, components, former)
    mended = with_mended_judges(run, former, now)
    asked = _asked(now)
    for key, value in _asked(mended).items():
        if asked[key] != value:
            raise UserError(
                f"{run} holds another run: its {key} is {_change(value, asked[key])}.",
                hint="Choose another folder with --out, or delete this one.",
            )
    return mended


def _check_painters(run: Path, components: RunComponents, former: RunCard) -> None:
    """See that the pictures that are read are those that the run began with.

    Raises:
        UserError: if they are another run's, or that run was measured again.
    """
    for benchmark in components.benchmarks:
        begun = former.benchmarks.get(benchmark.card.name)
        if benchmark.reads and begun is not None and begun.revision != benchmark.revision:
            raise UserError(
                f"{run} reads the {begun.origin} ({begun.revision}); the painter named now has "
                f"other pictures ({benchmark.revision}).",
                hint="Choose another folder with --out, or name the run that it began with.",
            )


def _change(before: Any, now: Any) -> str:
    """What was asked and is asked now, in words; of a table those entries that differ."""
    if not isinstance(before, dict):
        return f"{_in_words(before)}, now it is {_in_words(now)}"
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return "; ".join(
        f"{name}: {_in_words(before.get(name))}; now {_in_words(now.get(name))}" for name in names
    )


def _in_words(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else "none" if value is None else str(value)


def _put_card(run: Path, card: RunCard, *, hint: str) -> None:
    """Replace the card; a kill on the way leaves one that is not compared, never a wrong mark."""
    path = run / layout.ROWS / layout.PLANNED
    planned: dict[str, str] | None = None
    if path.exists():
        planned = read_planned(path, hint=hint)
        write_record(path, {name: one for name, one in planned.items() if name != layout.RUN_FILE})
    write_record(run / layout.RUN_FILE, card)
    if planned is not None:
        digest = sha256(record_bytes(card)).hexdigest()
        write_record(path, planned | {layout.RUN_FILE: digest})


def _sample_log(run: Path, address: str) -> RowLog[Sample]:
    path = run / layout.ROWS / "samples.jsonl"
    return RowLog(path, Sample, identity_of(Sample), address=address)


def _fresh(
    settings: RunSettings,
    components: RunComponents,
    model: Model,
    pictures: Pictures,
    read: Callable[[str], None],
    former: RunCard | None = None,
) -> RunPlan:
    """Plan a run; one that was planned before keeps what its card says of who asked."""
    run = settings.out
    log = _sample_log(run, _run_card(settings, components, model, {}).rows_address)
    log.path.unlink(missing_ok=True)  # a planning that was interrupted starts over
    samples: list[Sample] = []
    found: dict[str, _Read] = {}
    for benchmark in components.benchmarks:
        name = benchmark.card.name
        data = benchmark.data(settings.data)
        origin, expected = data.origin(), benchmark.count(data)
        mine = []
        for sample in _stored(pictures, benchmark, data, settings.limit):
            mine.append(sample)
            read(name)
        log.append(mine)
        samples += mine
        found[name] = _Read(origin.kind, origin.revision, expected, len(mine))
        card = msgspec.structs.replace(benchmark.card, expected=expected)
        write_record(run / layout.CARDS / f"{name}.json", card)
    made = _run_card(settings, components, model, found)
    if former is not None:
        made = msgspec.structs.replace(former, benchmarks=made.benchmarks)
    batches = list(_batches(made, components, samples))
    log.sync()
    write_record(run / layout.PLAN_FILE, batches)
    planned = own_files(run) | {layout.RUN_FILE: sha256(record_bytes(made)).hexdigest()}
    planned.pop(layout.EXTERNAL_METRICS, None)  # is made from the scores, later
    rows = run / layout.ROWS
    if (rows / layout.PLANNED).exists() or not any(rows.glob("*-rank*.jsonl")):
        write_record(rows / layout.PLANNED, planned)  # else its rows began without checks
    write_record(run / layout.RUN_FILE, made)  # last: its presence means that planning is whole
    return RunPlan(made, samples, batches)


def _stored(
    pictures: Pictures, benchmark: Benchmark, data: Data, limit: int | None
) -> Iterator[Sample]:
    """The samples of a benchmark, their pictures put into the store on the way."""
    seen: set[str] = set()
    with pictures:
        for item in _limited(benchmark.samples(data), limit, benchmark.card):
            if item.sample.uid in seen:
                name, key = benchmark.card.name, item.sample.key
                raise UserError(
                    f"'{name}': the row '{key}' occurs twice in the data.",
                    hint="Use the files of the dataset as published.",
                )
            seen.add(item.sample.uid)
            for picture in item.pictures:
                pictures.add(picture)
            yield item.sample


def _limited(items: Any, limit: int | None, card: Card) -> Iterator[Item]:
    """The first `limit` items; a unit that was begun is finished where the card asks for it."""
    iterator = iter(items)
    taken = list(islice(iterator, limit)) if limit is not None else None
    if taken is None:
        yield from iterator
        return
    yield from taken
    if card.keep_units and taken:
        for item in iterator:
            if item.sample.unit != taken[-1].sample.unit:
                return
            yield item


class _Read(NamedTuple):
    """What only reading the data of a benchmark can tell; fields as in `BenchmarkRun`."""

    origin: str
    revision: str
    expected: int
    planned: int


def _run_card(
    settings: RunSettings,
    components: RunComponents,
    model: Model,
    read: Mapping[str, _Read | BenchmarkRun],
) -> RunCard:
    """The card of this command; of benchmarks that were not read it says what their card does."""
    runs = {}
    cards = [benchmark.card for benchmark in components.benchmarks]
    check_preset(settings, model, cards)
    for card in cards:
        decoding, preset = decoding_of(settings, model, card)
        known = read.get(card.name, _Read("", "", card.expected, 0))
        runs[card.name] = BenchmarkRun(
            protocols=tuple(card.protocols),
            decoding=decoding,
            preset=preset,
            batch_size=settings.batch_size or model.batch_size(card.capability),
            origin=known.origin,
            revision=known.revision,
            expected=known.expected,
            planned=known.planned,
            **card_fields(components.passes(card.name)),
        )
    return RunCard(
        format=RECORD_FORMAT,
        code=__version__,
        name=settings.out.name,
        checkpoint=model.identity,
        suite=settings.suite,
        benchmarks=runs,
        seed=settings.seed,
        limit=settings.limit,
        environment=_environment(model),
        command=settings.command(),
    )


def _asked(card: RunCard) -> dict[str, Any]:
    """What two starts of one command must agree on."""
    return {
        "checkpoint": card.checkpoint.weights,
        "adapter": card.checkpoint.adapter,
        "precision": card.checkpoint.dtype,
        "benchmarks": {name: part.protocols for name, part in card.benchmarks.items()},
        "decoding": {name: part.decoding.id for name, part in card.benchmarks.items()},
        "judge": {name: part.judge for name, part in card.benchmarks.items()},
        "second judge": {name: part.second_judge for name, part in card.benchmarks.items()},
        "batch size": {name: part.batch_size for name, part in card.benchmarks.items()},
        "seed": card.seed,
        "limit": card.limit,
    }


def _environment(model: Model) -> dict[str, str]:
    """Versions and hardware that a number may depend on."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in ("torch", "transformers", "pillow", *model.packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    if model.ran_remote_code:
        found["remote code"] = "the checkpoint's own code was run (--allow-remote-code)"
    return {**found, "hardware": model.hardware}


def _batches(
    card: RunCard, components: RunComponents, samples: Sequence[Sample]
) -> Iterator[OutputBatch]:
    for benchmark in components.benchmarks:
        name, own = benchmark.card.name, card.benchmarks[benchmark.card.name]
        decoding = own.decoding.id
        pending = [
            PendingOutput(output_id(sample.uid, draw, decoding), sample.uid, draw)
            for sample in samples
            if sample.benchmark == name
            for draw in range(benchmark.card.draws)
        ]
        for start in range(0, len(pending), own.batch_size):
            outputs = tuple(pending[start : start + own.batch_size])
            yield OutputBatch(name, benchmark.card.capability, outputs)
