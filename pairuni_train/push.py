"""What of a training goes to the hub: the checkpoint with its card, and the pair set with its own.

The card says how the model was trained and on what, what it measured with intervals, and the
commands that do all of it again; recipe and arm lie beside the weights as the files that these
commands take. The state of the optimizer stays here. A pair set is its file, its card, and what was
left out of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pairuni_eval.toolkit import UserError, as_typed
from pairuni_eval.toolkit.models import is_hub_id, read_declaration
from pairuni_eval.toolkit.publishing import (
    CardPart,
    CardRun,
    ModelCard,
    Publication,
    PublishedFile,
    best_step,
    checkpoint_steps,
    hub_files,
    measuring,
    read_evaluations,
    read_plan,
    run_of,
    staged,
    told,
    values_by_step,
)
from pairuni_eval.toolkit.report import Rerun
from pairuni_eval.toolkit.store import SETTINGS, load_settings, opened
from pairuni_train.recipe_file import as_toml

_TRAINER = "trainer"
_RECIPE, _ARM = "training/recipe.toml", "training/arm.toml"
_SAME_ROWS = "These rows chose this checkpoint: its numbers look better here than they are."


class PushJob(NamedTuple):
    """What a user asks of `pairuni-train push`; see its options."""

    training: Path
    to: str
    step: int | None = None
    runs: tuple[Path, ...] = ()
    pairs: Path | None = None
    pairs_to: str | None = None
    partial_results: bool = False


class _Trained(NamedTuple):
    """A training's settings, its checkpoint and the step of it."""

    settings: Mapping[str, Any]
    step: int
    checkpoint: Path

    @property
    def taught(self) -> bool:
        """Whether it is a fine-tuning."""
        return self.settings.get("method") == "sft"


def publications(job: PushJob, folder: Path) -> list[Publication]:
    """What goes to each repository; the files that are made for it are written into `folder`.

    Raises:
        UserError: for a folder that is no training, a step or a pair set that is not there, and a
            run of other weights.
    """
    trained = _trained(job)
    pairs = _pair_set(job, trained)
    card = ModelCard(
        name=job.to.partition("/")[2] or job.to,
        facts=tuple(_facts(job, trained)),
        first=(_recipe_part(trained), _data_part(trained, pairs, job.pairs_to)),
        commands=tuple(_commands(job, trained)),
        base=_base(trained),
    )
    made = hub_files(card, list(_runs(job, trained)), partial_results=job.partial_results)
    made[_RECIPE] = as_toml(trained.settings["recipe"], "The recipe of this training.")
    made[_ARM] = as_toml(trained.settings["arm"], "The arm of this training.")
    weights = tuple(
        PublishedFile(path.relative_to(trained.checkpoint).as_posix(), path)
        for path in sorted(trained.checkpoint.rglob("*"))
        if path.is_file() and path.relative_to(trained.checkpoint).parts[0] != _TRAINER
    )
    message = f"{read_declaration(trained.checkpoint).recipe}, step {trained.step}"
    found = [Publication(job.to, "model", (*staged(folder, made), *weights), message)]
    if job.pairs_to is not None:
        if pairs is None:
            raise UserError("--pairs-to sends a pair set: name it by --pairs.", hint="--pairs FILE")
        found.append(_pairs_publication(job.pairs_to, pairs, folder / "pairs"))
    return found


def _trained(job: PushJob) -> _Trained:
    path = job.training / SETTINGS
    steps = checkpoint_steps(job.training)
    if not path.is_file() or not steps:
        raise UserError(
            f"{job.training} is not a training with a checkpoint.",
            hint="Name the folder that `pairuni-train run --out FOLDER` wrote.",
        )
    step = job.step or _chosen(job.training) or steps[-1]
    if step not in steps:
        raise UserError(
            f"{job.training} has no checkpoint of step {step}.",
            hint=f"--step {min(steps, key=lambda one: abs(one - step))}",
        )
    return _Trained(load_settings(path), step, job.training / f"checkpoint-{step}")


def _chosen(training: Path) -> int | None:
    """The best step by the training's plan; None without one, or where the start is the best."""
    plan = read_plan(training)
    best = plan and best_step(values_by_step(read_evaluations(training), plan))
    return best.step if best else None


def _facts(job: PushJob, trained: _Trained) -> Iterator[str]:
    declared = read_declaration(trained.checkpoint)
    method = "Taught by supervised fine-tuning" if trained.taught else "Trained by PairGRPO"
    base = trained.settings["recipe"]["checkpoint"]
    began = base if is_hub_id(base) else Path(base).name
    yield f"{method} from {began}: {declared.recipe}, step {trained.step}."
    plan = read_plan(job.training)
    if plan is not None:
        yield from told(plan, values_by_step(read_evaluations(job.training), plan))


def _base(trained: _Trained) -> str | None:
    base = trained.settings["recipe"]["checkpoint"]
    return base if is_hub_id(base) else None


def _recipe_part(trained: _Trained) -> CardPart:
    """The recipe as it stands in its file."""
    arm = trained.settings["arm"]
    text = as_toml(trained.settings["recipe"], "The recipe of this training.")
    lines = (
        f"Arm `{arm['name']}`, seed {trained.settings['seed']}, {trained.step} steps. The files "
        f"`{_RECIPE}` and `{_ARM}` hold all settings:",
        f"```toml\n{text}```",
    )
    return CardPart("How it was trained", "\n\n".join(lines))


def _data_part(trained: _Trained, pairs: Path | None, pairs_to: str | None) -> CardPart:
    """The pair set's own card, or the hash by which the set is known."""
    digest = trained.settings["pairs"]
    said = [f"The pair set of SHA-256 `{digest}`."]
    if pairs_to is not None:
        said.append(f"It is the data set `{pairs_to}`.")
    card = pairs.with_suffix(".md") if pairs is not None else None
    if card is not None and card.is_file():
        said.append(_lower(card.read_text(encoding="utf-8")))
    return CardPart("What it was trained on", "\n\n".join(said))


def _lower(card: str) -> str:
    """A card two headings lower and without its picture, which lies elsewhere."""
    kept = [line for line in card.splitlines() if not line.startswith("![")]
    return "\n".join(f"##{line}" if line.startswith("#") else line for line in kept).strip()


def _pair_set(job: PushJob, trained: _Trained) -> Path | None:
    """The pair set that was named, if it is the one that was trained on."""
    if job.pairs is None:
        return None
    arm = trained.settings["arm"]["pairs"]
    file = job.pairs / f"{arm}.parquet" if job.pairs.is_dir() else job.pairs
    if not file.is_file():
        raise UserError(f"There is no pair set {file}.", hint="--pairs FILE.parquet")
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != trained.settings["pairs"]:
        raise UserError(
            f"{file} is not the pair set that {job.training} was trained on: its SHA-256 begins "
            f"with {digest[:12]}, not with {trained.settings['pairs'][:12]}.",
            hint="Name that file with --pairs, or leave --pairs out.",
        )
    return file


def _runs(job: PushJob, trained: _Trained) -> Iterator[CardRun]:
    """The runs that the card shows: those of the training, then those that were named."""
    plan, chosen = read_plan(job.training), _chosen(job.training)
    for row in read_evaluations(job.training):
        if row.step == trained.step:
            chose = plan is not None and row.suite == plan.suite and row.step == chosen
            run = opened(run_of(job.training, row.suite, row.step))
            yield CardRun(run, f"{row.suite}, step {row.step}", (_SAME_ROWS,) if chose else ())
    declared = read_declaration(trained.checkpoint)
    for path in job.runs:
        run = opened(path)
        measured = run.card.checkpoint
        if (measured.recipe, measured.step, measured.parent) != (
            declared.recipe,
            declared.step,
            declared.parent,
        ):
            raise UserError(
                f"{path} measured another checkpoint than {trained.checkpoint}: "
                f"{measured.recipe}, step {measured.step}.",
                hint="Name runs of this checkpoint, or its step with --step.",
            )
        yield CardRun(run, run.card.suite or run.card.name)


def _commands(job: PushJob, trained: _Trained) -> Iterator[Rerun]:
    """The training, from the files beside the weights, and every run of the card."""
    files = ("--recipe", "training/recipe.toml", "--seed", trained.settings["seed"])
    arm = () if trained.taught else ("--arm", "training/arm.toml")
    verb = "sft" if trained.taught else "run"
    pairs = ("--pairs", f"{trained.settings['arm']['pairs']}.parquet")
    note = f"The pair set is that of SHA-256 {trained.settings['pairs']}."
    command = as_typed("pairuni-train", verb, *arm, *files, *pairs)
    yield Rerun("Train it", command, note)
    for one in _runs(job, trained):
        yield measuring(one.run, job.to)


def _pairs_publication(repo: str, pairs: Path, folder: Path) -> Publication:
    """The pair set, its card as the repository's, the card's picture, and what was left out."""
    name = pairs.stem
    front = {
        "tags": ["pairuni"],
        "configs": [{"config_name": name, "data_files": pairs.name}],
    }
    lines = [f"{key}: {json.dumps(value)}" for key, value in front.items()]
    card = pairs.with_suffix(".md")
    body = card.read_text(encoding="utf-8") if card.is_file() else f"# {name}\n"
    made = {"README.md": "\n".join(["---", *lines, "---", "", body])}
    beside = (pairs, pairs.with_suffix(".svg"), pairs.parent / "rejects.jsonl")
    there = tuple(PublishedFile(path.name, path) for path in beside if path.is_file())
    return Publication(repo, "dataset", (*staged(folder, made), *there), f"Pair set {name}")
