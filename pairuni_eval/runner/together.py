"""The ranks of one run at work side by side: first on its outputs, then on its scores.

Every rank reads what is there while nobody writes, so that all see the same batches and chunks as
owed; each then takes its part of them, into rows of its own. What a judge is asked about is left to
the first rank, which goes on alone when all are done. Batches and chunks are those of the plan,
whatever the number of ranks: that number moves no number of the run. Nothing rests on the parts
being whole either: what a rank does not see in time (a shared file system may be late) is not
graded by it, and what is missing at the end the first rank makes.

Three batches in a row that fail entirely stop a run; here each rank counts its own.
"""

from __future__ import annotations

from rich.console import Console

from pairuni_eval.ranks import RankGroup
from pairuni_eval.runner.grade import Chunk
from pairuni_eval.runner.settings import RunSettings
from pairuni_eval.runner.start import Started, components_of, infer, join, load, progress, tell
from pairuni_eval.store.locks import Worker, working


def take_part(settings: RunSettings, group: RankGroup) -> None:
    """Be a rank that is not the first: make a part of what the first one has planned.

    Raises:
        UserError: for what the user can mend, e.g. a command that is not that of the first rank;
            the rows so far are kept.
    """
    console, ranks = Console(quiet=True), group.ranks
    if not group.follow():
        return
    model = load(settings, console, ranks)
    if not group.follow():
        return
    with working(settings.out, Worker("rank", ranks.rank, ranks.of)):
        work_together(join(settings, components_of(settings), model, ranks), group, console)


def work_together(started: Started, group: RankGroup, console: Console) -> Started:
    """Make this rank's part of the outputs and scores, and wait for the others.

    Returns:
        The run with the outputs that are there when all are done.

    Raises:
        RankLost: if another rank has ended.
    """
    mine = group.ranks.share(started.owed())
    group.wait()  # all have seen what is owed, and nobody has made any of it
    infer(started, mine, console)
    group.wait()
    started = started.again()
    grader = started.grader()
    chunks = [] if started.pending else group.ranks.share(grader.owed_without_judge())
    group.wait()
    if group.ranks.first:
        tell(started.settings.out, [*started.inference.damage, *grader.damage], console)
    with progress(console) as shown:
        bar = shown.add_task("grading", total=sum(len(chunk.outputs) for chunk in chunks))

        def done(chunk: Chunk) -> None:
            text = f"grading  {chunk.address}"
            shown.update(bar, advance=len(chunk.outputs), description=text)

        grader.grade_some(chunks, done)
    group.wait()
    return started
