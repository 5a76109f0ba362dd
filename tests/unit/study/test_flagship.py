"""The flagship's hypotheses on tables of scores made by hand: what is held, and in which words."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pandas as pd
import pytest
from support.made_up_scores import Shares, made_up_scores

from pairuni_eval.errors import UserError
from pairuni_eval.stats.verdict import Word
from pairuni_train.config import find_recipe
from pairuni_train.study.flagship import FlagshipFigure, examined
from pairuni_train.study.flagship_findings import answers
from pairuni_train.study.flagship_jobs import (
    Flagship,
    deviations,
    evaluation_of,
    flagship_jobs,
    plan_flagship,
)
from pairuni_train.study.flagship_page import write_flagship
from pairuni_train.study.hypotheses import (
    FlagshipOutcome,
    PairAgreement,
    Verdict,
    examine_hypotheses,
)
from pairuni_train.study.jobs import StudyOptions, pair_file
from pairuni_train.study.registration import Registration, is_registered, registration_of, stamp
from pairuni_train.study.score_table import COLUMNS, SCORES_FILE, ScoredArms, read_scores
from pairuni_train.study.spec import experiments, find_experiment, read_experiment

FLAGSHIP = find_experiment("flagship")
FILE = experiments()["flagship"]
OVERLAPS = (0.0, 0.5, 1.0)
AGREE = PairAgreement(0.02, 0.001, 1e-4, 60)
BASE = {"answers, new": 0.5, "answers, common": 0.9, "drawings, new": 0.2, "drawings, common": 0.6}
TRAINED = BASE | {"answers, new": 0.8, "drawings, new": 0.6}
UNPAIRED = BASE | {"answers, new": 0.65, "drawings, new": 0.35}


def table(
    *,
    unpaired: dict[str, float] = UNPAIRED,
    repaired: dict[str, float] = TRAINED,
    overlaps: tuple[float, ...] = OVERLAPS,
) -> Shares:
    """PairUni rises everywhere; the others as given where the sources differ."""
    found: dict[tuple[str, float | None], dict[str, float]] = {("base", None): BASE}
    for overlap in overlaps:
        apart = unpaired if overlap < 1 else TRAINED
        found |= {("GRPO", overlap): apart, ("random pair", overlap): apart}
        found[("PairUni", overlap)] = TRAINED
        found[("PairUni, re-paired", overlap)] = repaired if overlap < 1 else TRAINED
    found[("questions alone", 0.0)] = BASE | {"answers, new": 0.8}
    found[("drawings alone", 0.0)] = BASE | {"drawings, new": 0.6, "answers, new": 0.6}
    return found


def outcome(scores: pd.DataFrame, agreement: PairAgreement | None = AGREE) -> FlagshipOutcome:
    """The verdicts alone: numbers of arms take as long again."""
    assert FLAGSHIP.design is not None
    return examine_hypotheses(ScoredArms(scores), FLAGSHIP.design, agreement)


def verdicts(found: FlagshipOutcome) -> dict[str, Verdict]:
    return {one.title: one.verdict for one in found.hypotheses}


def figure(scores: pd.DataFrame, agreement: PairAgreement | None = AGREE) -> FlagshipFigure:
    """What a page is made of; of gradients only the test."""
    design = FLAGSHIP.design
    assert design is not None
    return FlagshipFigure(
        experiment=FLAGSHIP,
        design=design,
        checkpoint="tiny-early",
        base=0,
        tiny=True,
        steps=300,
        overlaps=OVERLAPS,
        registration=registration_of(FILE, "flagship"),
        scores=scores,
        examined=examined(scores, FLAGSHIP, agreement=agreement),
        matrix=None,
        unregistered=(),
        missing=(0, 55),
        seen=("None of 1,348 units were found in the 2,400 pairs.",),
        deviations=(),
    )


def at_zero(found: FlagshipFigure) -> pd.DataFrame:
    """The scores of the base, and of the arms at an overlap of 0."""
    overlap = found.scores["overlap"]
    return found.scores[overlap.isna() | (overlap == 0)].copy()


def said(found: FlagshipFigure, question: str) -> str:
    return " ".join(answers(found)[question])


@pytest.fixture(scope="module")
def coverage() -> FlagshipFigure:
    """Reinforcement learning helps, pairs help, and re-paired halves do as well."""
    return figure(made_up_scores(FLAGSHIP, table()))


def test_a_rise_and_an_equal_control_are_the_coverage(coverage: FlagshipFigure) -> None:
    found = coverage.outcome
    assert set(verdicts(found).values()) == {Verdict.HELD, Verdict.NOT_SHOWN}
    assert [name for name, one in verdicts(found).items() if one is Verdict.NOT_SHOWN] == ["H7"]
    assert all(one.registered for one in found.hypotheses)
    first = found.of("H1")[0].parts[0]
    assert first.word is Word.BETTER
    assert first.found.value == pytest.approx(0.3, abs=0.03)
    assert "At overlap 0 the coverage" in said(coverage, "Was it the pairing or the coverage?")
    assert "agree more than at random, and at overlap 0 it makes no difference" in said(
        coverage, "Did agreement predict anything?"
    )


def test_a_control_that_does_worse_is_the_pairing() -> None:
    made = figure(made_up_scores(FLAGSHIP, table(repaired=UNPAIRED, overlaps=(0.0,))))
    found = verdicts(made.outcome)
    assert found["H3 at overlap 0"] is Verdict.AGAINST
    assert found["H2 at overlap 0"] is Verdict.HELD
    sentence = said(made, "Was it the pairing or the coverage?")
    assert "At overlap 0 the pairing counts: halves that meet do better" in sentence
    assert "coverage:" not in sentence


def test_arms_that_are_equal_show_no_help_of_pairs() -> None:
    made = figure(made_up_scores(FLAGSHIP, table(unpaired=TRAINED)))
    found = verdicts(made.outcome)
    assert found["H1 at overlap 0"] is Verdict.HELD
    assert found["H2 at overlap 0"] is Verdict.NOT_SHOWN
    assert found["H3 at overlap 0"] is found["H4"] is Verdict.HELD
    sentence = said(made, "Was it the pairing or the coverage?")
    assert "pairs are not shown to help" in sentence
    assert "brings each name to both tasks" not in sentence


def test_arms_that_scatter_tell_nothing() -> None:
    made = figure(made_up_scores(FLAGSHIP, table(unpaired=TRAINED), spread=0.08))
    found = verdicts(made.outcome)
    assert found["H3 at overlap 0"] is found["H4"] is Verdict.NOT_SHOWN
    assert "At overlap 0 cannot tell whether it is the pairing or the coverage" in said(
        made, "Was it the pairing or the coverage?"
    )


def test_what_is_lost_is_spoken_against() -> None:
    shares = dict(table())
    shares["PairUni", 0.0] = TRAINED | {"answers, common": 0.8}
    made = figure(made_up_scores(FLAGSHIP, shares))
    found = verdicts(made.outcome)
    assert found["H5 at overlap 0"] is Verdict.AGAINST
    assert found["H5 at overlap 1"] is Verdict.HELD
    assert "PairUni is worse than base" in said(made, "What was forgotten?")


def test_what_was_made_otherwise_is_not_registered(coverage: FlagshipFigure) -> None:
    other = figure(made_up_scores(FLAGSHIP, table(), unregistered=frozenset({"GRPO"})))
    found = {one.title: one.registered for one in other.outcome.hypotheses}
    assert not (found["H2 at overlap 0"] or found["H2 at overlap 0.5"] or found["H4"])
    assert found["H1 at overlap 0"] and found["H3 at overlap 0"]
    assert "H2 at overlap 0 is held, not registered" in said(other, "Did completed pairs help?")
    assert "not registered" not in said(coverage, "Did completed pairs help?")
    fewer = figure(coverage.scores[coverage.scores["seed"] < 3])
    found = {one.title: one.registered for one in fewer.outcome.hypotheses}
    assert found == dict.fromkeys(found, False) | {"H6": True, "H7": True, "H8": True}
    assert "PairUni at overlap 0 has 3 of 5 seeds" in said(fewer, "Is it registered?")


def test_one_seed_speaks_of_checkpoints_alone() -> None:
    made = figure(made_up_scores(FLAGSHIP, table(overlaps=(0.0,)), seeds=1))
    sentence = said(made, "Did reinforcement learning help, and at what?")
    assert "PairUni is one training seed; another seed could change the verdict" in sentence


def test_what_has_not_been_run_keeps_its_place_in_the_correction(coverage: FlagshipFigure) -> None:
    whole, found = coverage.outcome, outcome(at_zero(coverage), None)
    run = {one.title for one in found.hypotheses if one.verdict is not Verdict.NOT_RUN}
    assert run == {f"{name} at overlap 0" for name in ("H1", "H2", "H3", "H5")} | {"H7", "H8"}
    for one, all_of_it in zip(found.hypotheses, whole.hypotheses, strict=True):
        if one.title in run:
            assert one.p == all_of_it.p
            assert one.corrected is not None and all_of_it.corrected is not None
            assert one.corrected >= all_of_it.corrected
    (raised,) = found.of("H8")
    smaller = [one for one in found.hypotheses if one.p is not None and one.p < (raised.p or 0)]
    assert raised.corrected == pytest.approx((14 - len(smaller)) * (raised.p or 0), rel=1e-6)


def test_an_output_without_a_score_is_not_zero(coverage: FlagshipFigure) -> None:
    scores = at_zero(coverage)
    lost = (scores["arm"] == "GRPO") & (scores["sample"] == "answers, new/7")
    scores.loc[lost, "score"] = float("nan")
    found = outcome(scores)
    assert verdicts(found)["H2 at overlap 0"] is Verdict.NOT_RUN
    assert found.of("H2")[0].parts[0].found.reason == "3 outputs of GRPO have no score"


def test_gradients_that_fight_speak_against(coverage: FlagshipFigure) -> None:
    base = coverage.scores[coverage.scores["arm"] == "base"]
    fighting = PairAgreement(-0.02, 0.001, 1e-4, 60)
    assert verdicts(outcome(base, fighting))["H6"] is Verdict.AGAINST
    unsure = PairAgreement(0.02, 0.001, 0.04, 60)
    assert verdicts(outcome(base, unsure))["H6"] is Verdict.NOT_SHOWN


def test_a_number_of_the_page_is_found_again_in_the_table(
    coverage: FlagshipFigure, tmp_path: Path
) -> None:
    page = write_flagship(coverage, tmp_path, command="again", figures=["svg"])
    assert page.is_file() and page.with_suffix(".md").is_file()
    kept = read_scores(tmp_path / SCORES_FILE)
    assert list(kept.columns) == list(COLUMNS)
    rows = kept[(kept["arm"] == "PairUni") & (kept["overlap"] == 0.5)]
    rows = rows[(rows["benchmark"] == "tiny-heldout-drawings") & (rows["group"] == "new")]
    mean = rows.groupby("seed")["score"].mean().mean()
    line = next(
        line
        for line in page.with_suffix(".md").read_text().splitlines()
        if line.startswith("| PairUni, 0.5 |")
    )
    assert f"{100 * mean:.1f}" in line
    parts = pd.read_csv(tmp_path / "parts.csv")
    assert len(parts) == 32
    one = parts[(parts["hypothesis"] == "H1 at overlap 0.5") & (parts["score"] == "drawings, new")]
    base = kept[(kept["arm"] == "base") & (kept["benchmark"] == "tiny-heldout-drawings")]
    began = base[base["group"] == "new"]["score"].mean()
    assert one["difference"].item() == pytest.approx(mean - began, abs=1e-6)
    assert outcome(kept) == coverage.outcome


# The design


def flagship(root: Path, **more: object) -> Flagship:
    recipe = msgspec.structs.replace(find_recipe("tiny"), name="tiny-names", pairs="tiny-names")
    options = StudyOptions(recipe, 3, root)
    return plan_flagship(FLAGSHIP, options, registration_of(FILE, "flagship"), **more)  # type: ignore[arg-type]


def test_every_job_has_a_folder_of_its_own_and_arms_of_an_overlap_share_their_pairs(
    tmp_path: Path,
) -> None:
    found = [flagship(tmp_path, base=base) for base in (0, 1)]
    jobs = [(one, whole) for whole in found for one in flagship_jobs(whole)]
    assert len(jobs) == 2 * (1 + 3 * (3 + 3 + 5 + 5) + 2 * 3)
    assert len({evaluation_of(one, whole) for one, whole in jobs}) == len(jobs)
    files = {pair_file(one.job.arm, whole.options) for one, whole in jobs if one.job.arm.trained}
    assert len(files) == 3 * 3
    few = flagship(tmp_path, overlaps=(1.0,), seeds=1)
    assert [one.title for one in flagship_jobs(few)] == [
        "base, seed 0",
        *(
            f"{arm}, seed 0, overlap 1"
            for arm in ("GRPO", "random pair", "PairUni", "PairUni, re-paired")
        ),
    ]
    assert deviations(few) == ()
    steps = few.options.recipe.steps - 1
    shorter = few._replace(
        options=few.options._replace(
            recipe=msgspec.structs.replace(few.options.recipe, steps=steps)
        )
    )
    assert deviations(shorter) == ("299 training steps, not 300",)


def test_an_unknown_base_or_overlap_is_answered_with_one_that_is_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no base 2") as refused:
        flagship(tmp_path, base=2)
    assert refused.value.hint == "--base 0 to 1"
    with pytest.raises(UserError, match=r"no overlap 0\.4; it has 0, 0\.5, 1") as refused:
        flagship(tmp_path, overlaps=(0.4,))
    assert refused.value.hint == "--overlap 0.5"


def test_a_stamp_is_of_the_file_that_a_folder_was_begun_under(tmp_path: Path) -> None:
    first, second = Registration("x", "1" * 64), Registration("x", "2" * 64)
    folder = tmp_path / "run"
    assert not is_registered(folder, first)
    stamp(folder, first)
    stamp(folder, second)
    assert is_registered(folder, first) and not is_registered(folder, second)
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "metrics.jsonl").write_text("{}\n")
    stamp(begun, first)
    assert not is_registered(begun, first)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("hypotheses_tested = 14", "hypotheses_tested = 13", "is 13, but its hypotheses make 14"),
        ("comparisons_tested = 32", "comparisons_tested = 3", "is 3, but its hypotheses make 32"),
        ("margin = 0.02\n", "", "H5 expects 'not worse': a margin belongs to 'equal' and"),
        ('against = ["base"]', 'against = ["bass"]', "H1 names 'bass', which is not one of"),
        ("overlaps = [0.0, 0.5, 1.0]\nseeds", "overlaps = [0.5, 1.0]\nseeds", "is at overlap 0"),
        ('arm = "questions alone"', 'arm = "PairUni"\nmargin = 0.1', "H7 expects 'better'"),
        ('scores = ["drawings, new"]', 'scores = ["drawings"]', "names the score 'drawings'"),
        ('kind = "flagship"', 'kind = "table"', "a design belongs to a flagship"),
        ("default = 3, ", "", "design.seeds lacks 'default'"),
    ],
)
def test_a_design_that_does_not_fit_is_named(old: str, new: str, said: str, tmp_path: Path) -> None:
    text = FILE.read_text()
    assert old in text
    path = tmp_path / "flagship.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError) as refused:
        read_experiment(path)
    assert said in refused.value.message and str(path) in refused.value.message
