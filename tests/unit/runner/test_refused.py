"""What a model declines is a status of its own: no zero, no failure, and it stays with the run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image
from rich.console import Console

from pairuni_eval.api import samples_frame
from pairuni_eval.models.base import LoadOptions, Model, Reply, Request
from pairuni_eval.records import Capability, ModelIdentity
from pairuni_eval.report.build import build_report
from pairuni_eval.runner.run import measure
from pairuni_eval.runner.settings import RunSettings
from pairuni_eval.stats.reasons import Reason, reasons
from pairuni_eval.stats.tables import Tables, protocol_metrics, status_counts
from pairuni_eval.store.read import StoredRun

LIMIT = 8
WORDS = "I would rather not."


class Choosy(Model):
    """Says yes, or draws red; declines every `nth` request."""

    capabilities = frozenset(Capability)
    identity = ModelIdentity(adapter="choosy", name="choosy", weights="0")

    def __init__(self, nth: int | None) -> None:
        self._nth = nth
        self._asked = 0

    @classmethod
    def load(cls, checkpoint: str, options: LoadOptions) -> Choosy:
        return cls(None)

    def _declines(self) -> bool:
        self._asked += 1
        return self._nth is not None and self._asked % self._nth == 0

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        return [Reply(refused=WORDS) if self._declines() else Reply("yes") for _ in requests]

    def draw(self, requests: Sequence[Request]) -> list[Reply]:
        red = Image.new("RGB", (64, 64), "red")
        return [Reply(refused=" ") if self._declines() else Reply(image=red) for _ in requests]


def settings(folder: Path, benchmark: str, checkpoint: str = "choosy") -> RunSettings:
    return RunSettings(checkpoint=checkpoint, out=folder, benchmarks=(benchmark,), limit=LIMIT)


def run_of(folder: Path, benchmark: str, nth: int | None) -> StoredRun:
    asked = settings(folder, benchmark)
    return StoredRun(measure(asked, Console(quiet=True), Choosy(nth)))


@pytest.fixture
def declined(tmp_path: Path) -> StoredRun:
    return run_of(tmp_path / "run", "tiny-pope", 4)


def test_a_refusal_is_a_status_without_a_value_and_no_zero(declined: StoredRun) -> None:
    assert Counter(declined.scores.drop_duplicates("output")["status"]) == {
        "scored": 6,
        "refused": 2,
    }
    row = next(iter(protocol_metrics(Tables(declined), "tiny-pope", "official")))
    assert row.scored == 6
    plain = declined.scores[declined.scores["status"] == "refused"]
    assert plain["value"].isna().all()
    assert set(plain["verdict"]) == {WORDS}
    assert declined.outputs["error"].isna().all()


def test_tables_and_pages_say_so(declined: StoredRun, tmp_path: Path) -> None:
    counted = {(one.status, one.reason): one.rows for one in status_counts(
        Tables(declined), "tiny-pope", "official"
    )}  # fmt: skip
    assert counted[("refused", WORDS)] == 2
    found = reasons(Tables(declined), "tiny-pope", "official")
    assert found == (Reason("refused", "declined to answer", 2),)
    page = build_report(declined, tmp_path / "report", {})
    assert "refused" in page.with_suffix(".md").read_text()
    frame = samples_frame(str(declined.folder))
    assert Counter(frame["status"]) == {"answered": 6, "refused": 2}
    assert set(frame["reason"].dropna()) == {WORDS}


def test_a_picture_that_is_declined_without_a_word_is_refused_too(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", "tiny-geneval", 2)
    refused = run.outputs[run.outputs["refused"].notna()]
    assert len(refused) == len(run.outputs) / 2
    assert set(refused["refused"]) == {"declined without a word"}
    assert set(refused["parts"]) == {"[]"}


def test_a_batch_of_refusals_stops_no_run(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", "tiny-mme", 1)
    assert set(run.scores["status"]) == {"refused"}


def test_a_replayed_refusal_is_one_again(declined: StoredRun, tmp_path: Path) -> None:
    again = settings(tmp_path / "again", "tiny-pope", f"replay:{declined.folder}")
    replayed = StoredRun(measure(again, Console(quiet=True)))
    columns = ["output", "protocol", "metric", "status", "verdict"]
    assert json.loads(replayed.scores[columns].to_json()) == json.loads(
        declined.scores[columns].to_json()
    )


def test_a_run_without_refusals_has_no_column_for_them(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", "tiny-pope", None)
    assert "refused" not in pq.read_schema(run.folder / "outputs.parquet").names
    assert run.outputs["refused"].isna().all()
