"""A table of arms and a figure of reward curves as their pages, from made-up experiments."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from pairuni_train.config import find_recipe
from pairuni_train.study.curves import make_curves
from pairuni_train.study.jobs import StudyOptions
from pairuni_train.study.pages import write_curves, write_table
from pairuni_train.study.spec import find_experiment
from pairuni_train.study.table import make_table
from support.made_up_experiments import STEPS, TABLE, training, write_runs, write_trainings


def study_pages(root: Path) -> dict[str, Path]:
    """The page of a wide table and that of figure 4, by kind."""
    options = StudyOptions(find_recipe("tiny"), 1, root)
    wide = msgspec.structs.replace(
        TABLE,
        columns=TABLE.columns * 3,
        printed=tuple(msgspec.structs.replace(row, cells=row.cells * 3) for row in TABLE.printed),
    )
    write_runs(wide, options)
    table = make_table(wide, options)
    curves = find_experiment("figure4").on(tiny=True)
    rising = {
        arm.name: lambda seed, step: (0.3 + 0.02 * step, 0.5 + 0.1 * math.sin(seed + step))
        for arm in curves.arms
    }
    write_trainings(root / "curves", curves, rising, fixed=rising)
    figure = make_curves(curves, training(root / "curves"))
    again = f"pairuni-train reproduce figure4 --steps {STEPS}"
    return {
        "table": write_table(
            table, wide, root / "table", tiny=True, steps=STEPS, command=again, figures=[]
        ),
        "figure": write_curves(figure, root / "figure", command=again, figures=[]),
    }
