"""Names inside a run folder.

::

    run.json              what was asked: checkpoint, benchmarks, seed, decoding, environment
    plan.json             the fixed batches, by output id
    cards/NAME.json       a copy of every card used
    rows/*.jsonl          append-only rows while the run goes on, one file per rank
    images/ab/<sha>       pictures by content, written to a temporary name and renamed
    samples.parquet outputs.parquet scores.parquet      after compaction
    COMPLETE              written last: counts, and the SHA-256 of every parquet file
    journal.jsonl         when it started, how long each batch took: the only file with times
"""

from __future__ import annotations

from pathlib import Path

RUN_FILE = "run.json"
PLAN_FILE = "plan.json"
CARDS = "cards"
ROWS = "rows"
IMAGES = "images"
COMPLETE = "COMPLETE"
JOURNAL = "journal.jsonl"
LOCK = ".lock"
TABLES = ("samples", "outputs", "scores")


def image_path(run: Path, image: str) -> Path:
    """Where a picture lies: images/<first two digits>/<id>."""
    return run / IMAGES / image[:2] / image
