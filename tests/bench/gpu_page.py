"""The page of `gpu_speed`: what was measured, what each number is, and whether the goal is met."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

GOAL = 1.6  # times as long as the bound, at most
_OURS = "ours, compiled"
_EAGER = "transformers, eager"


def page(found: Mapping[str, Any]) -> str:
    """Markdown of the numbers that `gpu_speed.run` found."""
    return "\n".join(
        [
            *_head(found),
            *_cases(found["cases"]),
            *_verdict(found),
            *_training(found),
            *_left_out(found["left_out"]),
        ]
    )


def _head(found: Mapping[str, Any]) -> Iterator[str]:
    yield "# Speed on one device"
    yield ""
    yield (
        f"{found['device']}, {found['dtype']}, torch {found['torch']}, transformers "
        f"{found['transformers']}; copies within memory run at "
        f"{found['copy_bytes_per_second'] / 1e9:.0f} GB/s (bytes read and written)."
    )
    if found["kind"] == "cpu":
        yield ""
        yield (
            "**Tiny shapes on a CPU: this shows that the script runs. No number here says anything "
            "of a GPU.**"
        )
    yield ""
    yield (
        f"Random weights, prompts of {found['prompt_tokens']} tokens, pictures under guidance (two "
        f"rows of the network each), answers of {found['words']} tokens, each run to its end."
    )
    yield ""


def _cases(cases: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "| shape | rows | what | who | a second | x transformers, eager | bound | of the bound |"
    yield "|---|---|---|---|---|---|---|---|"
    eager = {_key(one): one["per_second"] for one in cases if one["who"] == _EAGER}
    for one in cases:
        rate, peer = one["per_second"], eager.get(_key(one))
        took = f"{rate:.1f} {one['unit']}" if rate else one["note"]
        ratio = f"{rate / peer:.2f}" if rate and peer else ""
        times = f"{one['times_the_bound']:.2f} x as long" if rate else ""
        yield (
            f"| {one['shape']} | {one['rows']} | {one['task']} | {one['who']} | {took} | {ratio} | "
            f"{one['bound_per_second']:.1f} | {times} |"
        )
    yield ""
    yield (
        "*A second*: finished pictures or tokens over the time of a run, nothing of it spent on "
        "compiling; of ours the median of several. *Bound*: the same if each step took as long as "
        "a copy takes to move what the step has to read once, the weights of decoder and head and "
        "the keys and values of all tokens before; nothing else is in it, nor is the pass over "
        "the prompt. transformers compiles answers on a GPU alone."
    )
    yield ""


def _key(one: Mapping[str, Any]) -> tuple[Any, ...]:
    return one["shape"], one["rows"], one["task"]


def _verdict(found: Mapping[str, Any]) -> Iterator[str]:
    mine = [one for one in found["cases"] if one["who"] == _OURS]
    done = [one for one in mine if one["times_the_bound"] is not None]
    near = [one for one in done if one["times_the_bound"] <= GOAL]
    if found["kind"] == "cpu":
        yield f"The goal (at most {GOAL} times as long as the bound) is one for a GPU: not judged."
    elif not done:
        yield f"The goal (at most {GOAL} times as long as the bound): nothing was measured."
    else:
        word = "met" if len(near) == len(mine) else "not met"
        yield (
            f"The goal, at most {GOAL} times as long as the bound, is **{word}**: "
            f"{len(near)} of {len(mine)} cases of ours are within it"
            + ("." if len(done) == len(mine) else f", {len(mine) - len(done)} have no number.")
        )
    yield ""


def _training(found: Mapping[str, Any]) -> Iterator[str]:
    one = found["training"]
    yield "## A training step"
    yield ""
    if one is None:
        yield "Not measured: there was no time."
    elif one["note"]:
        yield f"{one['shape']}: {one['note']}"
    else:
        yield "| phase | seconds |"
        yield "|---|---|"
        for name, seconds in one["seconds"].items():
            yield f"| {name} | {seconds:.3f} |"
        yield f"| a step | {sum(one['seconds'].values()):.3f} |"
        yield ""
        yield (
            f"{one['shape']}, by the trainer's own timers, medians of the steps after the first "
            f"(which took {one['first']:.1f} s). Sampling, decoding and rewards are the rollouts."
        )
        yield ""
        told = one["told"]
        share = "" if not told else f", {one['took'] / told:.0%} of what `--plan` tells"
        yield (
            f"Memory at its peak: {one['took'] / 1e9:.2f} GB{share}"
            + (f" ({told / 1e9:.2f} GB)." if told else ".")
        )
        if found["kind"] == "cpu":
            yield "Of a process that includes the code that it loads on its way."
    yield ""


def _left_out(names: Sequence[str]) -> Iterator[str]:
    if names:
        yield "Left out, for lack of time:"
        yield ""
        yield from (f"- {name}" for name in names)
        yield ""
