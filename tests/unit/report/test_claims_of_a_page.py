"""What a page may not claim beyond its data: parts, siblings, missing outputs, copies, scope."""

from __future__ import annotations

import csv
import json
import random
import shutil
from html import unescape
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support import example_run as example

from pairuni_eval.cards import Card
from pairuni_eval.decoding import Decoding
from pairuni_eval.errors import UserError
from pairuni_eval.report.baseline_comparison import baseline_comparison, describe_comparison
from pairuni_eval.report.build import build_report
from pairuni_eval.report.seeds import Seeds
from pairuni_eval.stats.compare import Comparison, compare_page
from pairuni_eval.stats.tables import Tables
from pairuni_eval.store.read import StoredRun

pytestmark = pytest.mark.light

MMMU, MMSTAR, MME, POPE = (*example.choice_cards(48), *example.yes_no_cards(48))


def run(
    folder: Path, cards: list[Card], skill: float = 0.7, *, seed: int = 7, count: int = 48
) -> StoredRun:
    """A run of the folder's name; its answers are drawn from the seed, the skill and the name."""
    rows = {
        one.name: example.graded(one, count, skill, random.Random(f"{folder.name}/{one.name}"))
        for one in cards
    }
    example.store(folder, cards, rows, name=folder.name, seed=seed, with_images=False)
    return StoredRun(folder)


def compared(ours: list[StoredRun], theirs: list[StoredRun]) -> Comparison:
    sides = [tuple(map(Tables, side)) for side in (ours, theirs)]
    return compare_page(sides[0], {"ctl": sides[1]})["ctl"]


class Written:
    """The files of a report."""

    def __init__(self, out: Path) -> None:
        self.html = unescape((out / "report.html").read_text())
        self.markdown = unescape((out / "report.md").read_text()).replace("\\", "")
        self.latex = (out / "tables.tex").read_text()
        self.summary: dict[str, Any] = json.loads((out / "summary.json").read_text())


def written(
    out: Path, ours: StoredRun, baselines: dict[str, StoredRun], seeds: Seeds | None = None
) -> Written:
    build_report(ours, out, baselines, seeds=seeds or Seeds())
    return Written(out)


# Which runs lack a benchmark


def test_it_is_said_which_sibling_lacks_a_benchmark(tmp_path: Path) -> None:
    ours = [run(tmp_path / "a1", [MMMU, MME]), run(tmp_path / "a2", [MMMU])]
    ctl = [run(tmp_path / "c1", [MMMU, MME]), run(tmp_path / "c2", [MMMU, MME])]
    found = compared(ours, ctl)
    assert [one.sentence for one in found.refusals] == [
        "tiny-mme: a2 of our side was not measured on it"
    ]
    assert "; not compared on tiny-mme; " in describe_comparison("ctl", found)
    turned = compared(ctl, ours)
    assert [one.sentence for one in turned.refusals] == [
        "tiny-mme: a2 of the other side was not measured on it"
    ]
    seeds = Seeds(ours[1:], {"ctl": ctl[1:]})
    page = written(tmp_path / "out", ours[0], {"ctl": ctl[0]}, seeds)
    for text in (page.html, page.markdown, page.latex):
        assert "not compared: a2 of our side was not measured on it" in text
        assert "not in it" not in text
    assert "not compared on 1 benchmark; " in page.html
    cards, names = [one.card for one in ctl], list(ours[0].card.benchmarks)
    assert baseline_comparison("ctl", 1, cards, found, names).tally["not compared"] == 1


def test_what_the_baseline_lacks_is_not_in_it(tmp_path: Path) -> None:
    ours, other = run(tmp_path / "a", [MMMU, MME]), run(tmp_path / "c", [MMMU, POPE])
    page = written(tmp_path / "out", ours, {"c": other})
    assert "not in it" in page.html and "not in it" in page.markdown
    assert "not compared on 1 benchmark" in page.html  # POPE was not asked of ours


def test_why_what_both_have_is_not_compared_comes_first(tmp_path: Path) -> None:
    ours = run(tmp_path / "a", [MMMU, MMSTAR, MME, POPE])
    newer = msgspec.structs.replace(POPE, version="2")
    found = compared([ours], [run(tmp_path / "c", [newer])])
    assert describe_comparison("c", found).startswith(
        "Against c nothing can be compared: tiny-pope, 5 numbers: the benchmark's version is 1 in "
        "one run and 2 in another; tiny-mmmu: the other side was not measured on it; "
    )
    with pytest.raises(UserError, match="Nothing can be compared: tiny-pope, 5 numbers"):
        found.checked()


# Runs that are not whole


def scored(folder: Path, card: Card, values: list[float | None], **more: Any) -> StoredRun:
    """A run with these scores, in order; None is an output without a value."""
    graded = [
        row._replace(scores={"correct": value, "said_yes": value}, reply="Yes.")
        for row, value in zip(
            example.graded(card, len(values), 1.0, random.Random(0)), values, strict=True
        )
    ]
    example.store(folder, [card], {card.name: graded}, name=folder.name, with_images=False, **more)
    return StoredRun(folder)


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 samples of ours, all right, against a baseline that has the first 20 and 8 of them."""
    root = tmp_path_factory.mktemp("trial")
    ours = scored(root / "ours", MMMU, [1.0] * 48)
    base = scored(root / "base", MMMU, [0.0] * 12 + [1.0] * 8)
    written(root / "out", ours, {"base": base})
    return root


def test_a_baseline_that_is_a_trial_stamps_the_page(trial: Path) -> None:
    page = Written(trial / "out")
    note = "base has 20 of 48 samples. No number or difference marked PARTIAL stands for its"
    assert note in page.html and f"> **PARTIAL.** {note}" in page.markdown
    assert '<span class="stamp">PARTIAL</span>' in page.html
    assert r"\textbf{PARTIAL}: base has 20 of 48 samples." in page.latex
    assert r"better, p = .03, \textbf{PARTIAL} on 20 of 48 outputs" in page.latex
    assert page.summary["partial"] is True
    assert page.summary["partial_runs"] == [
        {"name": "base", "planned": 20, "expected": 48, "unfinished": False}
    ]
    assert page.summary["benchmarks"]["tiny-mmmu"]["partial"] is False  # ours is whole
    assert "<dt>Complete</dt><dd>yes</dd>" in page.html


def test_a_row_says_over_how_many_samples_it_was_compared(trial: Path) -> None:
    page = Written(trial / "out")
    said = "Better than base at Tiny MMMU (+60.0, on 20 of 48 outputs); this checkpoint, one seed."
    assert said in page.html and said in page.markdown
    sentence = "Tiny MMMU is better than base: 8 -> 20 of 20, on 20 of 48 outputs, p = .03; "
    (found,) = page.summary["baselines"].values()
    headline = next(row for row in found["differences"] if row["headline"])
    assert headline["sentence"].startswith(sentence)
    assert (headline["partial"], headline["part"]) == (True, "on 20 of 48 outputs")
    table = page.html[page.html.index('<table class="opening">') :].partition("</table>")[0]
    assert "PARTIAL" in table and "on 20 of 48 outputs" in table
    with (trial / "out" / "differences.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["partial"] for row in rows} == {"yes"}
    assert {row["part"] for row in rows if not row["group"]} == {"on 20 of 48 outputs"}


def test_two_whole_runs_have_no_stamp(tmp_path: Path) -> None:
    sides = [scored(tmp_path / name, MMMU, [1.0, 0.0] * 24) for name in ("a", "c")]
    page = written(tmp_path / "out", sides[0], {"c": sides[1]})
    assert "PARTIAL" not in page.markdown + page.latex and '<span class="stamp">' not in page.html
    assert (page.summary["partial"], page.summary["partial_runs"]) == (False, [])


def test_a_sibling_or_a_seed_that_is_a_trial_is_named(tmp_path: Path) -> None:
    ours = [scored(tmp_path / f"a{n}", MMMU, [1.0] * (48 - 8 * n)) for n in range(2)]
    ctl = [scored(tmp_path / f"c{n}", MMMU, [0.0] * (48 - 16 * n)) for n in range(2)]
    seeds = Seeds(ours[1:], {"ctl": ctl[1:]})
    page = written(tmp_path / "out", ours[0], {"ctl": ctl[0]}, seeds)
    assert (
        "its sibling a1 has 40 of 48 samples and a seed of ctl, c1, has 32 of 48 samples."
    ) in page.html
    assert "on 32 of 48 outputs" in page.html


def test_a_total_over_fewer_tasks_says_of_how_much(tmp_path: Path) -> None:
    """Ours has three tasks, the baseline one: what is compared is of 200, ours is of 600."""
    metric = msgspec.structs.replace(
        MME.protocols["official"].metrics[0], title="Perception, of 600"
    )
    rule = msgspec.structs.replace(MME.protocols["official"], metrics=(metric,))
    mme = msgspec.structs.replace(MME, protocols={"official": rule})
    ours, base = (scored(tmp_path / name, mme, [1.0] * n) for name, n in (("a", 48), ("b", 2)))
    (row,) = compared([ours], [base]).headlines
    assert row.part == "on 2 of 48 outputs: Perception, of 200, 1 of 3 tasks"


# Outputs without a value


def test_a_decided_row_says_what_missing_outputs_leave_open(tmp_path: Path) -> None:
    """40 of 48 right against none: +100 on the 40 that are there, and 83.3 if 8 are wrong."""
    lenient = msgspec.structs.replace(MMMU.protocols["official"], unparsed="excluded")
    card = msgspec.structs.replace(MMMU, protocols={"official": lenient})
    ours = scored(tmp_path / "a", card, [1.0] * 40 + [None] * 8)
    page = written(tmp_path / "out", ours, {"c": scored(tmp_path / "c", card, [0.0] * 48)})
    (found,) = page.summary["baselines"].values()
    headline = next(row for row in found["differences"] if row["headline"])
    open_ = "8 of 48 outputs of ours are missing; they may make the difference +83.3 to +100.0"
    assert headline["word"] == "better" and f"; {open_}; this checkpoint" in headline["sentence"]
    opening = "Better than c at Tiny MMMU (+100.0, +83.3 to +100.0 with what is missing); "
    for text in (page.html, page.markdown):
        assert opening in text and text.count(open_) >= 3
    assert open_ in page.latex


# What the LaTeX tables say of seeds


def test_latex_has_the_scope_and_the_numbers_of_the_difference(tmp_path: Path) -> None:
    """Means over seeds: 100 and 50 against 25 and 25, where this run alone has 100."""
    ours = [
        scored(tmp_path / "a0", MMMU, [1.0] * 48),
        scored(tmp_path / "a1", MMMU, [1.0, 0.0] * 24),
    ]
    ctl = [
        scored(tmp_path / f"c{n}", MMMU, ([0.0] * n + [1.0] + [0.0] * 3)[:4] * 12) for n in range(2)
    ]
    alone = written(tmp_path / "alone", ours[0], {"ctl": ctl[0]}).latex
    assert "Against ctl: this checkpoint, one seed." in alone
    assert r"25.0 $\to$ 100.0 & +75.0" in alone
    page = written(tmp_path / "out", ours[0], {"ctl": ctl[0]}, Seeds(ours[1:], {"ctl": ctl[1:]}))
    assert "Against ctl: these checkpoints, two seeds." in page.latex
    assert r"25.0 $\to$ 75.0 & +50.0" in page.latex and "& 100.0 [" in page.latex


# Other settings


@pytest.mark.parametrize(("temperature", "said"), [(1.0, "seed 7 and 8"), (0.0, "")])
def test_another_seed_is_said_where_outputs_are_drawn(
    tmp_path: Path, temperature: float, said: str
) -> None:
    card = msgspec.structs.replace(MMMU, decoding=Decoding(temperature=temperature))
    ours = scored(tmp_path / "a", card, [1.0, 0.0] * 24)
    page = written(
        tmp_path / "out", ours, {"c": scored(tmp_path / "c", card, [0.0, 1.0] * 24, seed=8)}
    )
    stated = "c was run with other settings on tiny-mmmu: seed 7 and 8."
    assert (stated in page.html and stated in page.markdown) is bool(said)
    (row,) = compared([ours], [StoredRun(tmp_path / "c")]).headlines
    assert ", ".join(row.settings) == said and row.same_settings is not bool(said)


# One run under two names


def test_a_copy_under_another_name_is_refused(tmp_path: Path) -> None:
    base = scored(tmp_path / "base", MMMU, [1.0, 0.0] * 24)
    copy = StoredRun(shutil.copytree(base.folder, tmp_path / "copy"))
    ours = scored(tmp_path / "a", MMMU, [1.0] * 48)
    with pytest.raises(UserError, match="two is one under another name: the same outputs of the"):
        build_report(ours, tmp_path / "out", {"one": base, "two": copy})
    assert not (tmp_path / "out" / "report.html").exists()
    page = written(tmp_path / "out", ours, {"one": base})  # a copy of ours is no such case
    assert page.summary["baselines"]["one"]["same_weights"] is False
    same = StoredRun(shutil.copytree(ours.folder, tmp_path / "same"))
    page = written(tmp_path / "again", ours, {"same": same, "one": base})
    assert page.summary["baselines"]["same"]["same_weights"] is True


def test_the_same_weights_measured_otherwise_are_no_copy(tmp_path: Path) -> None:
    ours = scored(tmp_path / "a", MMMU, [1.0] * 48)
    whole, less = (scored(tmp_path / f"c{n}", MMMU, [0.0] * n, weights="w") for n in (48, 40))
    other = scored(tmp_path / "d", MMMU, [0.0] * 47 + [1.0], weights="w")
    page = written(tmp_path / "out", ours, {"whole": whole, "less": less, "other": other})
    assert list(page.summary["baselines"]) == ["whole", "less", "other"]
