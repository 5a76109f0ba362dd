"""`lmms:TASK` gives lmms-eval's own numbers, on the same files with the same model.

The peer is lmms-eval's `simple_evaluate` with our model through its own registry, in this process.
"""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile
from support import upstream
from support.command_line import Cli

from pairuni_eval import catalog
from pairuni_eval.api import Answer, Output, Status, TextPart, UserError
from pairuni_eval.store.read import StoredRun

TASKS = tuple(upstream.TASK_FILES)
ANSWERS = {
    "mmstar": ("A", "The answer is B.", "(C) a rocket", "It is a cat.", "D"),
    "pope_pop": ("Yes", "no", "yes", "No, there is none.", "No"),
    "mme": ("Yes.", "no", "Yes, it is.", "Certainly not", "yes"),
    "mmmu_val": ("A", "The answer is (B).", "C", "B", "(A)"),
}

Run = Callable[..., StoredRun]


@pytest.fixture(scope="module")
def script(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model that answers every question of every task with one of the answers above."""
    lines = []
    for task in TASKS:
        benchmark = catalog.load_benchmark(f"lmms:{task}")
        texts = [item.sample.text for item in benchmark.samples(benchmark.data(folder))]
        assert len(set(texts)) == len(texts)
        for i, text in enumerate(texts):
            answer = ANSWERS[task][(i * i + i // 3) % len(ANSWERS[task])]
            lines.append({"prompt": text, "text": answer})
    return written(tmp_path_factory.mktemp("script"), lines)


def written(folder: Path, lines: Sequence[dict[str, str]]) -> str:
    path = folder / "answers.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return f"scripted:{path}"


@pytest.fixture
def run(cli: Cli, folder: Path) -> Run:
    """Run tasks through the command line; returns the finished run."""

    def measured(
        checkpoint: str,
        *tasks: str,
        data: Path = folder,
        out: str = "run",
        limit: int | None = None,
    ) -> StoredRun:
        names = ",".join(f"lmms:{task}" for task in tasks)
        extra = ("--limit", limit) if limit else ()
        ran = cli(
            *("run", "--checkpoint", checkpoint, "--benchmarks", names, "--data", data),
            *("--out", out, "--report", f"{out}-report", *extra),
        )
        assert ran.code == 0, ran.err
        assert ran.out.count("\n") == 3, f"foreign words on standard output:\n{ran.out}"
        return StoredRun(Path(out))

    return measured


def figures(run: StoredRun, task: str) -> dict[str, float | None]:
    address = f"lmms:{task}@lmms-eval"
    return {one.metric: one.value for one in run.external_metrics if one.protocol == address}


def row_scores(run: StoredRun, metric: str = "row_score") -> list[float]:
    scores = run.scores
    return list(scores.loc[scores["metric"] == metric, "value"])


def peer(task: str, checkpoint: str, file: Path) -> dict[str, float]:
    """lmms-eval's own figures: its evaluator, its registry of models, its thread pool."""
    from lmms_eval import utils
    from lmms_eval.api.task import ConfigurableTask
    from lmms_eval.evaluator import simple_evaluate
    from lmms_eval.tasks import TaskManager

    from pairuni_eval.lmms.names import find_task

    settings: dict[str, Any] = utils.load_yaml_config(str(find_task(task).path), mode="full")
    settings.pop("dataset_name", None)
    files = {settings["test_split"]: str(file)}
    settings |= {"dataset_path": "parquet", "dataset_kwargs": {"data_files": files}}
    found = simple_evaluate(
        model="pairuni",
        model_args=f"checkpoint={checkpoint}",
        tasks=[ConfigurableTask(config=settings, model_name="pairuni")],
        task_manager=TaskManager(include_defaults=False),
        batch_size=16,
        bootstrap_iters=0,
    )
    return {
        key.removesuffix(",none"): value
        for key, value in found["results"][task].items()
        if key.endswith(",none")
        and "_stderr" not in key
        and value != []  # what it shows for results that no metric of the task is made of
    }


# lmms-eval guesses an option where it cannot read MMMU's answer, in the order of its threads: the
# tiny model's answers are such, the script's are not.
@pytest.mark.parametrize(
    ("task", "checkpoint"),
    [*((task, "scripted") for task in TASKS), *((task, "tiny") for task in TASKS[:3])],
)
def test_the_figures_are_lmms_evals_own(
    run: Run, folder: Path, script: str, task: str, checkpoint: str
) -> None:
    model = script if checkpoint == "scripted" else checkpoint
    ours = figures(run(model, task), task)
    theirs = peer(task, model, folder / upstream.TASK_FILES[task][1])
    print(f"\nlmms:{task}, {checkpoint}\n  lmms-eval  {theirs}\n  pairuni    {ours}")
    assert len(theirs) >= 1
    assert ours == theirs


def test_all_tasks_in_one_run_stand_in_the_report(run: Run, script: str) -> None:
    stored = run(script, *TASKS)
    assert {name: part.expected for name, part in stored.card.benchmarks.items()} == {
        f"lmms:{task}": 30 for task in TASKS
    }
    summary = json.loads(Path("run-report/summary.json").read_text())["benchmarks"]
    page = Path("run-report/report.md").read_text()
    for task in TASKS:
        section = summary[f"lmms:{task}"]
        assert section["figures"], task
        assert section["protocols"]["lmms-eval"]["statuses"] == [
            {"status": "scored", "reason": "", "rows": 30}
        ]
    mean = summary["lmms:mme"]["protocols"]["lmms-eval"]["metrics"]["row_score"]
    low, high = mean["interval"]
    assert low < mean["value"] < high
    assert mean["clusters"] == 10  # images; fifteen pairs show ten of them
    assert (
        summary["lmms:mmmu_val"]["protocols"]["lmms-eval"]["metrics"]["row_score"]["value"] is None
    )  # its rows hold no number
    assert page.count("As lmms-eval==0.7.3 aggregates them") == 4


def test_a_row_keeps_what_lmms_eval_made_of_it(run: Run, tmp_path: Path) -> None:
    stored = run(written(tmp_path, [{"prompt": "*", "text": "Yes"}]), "mme")
    scores = stored.scores
    first = scores[scores["metric"] == "row_score"].iloc[1]
    assert json.loads(first["verdict"]) == {
        "mme_perception_score": {
            "question_id": "existence/0000.png",
            "category": "existence",
            "score": 0.0,
        }
    }
    assert row_scores(stored) == [1.0, 0.0] * 15
    # existence, color and OCR are perception: half of every pair right is 50 of 200 a category
    assert figures(stored, "mme") == {"mme_perception_score": 150.0, "mme_cognition_score": 100.0}


def test_a_limit_keeps_pairs_whole(run: Run, tmp_path: Path) -> None:
    script = written(tmp_path, [{"prompt": "*", "text": "No"}])
    stored = run(script, "mme", limit=3)
    part = stored.card.benchmarks["lmms:mme"]
    assert (part.planned, part.expected) == (4, 30)
    assert stored.card.partial
    assert figures(stored, "mme") == {"mme_perception_score": 100.0}


def test_guesses_hold_still_and_are_told(run: Run, tmp_path: Path) -> None:
    script = written(tmp_path, [{"prompt": "*", "text": "I cannot say."}])
    first = run(script, "mmmu_val", out="one")
    random.seed(6)
    second = run(script, "mmmu_val", out="two")
    assert first.external_metrics == second.external_metrics
    one, two = (Path(name, "scores.parquet").read_bytes() for name in ("one", "two"))
    assert one == two
    assert len(row_scores(first, "guessed")) == 24  # the other six of thirty are open questions
    assert first.external_metrics[0].note == "24 answers it could not read were guessed"


def test_foreign_code_leaves_the_process_as_it_was(folder: Path) -> None:
    benchmark = catalog.load_benchmark("lmms:mmmu_val")
    data = benchmark.data(folder)
    random.seed(5)
    before = process_state()
    benchmark.equip(data, device="cpu")
    sample = next(iter(benchmark.samples(data))).sample
    words = (TextPart("I cannot say."),)
    output = Output(id="o", sample=sample.uid, draw=0, seed=0, decoding="d", parts=words)
    answer = Answer(sample, output, lambda _: Image.new("RGB", (1, 1)))
    marks = benchmark.mark(answer, protocol="lmms-eval", judge=None)
    assert [mark.metric for mark in marks] == ["row_score", "guessed"]
    assert process_state() == before


def process_state() -> tuple[Any, ...]:
    """What lmms-eval is known to change in the whole process."""
    dice = random.getstate(), np.random.get_state()[1].tobytes()
    return dice, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)


def test_files_that_do_not_say_where_images_are(
    run: Run, images: list[bytes], tmp_path: Path
) -> None:
    rows = list(upstream.mmstar(images, 6))
    upstream.write(tmp_path / "plain" / "mmstar.parquet", "mmstar", rows, named=False)
    stored = run(
        written(tmp_path, [{"prompt": "*", "text": "A"}]), "mmstar", data=tmp_path / "plain"
    )
    assert row_scores(stored) == [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def test_a_broken_image_costs_its_row(run: Run, images: list[bytes], tmp_path: Path) -> None:
    rows = list(upstream.mmstar(images, 4))
    rows[1]["image"] = {"bytes": images[1][:2000], "path": None}
    rows[2]["image"] = None
    upstream.write(tmp_path / "d" / "mmstar.parquet", "mmstar", rows)
    stored = run(written(tmp_path, [{"prompt": "*", "text": "A"}]), "mmstar", data=tmp_path / "d")
    scores = stored.scores[stored.scores["metric"] == "row_score"]
    assert list(scores["status"]) == [
        Status.SCORED,
        Status.MISSING_OUTPUT,
        Status.MISSING_OUTPUT,
        Status.SCORED,
    ]
    assert [one.rows for one in stored.external_metrics if one.metric == "average"] == [2]


def test_a_file_that_a_row_names_is_read_from_its_folder_only(
    run: Run, images: list[bytes], tmp_path: Path
) -> None:
    rows = list(upstream.mmstar(images, 4))
    (tmp_path / "secret.png").write_bytes(images[0])
    upstream.write(tmp_path / "d" / "mmstar.parquet", "mmstar", rows)  # makes the folder
    (tmp_path / "d" / "a.png").write_bytes(images[1])
    names = ("a.png", str(tmp_path / "secret.png"), "../secret.png", "https://example.org/a.png")
    for row, name in zip(rows, names, strict=True):
        row["image"] = {"bytes": None, "path": name}
    upstream.write(tmp_path / "d" / "mmstar.parquet", "mmstar", rows)
    stored = run(written(tmp_path, [{"prompt": "*", "text": "A"}]), "mmstar", data=tmp_path / "d")
    scores = stored.scores[stored.scores["metric"] == "row_score"]
    assert list(scores["status"]) == [Status.SCORED, *[Status.MISSING_OUTPUT] * 3]
    told = " ".join(str(error) for error in stored.outputs["error"][1:])
    for words in ("leads out of the dataset's folder", "is a URL; nothing is fetched"):
        assert words in told
    kept = [path.stat().st_size for path in stored.folder.glob("images/*/*")]
    assert sorted(size > 0 for size in kept) == [False, True]  # the empty one, and a.png


def test_an_unpaired_row_leaves_the_figure_out_and_says_why(
    run: Run, images: list[bytes], tmp_path: Path
) -> None:
    upstream.write(tmp_path / "d" / "mme.parquet", "mme", list(upstream.mme(images, 3)))
    stored = run(written(tmp_path, [{"prompt": "*", "text": "Yes"}]), "mme", data=tmp_path / "d")
    (figure,) = stored.external_metrics
    assert figure.value is None
    assert figure.note == "AssertionError: MME only supports pairwise evaluation"
    assert row_scores(stored) == [1.0, 0.0, 1.0]


def test_a_second_start_of_a_finished_run_changes_nothing(run: Run, tmp_path: Path) -> None:
    script = written(tmp_path, [{"prompt": "*", "text": "B"}])
    first = run(script, "mmstar")
    before = {path: path.read_bytes() for path in sorted(first.folder.rglob("*.*"))}
    run(script, "mmstar")
    assert {path: path.read_bytes() for path in sorted(first.folder.rglob("*.*"))} == before


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("lmms:mmsta", "Unknown lmms-eval task 'mmsta'. Did you mean 'mmstar'?"),
        ("lmms:mmmu_val_reasoning", "lmms-eval defines the task 'mmmu_val_reasoning' in"),
        ("lmms:videomme", "has videos or files of its own"),
        ("lmms:seedbench_ppl", "is of the type multiple_choice"),
    ],
)
def test_tasks_that_are_not_run_here_are_refused(name: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        catalog.find_card(name)
    assert told in caught.value.message


def test_files_of_another_dataset_are_refused(
    cli: Cli, images: list[bytes], tmp_path: Path
) -> None:
    upstream.write(tmp_path / "d" / "mmstar.parquet", "pope", list(upstream.pope(images, 2)))
    ran = cli("run", "--checkpoint", "tiny", "--benchmarks", "lmms:mmmu_val", "--data", "d")
    assert ran.code == 2
    assert "its rows are not those of the lmms-eval task 'mmmu_val'" in ran.error
    assert "question_id" in ran.error


def test_without_network_the_cause_is_told_at_once(cli: Cli) -> None:
    ran = cli("run", "--checkpoint", "tiny", "--benchmarks", "lmms:mmstar")
    assert ran.code == 2
    assert "lmms-eval cannot get the dataset Lin-Chen/MMStar" in ran.error
    assert "RetryError" not in ran.err
    assert ran.next.startswith("Without network: put its parquet files into DIR/lmms/mmstar/")


def test_a_folder_without_the_files_is_told(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    ran = cli("run", "--checkpoint", "tiny", "--benchmarks", "lmms:mme", "--data", "d")
    assert ran.code == 2
    assert ran.error.startswith(
        "The data of 'lmms:mme' was not found: no parquet file in d/lmms/mme"
    )
