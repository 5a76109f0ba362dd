"""Our models under lmms-eval's own command, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import upstream

from pairuni_eval.lmms.names import find_task

TASK = """\
include: {include}
task: {name}
dataset_path: parquet
dataset_name: null
dataset_kwargs:
  data_files:
    {split}: {file}
"""
SPLITS = {"mmstar": "val", "pope_pop": "popular"}


def test_the_tiny_model_runs_under_lmms_evals_command(folder: Path, tmp_path: Path) -> None:
    for name, split in SPLITS.items():
        file = folder / upstream.TASK_FILES[name][1]
        text = TASK.format(
            include=find_task(name).path, name=f"small_{name}", split=split, file=file
        )
        (tmp_path / "tasks").mkdir(exist_ok=True)
        (tmp_path / "tasks" / f"{name}.yaml").write_text(text)
    names = ",".join(f"small_{name}" for name in SPLITS)
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "lmms_eval", "--model", "pairuni"),
            *("--model_args", "checkpoint=tiny", "--batch_size", "16", "--tasks", names),
            *("--include_path", str(tmp_path / "tasks"), "--output_path", str(tmp_path / "out")),
            "--log_samples",
        ],
        cwd=tmp_path,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    (path,) = (tmp_path / "out").rglob("*_results.json")
    results = json.loads(path.read_text())["results"]
    print(ran.stdout[-1500:])
    assert results["small_mmstar"]["average,none"] == pytest.approx(0.25, abs=0.25)
    assert 0 <= results["small_pope_pop"]["pope_f1_score,none"] <= 1
