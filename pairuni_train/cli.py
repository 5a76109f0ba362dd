"""The command line `pairuni-train`. Every command imports what it needs when it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pairuni_eval.toolkit import UserError, __version__, as_typed, needs, writing
from pairuni_eval.toolkit.cli import make_app, run_app
from pairuni_train import watch_options as options
from pairuni_train.former_options import FormerRecipe, read_names, read_recipe
from pairuni_train.pair_data.commands import app as pairs_app
from pairuni_train.push_command import push
from pairuni_train.study.commands import baselines, reproduce

if TYPE_CHECKING:
    from pairuni_eval.toolkit.store import GradientRow
    from pairuni_train.config import Recipe
    from pairuni_train.gradient_probe.matrix import MatrixJob

app = make_app("Train a unified vision-language model.")
app.add_typer(pairs_app, name="pairs")
app.command()(push)
app.command()(reproduce)
app.command()(baselines)

Seed = Annotated[int, typer.Option(help="Seed of every random draw.")]
RecipeName = Annotated[
    str | None,
    typer.Option(help="Recipe: tiny, janus-pro-1b, janus-pro-7b or FILE.toml; default: tiny."),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="KEY=VALUE of the recipe, e.g. gen.decoding.cfg_scale=2.0."),
]


@app.command()
def run(
    arm: Annotated[
        str | None, typer.Option(help="Arm of the experiment, or FILE.toml; default: pairuni.")
    ] = None,
    recipe: RecipeName = None,
    pairs: Annotated[
        Path | None,
        typer.Option(help="Pair set, or the folder that `pairs build` wrote; default: built."),
    ] = None,
    seed: Seed = 0,
    out: Annotated[
        Path | None, typer.Option(help="Run folder; default: runs/ARM-RECIPE-seedSEED.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    pairs_per_step: Annotated[int | None, typer.Option(help="Pairs in a global batch.")] = None,
    settings: Set = None,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compile rollouts; pays off in long runs.")
    ] = False,
    tracker: options.Tracker = None,
    fixed_prompts: Annotated[
        Path | None,
        typer.Option(
            help="Pair set whose prompts the reward is measured on as well; default: none."
        ),
    ] = None,
    fixed_every: Annotated[int, typer.Option(min=1, help="Steps between two measurements.")] = 20,
    fixed_draws: Annotated[int, typer.Option(min=1, help="Rollouts of each fixed prompt.")] = 2,
    evaluate: options.Evaluate = None,
    every: options.Every = None,
    limit: options.Limit = None,
    held_out: options.HeldOut = None,
    best_by: options.BestBy = None,
    patience: options.Patience = None,
    elsewhere: options.Elsewhere = False,
    data: options.EvaluationData = None,
    judge: options.EvaluationJudge = None,
    planned: Annotated[
        bool,
        typer.Option(
            "--plan",
            help="Say what the run takes: memory, seconds of a step by a warm-up, disk, calls.",
        ),
    ] = False,
    backbone: FormerRecipe = None,
) -> None:
    """Train an arm under a recipe. The same command goes on with an interrupted run."""
    from rich.console import Console

    from pairuni_train.config import find_arm
    from pairuni_train.extras import extras_of
    from pairuni_train.pair_files import check_pairs

    names = read_names(arm, recipe, backbone)
    chosen = find_arm(names.arm)
    named = {"steps": steps, "lr": lr, "pairs_per_step": pairs_per_step}
    # Before what was set, so that the way to make a run fit can take it back.
    first = ["compiled=true"] if compiled else []
    whole = _recipe(names.recipe, [*first, *(settings or ())], named)
    needs("pairuni-train run", *extras_of(whole))
    check_pairs(pairs, chosen.pairs, whole)
    watched = options.watched(
        whole.checkpoint,
        evaluate=evaluate,
        every=every,
        limit=limit,
        held_out=held_out,
        best_by=best_by,
        patience=patience,
        elsewhere=elsewhere,
        data=data,
        judge=judge,
    )

    from pairuni_train.grpo.fixed_prompts import FixedPrompts
    from pairuni_train.run import train
    from pairuni_train.setup import Job

    place = out or Path("runs") / f"{chosen.name}-{whole.name}-seed{seed}"
    measured = FixedPrompts(fixed_prompts, fixed_every, fixed_draws) if fixed_prompts else None
    job = Job(chosen, whole, pairs, seed, place, tracker, measured, watched)
    if planned:
        from pairuni_train.plan import plan

        plan(job, Console(stderr=True))
        return
    checkpoint = train(job, Console(stderr=True))
    if checkpoint is not None:  # this is the first rank
        from pairuni_train.ending import ending

        for line in ending(checkpoint, whole.pairs):
            typer.echo(line)


@app.command()
def sft(
    recipe: Annotated[
        str, typer.Option(help="Recipe: bagel, janus-pro-1b, tiny, tiny-bagel or FILE.toml.")
    ] = "tiny",
    pairs: Annotated[
        Path | None,
        typer.Option(help="Pair set, or the folder that `pairs build` wrote; default: built."),
    ] = None,
    arm: Annotated[str, typer.Option(help="Whose pair set, as for run.")] = "pairuni",
    seed: Seed = 0,
    out: Annotated[
        Path | None, typer.Option(help="Run folder; default: runs/sft-ARM-RECIPE-seedSEED.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    settings: Set = None,
    tracker: options.Tracker = None,
    evaluate: options.Evaluate = None,
    every: options.Every = None,
    limit: options.Limit = None,
    held_out: options.HeldOut = None,
    best_by: options.BestBy = None,
    patience: options.Patience = None,
    elsewhere: options.Elsewhere = False,
    data: options.EvaluationData = None,
    judge: options.EvaluationJudge = None,
) -> None:
    """Teach both halves of pairs. The same command goes on with an interrupted run."""
    from rich.console import Console

    from pairuni_eval.toolkit.data import read_assignments
    from pairuni_train.config import find_arm
    from pairuni_train.extras import TRAIN
    from pairuni_train.pair_files import check_pairs
    from pairuni_train.sft.config import find_sft_recipe

    chosen = find_arm(arm)
    named = {key: value for key, value in (("steps", steps), ("lr", lr)) if value is not None}
    whole = find_sft_recipe(recipe, {**read_assignments(settings or ()), **named})
    needs("pairuni-train sft", TRAIN)
    check_pairs(pairs, chosen.pairs, whole)
    watched = options.watched(
        whole.checkpoint,
        evaluate=evaluate,
        every=every,
        limit=limit,
        held_out=held_out,
        best_by=best_by,
        patience=patience,
        elsewhere=elsewhere,
        data=data,
        judge=judge,
    )

    from pairuni_train.sft.run import SftJob, fine_tune

    place = out or Path("runs") / f"sft-{chosen.name}-{whole.name}-seed{seed}"
    checkpoint = fine_tune(
        SftJob(chosen, whole, pairs, seed, place, watched, tracker), Console(stderr=True)
    )
    if checkpoint is not None:  # this is the first rank
        from pairuni_train.ending import ending

        for line in ending(checkpoint, whole.pairs):
            typer.echo(line)


@app.command()
def probe(
    checkpoint: Annotated[str, typer.Option(help="Checkpoint to look at: folder, hub id, tiny.")],
    pairs: Annotated[Path, typer.Option(help="The folder that `pairs build` wrote.")],
    scenario: Annotated[
        str | None,
        typer.Option(
            help="Arms whose gradients are compared, comma-separated; default: pairug, retrieved, "
            "low_similarity, g_only, u_only, random; with --matrix: aligned."
        ),
    ] = None,
    batches: Annotated[int, typer.Option(help="Batches of each scenario.")] = 32,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the rows; default: runs/probe- or matrix-CHECKPOINT."),
    ] = None,
    recipe: RecipeName = None,
    seed: Seed = 0,
    weighting: Annotated[
        str, typer.Option(help="Weights of pairs: none, linear, sqrt or a plugin's.")
    ] = "none",
    settings: Set = None,
    matrix: Annotated[
        bool,
        typer.Option("--matrix", help="Each half of a pair against each other half, not batches."),
    ] = False,
    matrix_pairs: Annotated[int, typer.Option(min=2, help="Pairs of the matrix.")] = 64,
    project: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Numbers that the matrix keeps of each block of a gradient; default: all, or "
            "65536 where all would take more than 2 GiB.",
        ),
    ] = None,
    beside: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of a matrix measured before, whose tests count in the correction; may be "
            "given several times."
        ),
    ] = None,
    backbone: FormerRecipe = None,
) -> None:
    """Compare both tasks' gradients between scenarios at one checkpoint, without training."""
    from rich.console import Console

    from pairuni_eval.toolkit.cli import split_names
    from pairuni_train.extras import extras_of

    named = read_recipe(recipe, backbone)
    whole = _recipe(named, settings, {"checkpoint": checkpoint})
    needs("pairuni-train probe", *extras_of(whole))

    name = checkpoint.rstrip("/").replace("/", "-")
    if not matrix and (project or beside):
        raise UserError("--project and --beside are options of a matrix.", hint="--matrix")
    if matrix:
        from pairuni_train.gradient_probe.matrix import MatrixJob

        place = out or Path("runs") / f"matrix-{name}"
        arms = split_names(scenario or "aligned")
        asked = MatrixJob(whole, pairs, arms, matrix_pairs, seed, place)
        asked = asked._replace(places=project, beside=tuple(beside or ()), weighting=weighting)
        changes = [word for value in settings or () for word in ("--set", value)]
        _matrix(asked, ("--recipe", named, *changes))
        return

    from pairuni_train.gradient_probe.offline import ProbeJob
    from pairuni_train.gradient_probe.offline import probe as run_probe
    from pairuni_train.gradient_probe.scenarios import FIGURE_8

    place = out or Path("runs") / f"probe-{name}"
    arms = split_names(scenario) if scenario else FIGURE_8
    job = ProbeJob(whole, pairs, arms, batches, seed, place, weighting)
    rows = run_probe(job, Console(stderr=True))
    for line in _summary(rows):
        typer.echo(line)
    typer.echo(f"Rows: {place / 'gradients.jsonl'}")
    words = ("pairuni-eval", "report", "RUN", "--training", f"probe={place}")
    typer.echo(f"Next: {as_typed(*words)}")


def _matrix(job: MatrixJob, recipe: Sequence[str]) -> None:
    """Measure a matrix, print what it says, and name what adds to it: other pairs and rollouts.

    Args:
        job: What is measured.
        recipe: The options that made its recipe.
    """
    import re

    from rich.console import Console

    from pairuni_eval.toolkit.gradients import matrix_lines
    from pairuni_train.gradient_probe.matrix import matrix_notes, measure_matrix

    summary = measure_matrix(job, Console(stderr=True))
    for line in (*matrix_lines(summary.findings), *matrix_notes(summary)):
        typer.echo(line)
    typer.echo(f"Matrix: {job.out}")
    out = job.out.with_name(re.sub(r"-seed\d+$", "", job.out.name) + f"-seed{job.seed + 1}")
    words = (
        *("pairuni-train", "probe", "--matrix", "--checkpoint", job.recipe.checkpoint, *recipe),
        *("--pairs", job.pairs, "--scenario", ",".join(job.scenarios)),
        *("--matrix-pairs", job.size, *(("--project", job.places) if job.places else ())),
        *(("--weighting", job.weighting) if job.weighting != "none" else ()),
        *("--seed", job.seed + 1, "--out", out),
        *(word for folder in (*job.beside, job.out) for word in ("--beside", folder)),
    )
    typer.echo(f"Next:   {as_typed(*words)}")


def _summary(rows: Sequence[GradientRow]) -> Iterator[str]:
    """A line per scenario: the median cosine over the batches in which both tasks have one."""
    from statistics import median

    yield f"{'scenario':16} {'batches':>7} {'with both':>9} {'median cosine':>13}"
    whole = [row for row in rows if row.block == "all" and not row.preconditioned]
    for name in dict.fromkeys(row.scenario for row in whole):
        grams = [row.tasks for row in whole if row.scenario == name]
        cosines = [ab / (aa * bb) ** 0.5 for aa, ab, bb in grams if aa > 0 and bb > 0]
        shown = f"{median(cosines):+.4f}" if cosines else "none"
        yield f"{name:16} {len(grams):7} {len(cosines):9} {shown:>13}"


@app.command(name="list")
def list_command() -> None:
    """List arms, recipes and experiments."""
    from pairuni_train.config import Arm, Recipe, find_arm, find_recipe, names_of
    from pairuni_train.sft.config import find_sft_recipe, sft_recipe_names
    from pairuni_train.study.spec import experiments, find_experiment

    typer.echo("Arms")
    for name in names_of(Arm):
        typer.echo(f"  {name:18} {find_arm(name).summary}")
    typer.echo("Recipes")
    for name in names_of(Recipe):
        found = find_recipe(name)
        sizes = f"{found.batch.pairs_per_step} pairs x {found.und.rollouts} + {found.gen.rollouts}"
        typer.echo(f"  {name:18} {found.checkpoint}, {found.steps} steps of {sizes} rollouts")
    typer.echo("Recipes of sft")
    for name in sft_recipe_names():
        taught = find_sft_recipe(name, {})
        sizes = f"{taught.steps} steps of {taught.pairs_per_step} pairs"
        typer.echo(f"  {name:18} {taught.checkpoint}, {sizes}")
    typer.echo("Experiments")
    for name in experiments():
        typer.echo(f"  {name:18} {find_experiment(name).title}")
    typer.echo("Next: pairuni-train run --arm pairuni --recipe tiny", err=True)
    typer.echo("      pairuni-train reproduce table5", err=True)


class TinyFamily(StrEnum):
    """Architectures of a tiny model."""

    JANUS = "janus"
    DIMOO = "dimoo"
    BAGEL = "bagel"


@app.command(name="pretrain-tiny")
def pretrain_tiny(
    out: Annotated[Path, typer.Option(help="Folder to write checkpoints to.")],
    steps: Annotated[
        int | None, typer.Option(help="Training steps; default: the recipe's.")
    ] = None,
    seed: Seed = 0,
    resume: Annotated[Path | None, typer.Option(help="Checkpoint folder to go on from.")] = None,
    early_base: Annotated[
        bool,
        typer.Option(
            "--early",
            help="Make tiny-early: from tiny, with made-up names that are half known at the end.",
        ),
    ] = False,
    thoughts: Annotated[
        bool, typer.Option(help="With --early: say what a name stands for before answering.")
    ] = True,
    family: Annotated[
        TinyFamily,
        typer.Option(
            help="janus, dimoo (a discrete-diffusion model) or bagel (one that draws by flow "
            "matching)."
        ),
    ] = TinyFamily.JANUS,
) -> None:
    """Train a tiny model: picture codes first, then the network."""
    from dataclasses import replace

    from pairuni_train.tiny_pretraining import PretrainConfig, early, pretrain

    if family is not TinyFamily.JANUS and (early_base or not thoughts):
        raise UserError("--early and --no-thoughts are for --family janus.")
    with writing(str(out)):  # before an hour of work
        out.mkdir(parents=True, exist_ok=True)
    if family is TinyFamily.DIMOO:
        from pairuni_train.tiny_pretraining.dimoo_run import DimooPretrainConfig, pretrain_dimoo

        diffusion = DimooPretrainConfig(seed=seed)
        pretrain_dimoo(replace(diffusion, steps=steps or diffusion.steps), out, resume=resume)
    elif family is TinyFamily.BAGEL:
        from pairuni_train.tiny_pretraining.bagel_run import BagelPretrainConfig, pretrain_bagel

        flow = BagelPretrainConfig(seed=seed)
        pretrain_bagel(replace(flow, steps=steps or flow.steps), out, resume=resume)
    else:
        config = early(seed, thoughts=thoughts) if early_base else PretrainConfig(seed=seed)
        pretrain(config if steps is None else replace(config, steps=steps), out, resume=resume)
    typer.echo(f"Checkpoint: {out}")
    typer.echo(f"Next:       {as_typed('pairuni-eval', 'run', '--checkpoint', out)}")


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def _recipe(name: str, settings: list[str] | None, named: Mapping[str, object]) -> Recipe:
    """The recipe with what the options change; an option of its own goes before --set."""
    from pairuni_eval.toolkit.data import read_assignments
    from pairuni_train.config import find_recipe

    given = {key: value for key, value in named.items() if value is not None}
    return find_recipe(name, {**read_assignments(settings or ()), **given})


def main() -> None:
    """Entry point: runs a command and prints user errors without a traceback."""
    run_app(app)


if __name__ == "__main__":
    main()
