"""Finished runs turned back into what a kill leaves of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from pairuni_eval.records import Output, Sample, Score
from pairuni_eval.store import layout
from pairuni_eval.store.read import StoredRun


def unfinished(run: Path, target: Path, *, graded: int) -> Path:
    """A copy of a run as a kill leaves it: rows instead of tables, scores of the first outputs."""
    shutil.copytree(run, target)
    stored = StoredRun(run)
    kinds = {"samples": Sample, "outputs": Output, "scores": Score}
    for name, kind in kinds.items():
        rows = stored.records(name, kind)
        if name == "outputs":
            known = {row.id for row in rows[:graded]}
        if name == "scores":
            rows = [row for row in rows if row.output in known]
        path = (
            target / layout.ROWS / (f"{name}.jsonl" if name == "samples" else f"{name}-rank0.jsonl")
        )
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows) + b'{"torn')
        (target / f"{name}.parquet").unlink()
    (target / layout.COMPLETE).unlink()
    return target
