"""What a run still owes, and what that takes: `pairuni-eval run --plan`.

Time comes from a warm-up, the first owed batch of each benchmark, whose outputs are kept. Money
comes from what replies of the same judges have cost so far: nobody is asked to find out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from pairuni_eval.adapters import check_checkpoint, expected_memory
from pairuni_eval.benchmark import Benchmark
from pairuni_eval.devices import found_devices
from pairuni_eval.judges.usage import sum_of
from pairuni_eval.progress import clock
from pairuni_eval.ranks import launch_line
from pairuni_eval.runner.judging import JudgePass, seen_samples
from pairuni_eval.runner.memory import check_fits, size_of
from pairuni_eval.runner.settings import RunSettings
from pairuni_eval.runner.start import Started, compare, components_of, load, load_options, start
from pairuni_eval.store import layout
from pairuni_eval.store.locks import exclusive
from pairuni_eval.store.read import read_usage

_LIBRARIES = 500_000_000  # bytes that torch and transformers take, measured


class WorkEstimate(NamedTuple):
    """What a run still owes on one benchmark.

    Attributes:
        outputs: Outputs to make.
        warm_up: Outputs that the warm-up made.
        seconds: Expected time from the warm-up, without grading; None if the model lacks the
            capability or nothing was owed.
        judge_calls: Calls to judges, of all passes and protocols.
        cost: What they may cost, in the money of the judge file's prices; None if nothing tells.
        priced: Whether a judge is asked whose calls may cost something.
    """

    benchmark: str
    outputs: int
    warm_up: int = 0
    seconds: float | None = None
    judge_calls: int = 0
    cost: float | None = None
    priced: bool = False


def estimate(settings: RunSettings, console: Console) -> list[WorkEstimate]:
    """Say what is owed. The warm-up is the first owed batch of each benchmark, and it is kept."""
    settings.cards()
    check_checkpoint(settings.checkpoint, settings.adapter)
    components = components_of(settings)
    _say_memory(settings, console)
    model = load(settings, console)
    _say_devices(settings, console)
    with exclusive(settings.out):
        if (settings.out / layout.COMPLETE).exists():
            compare(settings, components, model)
            return [WorkEstimate(card.name, 0) for card in settings.cards()]
        started = start(settings, components, model, console)
        return [_estimate(started, benchmark) for benchmark in started.components.benchmarks]


def estimate_table(estimates: Sequence[WorkEstimate]) -> Table:
    """The estimates for the terminal."""
    table = Table("benchmark", "outputs owed", "time", "judge calls", "judge cost")
    for one in estimates:
        time = "-" if one.seconds is None else clock(one.seconds)
        cost = _money(one.cost if one.priced else None)
        table.add_row(one.benchmark, str(one.outputs), time, str(one.judge_calls), cost)
    asking = [one.cost for one in estimates if one.priced and one.judge_calls]
    table.add_section()
    table.add_row(
        "in all",
        str(sum(one.outputs for one in estimates)),
        clock(sum(one.seconds or 0.0 for one in estimates)),
        str(sum(one.judge_calls for one in estimates)),
        _money(sum_of(asking) if asking else None),
    )
    return table


def _money(amount: float | None) -> str:
    return "-" if amount is None else f"{amount:,.2f}"


def notes(estimates: Sequence[WorkEstimate]) -> list[str]:
    """What is to be said about the table."""
    said = []
    over = [one.benchmark for one in estimates if one.warm_up and not one.outputs]
    if over and not any(one.outputs for one in estimates):
        said.append("The warm-up was everything: all outputs are made, grading is left.")
    elif over:
        said.append(f"Of {', '.join(over)} the warm-up was everything: no outputs are left.")
    unknown = [o.benchmark for o in estimates if o.priced and o.judge_calls and o.cost is None]
    if unknown:
        said.append(
            f"What judging {', '.join(unknown)} costs is not known: no reply with a price is "
            "remembered yet. A trial tells: the same command with --limit 10."
        )
    return said


def _say_memory(settings: RunSettings, console: Console) -> None:
    """Say what loading will take, before it is begun; nothing where the adapter cannot tell."""
    check_fits(settings.checkpoint, settings.adapter, load_options(settings))
    found = expected_memory(settings.checkpoint, settings.adapter, load_options(settings))
    if found is not None:
        _say(
            f"memory: {size_of(found.weights)} of weights in {found.dtype} on {found.device}, and "
            f"about {size_of(_LIBRARIES)} for what computes with them.",
            console,
        )


def _say_devices(settings: RunSettings, console: Console) -> None:
    """Say how further devices of this machine are used, if there are any."""
    count = len(found_devices()) - 1
    if count > 1 and settings.device in ("auto", "cuda"):
        _say(f"devices: the times are of one of {count}. {launch_line(count)}", console)


def _say(text: str, console: Console) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _estimate(started: Started, benchmark: Benchmark) -> WorkEstimate:
    name = benchmark.card.name
    owed = [batch for batch in started.owed() if batch.benchmark == name]
    seconds: float | None = None
    warm_up = 0
    able = benchmark.card.capability in started.model.capabilities
    if owed and able:
        timed: list[float] = []
        started.inference.infer(owed[:1], lambda _, took: timed.append(took))
        warm_up, owed = len(owed[0].outputs), owed[1:]
        seconds = timed[0] / warm_up * sum(len(batch.outputs) for batch in owed)
    outputs = sum(len(batch.outputs) for batch in owed)
    passes = [one for one in started.components.passes(name) if able and one.judge is not None]
    calls = [_calls(started, benchmark, one) for one in passes]
    return WorkEstimate(
        name,
        outputs,
        warm_up,
        seconds,
        sum(calls),
        sum_of(_cost(one, count) for one, count in zip(passes, calls, strict=True)),
        priced=any(one.judge is not None and one.judge.keeps_usage for one in passes),
    )


def _calls(started: Started, benchmark: Benchmark, one: JudgePass) -> int:
    """How often the judge of a pass is to be asked, without what it has replied already."""
    card = benchmark.card
    if card.judge is None:
        return 0
    mine = [sample for sample in started.plan.samples if sample.benchmark == card.name]
    seen = seen_samples(card, mine, one.share, started.plan.card.seed)
    replied = sum(
        call.replied and not call.open
        for row in read_usage(started.settings.out)
        if row.benchmark == card.name and row.pass_number == one.number
        for call in row.calls
    )
    asked = len(seen) * card.draws * card.judge.calls * len(card.protocols)
    return max(asked - replied, 0)


def _cost(one: JudgePass, calls: int) -> float | None:
    """What so many calls may cost; a judge that keeps no usage costs nothing."""
    if one.judge is None or not one.judge.keeps_usage or not calls:
        return 0.0
    usual = one.judge.cost_of_a_call()
    return None if usual is None else calls * usual
