"""Pages of experiments in a real browser: a table of arms and a figure, as wide as a phone."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import pytest
from chromium import CONTRAST, OVERFLOW, Browser
from made_up_experiments import STEPS, TABLE, training, write_runs, write_trainings

from pairuni_train.experiments.curves import make_curves
from pairuni_train.experiments.jobs import Setting
from pairuni_train.experiments.pages import write_curves, write_table
from pairuni_train.experiments.spec import find_experiment
from pairuni_train.experiments.table import make_table
from pairuni_train.recipe import find_backbone


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("studies")
    setting = Setting(find_backbone("tiny"), 1, root)
    wide = msgspec.structs.replace(
        TABLE,
        columns=TABLE.columns * 3,
        printed=tuple(msgspec.structs.replace(row, cells=row.cells * 3) for row in TABLE.printed),
    )
    write_runs(wide, setting)
    table = make_table(wide, setting)
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


@pytest.mark.parametrize("kind", ["table", "figure"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(
    browser: Browser, pages: dict[str, Path], kind: str, width: int
) -> None:
    browser.log("browser")
    browser.open(pages[kind], width=width)
    browser.run("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert browser.run("return document.querySelectorAll('svg[role=img]').length") >= 2
    assert browser.run("return document.documentElement.scrollWidth") <= width
    assert browser.run(OVERFLOW) == []
    assert browser.log("browser") == []


@pytest.mark.parametrize("kind", ["table", "figure"])
def test_a_table_is_cards_on_a_phone(browser: Browser, pages: dict[str, Path], kind: str) -> None:
    browser.open(pages[kind], width=390)
    wide = "return [...document.querySelectorAll('.grid')].filter(one => one.scrollWidth > 390)"
    assert browser.run(f"{wide}.length") == 0
    label = "return getComputedStyle(document.querySelector('.grid td'), '::before').content"
    assert browser.run(label) == '"seeds"'


@pytest.mark.parametrize("kind", ["table", "figure"])
@pytest.mark.parametrize("dark", [False, True])
def test_text_has_contrast(browser: Browser, pages: dict[str, Path], kind: str, dark: bool) -> None:
    browser.open(pages[kind], width=1280, dark=dark)
    assert browser.run(CONTRAST) == []
