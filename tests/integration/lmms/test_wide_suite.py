"""Every task of the suite `understanding-wide` resolves, asks and grades, on one made-up row."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command_line import Cli
from support.http_server import Loopback, Served, endpoint
from support.wide_tasks import ROWS, write_rows

from pairuni_eval import catalog
from pairuni_eval.api import Answer, Benchmark, MetricValue, Output, Status, TextPart, UserError
from pairuni_eval.lmms.known_tasks import known_tasks
from pairuni_eval.store.read import StoredRun

SUITE = "understanding-wide"
JUDGED = [name for name, known in known_tasks().items() if known.judge]


def reply(prompt: str, seen: int) -> Served:
    """Of both judges: MM-Vet's gives a number, MathVista's takes the answer out of a sentence."""
    if prompt.endswith(" |"):
        return Served("1.0" if prompt.endswith("| x = -1 or x = -5 |") else "0.0")
    return Served("3" if "three of them" in prompt else "4")


@pytest.fixture(scope="module")
def judge() -> Iterator[Loopback]:
    """The tasks' modules read where their judge is when they are imported."""
    with endpoint(reply) as running, pytest.MonkeyPatch.context() as environment:
        environment.setenv("OPENAI_API_URL", running.url)
        environment.setenv("OPENAI_API_KEY", "of-a-test")
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, images: list[bytes]) -> Path:
    return write_rows(tmp_path_factory.mktemp("wide"), images[0])


def marks(benchmark: Benchmark, folder: Path, text: str) -> dict[str, MetricValue]:
    """What an answer to the only row gets."""
    data = benchmark.data(folder)
    benchmark.equip(data, device="cpu")
    (item,) = benchmark.samples(data)
    uid = item.sample.uid
    output = Output(id="o", sample=uid, draw=0, seed=0, decoding="d", parts=(TextPart(text),))
    answer = Answer(item.sample, output, lambda _: pytest.fail("no picture was given"))
    return {mark.metric: mark for mark in benchmark.mark(answer, protocol="lmms-eval", judge=None)}


def test_the_suite_is_of_the_tasks_that_are_known() -> None:
    suite = catalog.find_suite(SUITE)
    assert sorted(suite.benchmarks) == sorted(f"lmms:{name}" for name in known_tasks())
    assert set(ROWS) == set(known_tasks())


@pytest.mark.parametrize("task", ROWS)
def test_a_task_asks_and_grades(judge: Loopback, folder: Path, task: str) -> None:
    row, known = ROWS[task], known_tasks()[task]
    benchmark = catalog.load_benchmark(f"lmms:{task}")
    assert known.protocol in benchmark.card.protocols["lmms-eval"].summary
    assert benchmark.card.title == f"{known.title} (lmms-eval)"
    data = benchmark.data(folder)
    (item,) = benchmark.samples(data)
    assert row.asked in item.sample.text
    assert [picture.data is not None for picture in item.pictures] == [True]
    assert marks(benchmark, folder, row.right)["row_score"].value == 1.0
    assert marks(benchmark, folder, row.wrong)["row_score"].value == 0.0


def test_one_run_of_all_ends_in_the_tasks_own_figures(
    cli: Cli, judge: Loopback, folder: Path, tmp_path: Path
) -> None:
    script = tmp_path / "answers.jsonl"
    lines = []
    for task, row in ROWS.items():
        benchmark = catalog.load_benchmark(f"lmms:{task}")
        (item,) = benchmark.samples(benchmark.data(folder))
        lines.append(json.dumps({"prompt": item.sample.text, "text": row.right}) + "\n")
    script.write_text("".join(lines), encoding="utf-8")
    before = set(tmp_path.iterdir())
    ran = cli(
        *("run", "--checkpoint", f"scripted:{script}", "--suite", SUITE, "--data", folder),
        *("--out", "run", "--report", "report"),
    )
    assert ran.code == 0, ran.err
    assert {path.name for path in set(tmp_path.iterdir()) - before} <= {"run", "report"}
    found = {
        (one.protocol.partition("@")[0], one.metric): one.value
        for one in StoredRun(Path("run")).external_metrics
    }
    for task, row in ROWS.items():
        name, value = row.figure
        assert found[f"lmms:{task}", name] == value, task


@pytest.mark.parametrize("task", JUDGED)
def test_a_silent_judge_is_no_zero(judge: Loopback, folder: Path, task: str) -> None:
    benchmark = catalog.load_benchmark(f"lmms:{task}")
    judge.plan = lambda prompt, seen: Served("")
    try:
        mark = marks(benchmark, folder, ROWS[task].right)["row_score"]
    finally:
        judge.plan = reply
    assert (mark.value, mark.status) == (None, Status.JUDGE_FAILED)
    assert mark.verdict == "the task's judge gave no reply: an empty reply"


def test_further_data_that_is_not_there_is_named(
    judge: Loopback, tmp_path: Path, images: list[bytes]
) -> None:
    folder = write_rows(tmp_path, images[0])
    for path in folder.glob("lmms/gqa/testdev_balanced_images/*"):
        path.unlink()
    benchmark = catalog.load_benchmark("lmms:gqa")
    with pytest.raises(UserError, match="no parquet file of 'testdev_balanced_images'"):
        next(iter(benchmark.samples(benchmark.data(folder))))
