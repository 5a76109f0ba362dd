"""The flagship from pair sets to its page: one base, one overlap, trained for two steps."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pandas as pd
import pytest
from rich.console import Console
from support import small_training as small

from pairuni_train.config import find_recipe
from pairuni_train.pair_data.dataset import write_pairs
from pairuni_train.study.design import Design, Hypothesis, MatrixSpec
from pairuni_train.study.flagship_jobs import evaluation_of, flagship_jobs, plan_flagship
from pairuni_train.study.jobs import StudyOptions, pair_file, train_folder
from pairuni_train.study.registration import is_registered, registration_of
from pairuni_train.study.reproduce import Placed, reproduce
from pairuni_train.study.score_table import SCORES_FILE, read_scores
from pairuni_train.study.spec import Experiment, experiments, find_experiment

RECIPE = """\
name = "two-steps"
checkpoint = "tiny"
pairs = "tiny-names"
steps = 2
pairs_per_step = 4
rollout_batch = 64
micro_batch = 64
lr = 1e-4
[und]
rollouts = 4
decoding = { temperature = 1.0, max_tokens = 8 }
rewards = [{ name = "scorer:tiny-heldout-questions" }]
[gen]
rollouts = 4
decoding = { temperature = 1.0, cfg_scale = 1.0 }
rewards = [{ name = "scorer:tiny-heldout-drawings" }]
"""


def small_flagship() -> Experiment:
    """The flagship with the embedded model as its base, two arms and two hypotheses."""
    whole = find_experiment("flagship")
    assert whole.design is not None
    rises = Hypothesis(
        id="H1",
        claim="It rises.",
        arm="PairUni",
        against=("base",),
        scores=("answers, new", "drawings, new"),
        overlaps=(0.0,),
        expect="better",
    )
    design: Design = msgspec.structs.replace(
        whole.design,
        recipe="two-steps",
        steps=2,
        suite="tiny-tuning",
        scores=tuple(
            msgspec.structs.replace(one, benchmark=one.benchmark.replace("heldout", "tuning"))
            for one in whole.design.scores
        ),
        bases=("tiny",),
        overlaps=(0.0,),
        seeds={"default": 1},
        only_at={},
        matrix=MatrixSpec(scenario="aligned", overlap=0.0, pairs=4),
        hypotheses=(rises, Hypothesis(id="H6", claim="They agree.", expect="agree")),
        hypotheses_tested=2,
        comparisons_tested=2,
    )
    arms = tuple(arm for arm in whole.arms if arm.name in ("base", "PairUni", "questions alone"))
    return msgspec.structs.replace(whole, arms=arms, design=design)


@pytest.mark.slow
def test_the_flagship_is_made_once_and_knows_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    recipe, root, out = tmp_path / "two-steps.toml", tmp_path / "root", tmp_path / "out"
    recipe.write_text(RECIPE)
    experiment, file = small_flagship(), registration_of(experiments()["flagship"], "flagship")
    options = StudyOptions(find_recipe(str(recipe)), 1, root, workers=2, given=str(recipe))
    flagship = plan_flagship(experiment, options, file)
    jobs = flagship_jobs(flagship)
    pairs = pair_file(jobs[1].job.arm, options)
    for name in ("pairug", "aligned"):
        write_pairs(pairs.with_stem(name), small.tiny_pairs(8))
    quiet = Console(quiet=True)
    done = reproduce(experiment, options, out, quiet, command="again", placed=Placed(0, (0.0,)))
    assert (done.page, done.failed) == (out / "flagship.html", 0), _logs(root)
    scores = read_scores(out / SCORES_FILE)
    assert scores["registered"].all()
    assert len(scores) == 3 * (368 + 8 * 40)
    folders = [evaluation_of(one, flagship) for one in jobs]
    folders += [train_folder(one.job, options) for one in jobs if one.job.arm.trained]
    assert all(is_registered(folder, file) for folder in folders)
    text = done.page.with_suffix(".md").read_text()
    base = scores[(scores["arm"] == "base") & (scores["group"] == "new")]
    share = base[base["benchmark"] == "tiny-tuning-questions"]["score"].mean()
    line = next(line for line in text.splitlines() if line.startswith("| base |"))
    assert f"{100 * share:.1f}" in line
    assert file.sha256 in text and "Not registered" not in text
    alone = pd.read_json(
        train_folder(jobs[-1].job, options) / "settings.json", typ="series", convert_dates=False
    )
    assert alone["recipe"]["gen"]["weight"] == 0.0
    made = [path for path in root.rglob("*") if path.is_file() and path.suffix != ".lock"]
    times = {path: path.stat().st_mtime_ns for path in made}
    reproduce(experiment, options, out, quiet, command="again", placed=Placed(0, (0.0,)))
    assert {path: path.stat().st_mtime_ns for path in made} == times
    assert done.page.with_suffix(".md").read_text() == text


def _logs(root: Path) -> str:
    return "\n".join(path.read_text()[-800:] for path in sorted((root / "logs").glob("*")))
