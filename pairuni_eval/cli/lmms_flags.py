"""lmms-eval's flags after `pairuni-eval run`: what they are called here, as a command.

Flags as in lmms-eval 0.7 (`python -m lmms_eval --help`). They are answered, never taken: a run
whose options mean something else than its user thinks is worse than one that does not start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from typer.core import TyperCommand

from pairuni_eval.commands import as_typed
from pairuni_eval.errors import UserError

_RENAMED = {
    "--tasks": "--benchmarks",
    "--output_path": "--out",
    "--batch_size": "--batch-size",
    "--output": "--out",
}
_CHECKPOINT = ("pretrained", "checkpoint", "model", "model_name_or_path")  # keys of --model_args
_SAME = ("--limit", "--seed", "--device")  # taken over as they stand
_OF_ITSELF = {
    "--log_samples": "every sample is kept, see pairuni-eval show",
    "--log_samples_suffix": "--out names the run",
    "--predict_only": "outputs are kept and graded, and pairuni-eval grade grades others",
    "--use_cache": "the same command goes on where an earlier one was stopped",
    "--cache_requests": "a plan is kept in the run folder",
    "--gen_kwargs": "decoding belongs to the benchmark's card",
    "--num_fewshot": "prompts belong to the benchmark's card",
    "--include_path": "benchmarks of your own enter as a package, see CONTRIBUTING.md",
    "--apply_chat_template": "the model's own chat form is always used",
    "--verbosity": "there is one verbosity",
    "--wandb_args": "the report is a page, and pairuni-eval compare compares runs",
}
_OURS = ("mmmu", "mmstar", "mme", "pope")  # named alike, or "mmmu_val"


class RunCommand(TyperCommand):
    """The command `run`, which knows the flags of its neighbor."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As typer does.

        Raises:
            UserError: for flags of lmms-eval, with ours.
        """
        answer(args)
        return super().parse_args(ctx, args)


def answer(words: Sequence[str]) -> None:
    """Raise a UserError that says ours if a flag of lmms-eval is among the words of a command."""
    given = _given(words)
    theirs = [flag for flag in given if flag in _RENAMED or flag in _OF_ITSELF]
    theirs += [flag for flag in given if flag == "--model_args"]
    if not theirs:
        return
    sentences = " ".join(_sentence(flag, given[flag]) for flag in theirs)
    raise UserError(sentences, hint=as_typed("pairuni-eval", "run", *_ours(given)))


def _given(words: Sequence[str]) -> dict[str, str]:
    """Flags with their values, whether written `--flag value` or `--flag=value`."""
    found: dict[str, str] = {}
    for place, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag.startswith("--"):
            after = words[place + 1] if place + 1 < len(words) else ""
            found[flag] = value if equals else ("" if after.startswith("--") else after)
    return found


def _sentence(flag: str, value: str) -> str:
    if flag in _OF_ITSELF:
        return f"{flag} is lmms-eval's; here {_OF_ITSELF[flag]}."
    return f"{flag} is lmms-eval's; here: {as_typed(*_renamed(flag, value))}."


def _renamed(flag: str, value: str) -> list[str]:
    if flag == "--model_args":
        return ["--checkpoint", _checkpoint(value)]
    if flag == "--tasks":
        return ["--benchmarks", _benchmarks(value)]
    return [_RENAMED[flag], value]


def _ours(given: dict[str, str]) -> list[str]:
    """The options of our command that say the same."""
    checkpoint = given.get("--checkpoint") or _checkpoint(given.get("--model_args", ""))
    words = ["--checkpoint", checkpoint]
    for flag, value in given.items():
        if flag in _RENAMED:
            words += _renamed(flag, value)
        elif flag in _SAME:
            words += [flag, value]
    return words


def _checkpoint(arguments: str) -> str:
    """The checkpoint among lmms-eval's `key=value,key=value`."""
    pairs = dict(part.split("=", 1) for part in arguments.split(",") if "=" in part)
    return next((pairs[key] for key in _CHECKPOINT if pairs.get(key)), "CHECKPOINT")


def _benchmarks(tasks: str) -> str:
    """Benchmarks by the names of lmms-eval's tasks: ours where there is one, else the task."""
    return ",".join(_benchmark(task.strip()) for task in tasks.split(",") if task.strip())


def _benchmark(task: str) -> str:
    own = task.removesuffix("_val")
    return own if own in _OURS else f"lmms:{task}"
