"""UniGenBench++, DPG-Bench and GenEval 2 in one command, against numbers by hand.

Rows are made up in upstream's schema; the judge is a script behind an endpoint on loopback, which
tells the probabilities of its first token where it is asked for them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.http_server import Served, endpoint

from pairuni_eval.store.read import StoredRun

POINTS = {"Testpoints": ["Style", "Attribute - Color"], "Testpoint Description": ["ink", "red"]}
QUESTIONS = [
    ("filler", 1, "0", "entity - whole (x)", "Is there anything?"),
    ("fox", 1, "0", "entity - whole (fox)", "Is there a fox?"),
    ("fox", 2, "1", "attribute - color (fox, red)", "Is the fox red?"),
]
SOFT = {"prompt": "a lamp", "atom_count": 3, "skills": ["object", "count"]} | {
    "vqa_list": [["Is there a lamp?", "Yes"], ["How many lamps are there?", "one"]]
}
FIRST_TOKENS = {
    "Is there a lamp?": {"Yes": 1.0},
    "How many lamps are there?": {"one": 0.16, " ": 0.09},
    "Does this image": {"Yes": 0.7, "No": 0.3},
}
POINT_REPLY = "<analysis>['it's ink', 'red']</analysis><score>[1, 0]</score>"


def cell(text: object) -> str:
    return '"' + str(text).replace('"', '""') + '"'


def write(folder: Path) -> Path:
    for name in ("unigenbench", "dpg-bench", "geneval2"):
        (folder / name).mkdir(parents=True)
    points = f"0,a fox in ink,{cell(json.dumps(POINTS))}"
    (folder / "unigenbench/test_prompts_en.csv").write_text(
        f"index,prompt_en,sub_dims_en\n{points}\n"
    )
    head = "item_id,text,proposition_id,dependency,tuple,question_natural_language\n"
    lines = [
        ",".join(map(cell, (item, f"text of {item}", number, parents, about, question)))
        for item, number, parents, about, question in QUESTIONS
    ]
    (folder / "dpg-bench/dpg_bench.csv").write_text(head + "\n".join(lines) + "\n")
    (folder / "geneval2/geneval2_data.jsonl").write_text(json.dumps(SOFT) + "\n")
    return folder


def served(prompt: str, _: int) -> Served:
    for question, seen in FIRST_TOKENS.items():
        if prompt.startswith(question):
            listed = [{"token": t, "logprob": math.log(p)} for t, p in seen.items()]
            told = {"content": [{**listed[0], "top_logprobs": listed}]}
            choice = {"message": {"content": listed[0]["token"]}, "finish_reason": "length"}
            return Served(body=json.dumps({"choices": [{**choice, "logprobs": told}]}).encode())
    if prompt.startswith("You are a precise"):
        return Served(POINT_REPLY)
    return Served("No." if "red" in prompt else "Yes.")


@pytest.fixture
def judge(tmp_path: Path) -> Iterator[Path]:
    with endpoint(served) as running:
        path = tmp_path / "judge.toml"
        path.write_text(f'base_url = "{running.url}"\nsnapshot = "judge-1"\n')
        yield path


def test_one_command_ends_in_one_report(cli: Any, tmp_path: Path, judge: Path) -> None:
    Image.new("RGB", (32, 32), "orange").save(tmp_path / "drawn.png")
    script = tmp_path / "model.jsonl"
    script.write_text(json.dumps({"prompt": "*", "image": "drawn.png"}))
    names = "unigenbench,dpg-bench,geneval2"
    ran = cli(
        *("run", "--checkpoint", f"scripted:{script}", "--benchmarks", names),
        *("--data", write(tmp_path / "data"), "--judge", judge, "--device", "cpu"),
        *("--limit", 9, "--out", tmp_path / "run", "--report", tmp_path / "report"),
    )
    assert ran.code == 0, ran.out
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    found = {
        (name, protocol, metric): one["value"]
        for name, benchmark in summary["benchmarks"].items()
        for protocol, rule in benchmark["protocols"].items()
        for metric, one in rule["metrics"].items()
    }
    # An apostrophe loses every official verdict; repaired, style is right and color wrong.
    assert found["unigenbench", "official", "overall"] is None
    assert found["unigenbench", "repaired", "overall"] == pytest.approx(0.5)
    assert found["unigenbench", "repaired", "attribute_color"] == 0.0
    assert found["dpg-bench", "official", "score"] is None  # without mPLUG
    assert found["dpg-bench", "vlm", "score"] == pytest.approx((1 + 1 / 2) / 2)
    assert found["dpg-bench", "vlm", "attribute"] == 0.0
    assert found["geneval2", "official", "gm"] == pytest.approx(0.5)
    assert found["geneval2", "repaired", "gm"] == pytest.approx(0.4)
    assert found["geneval2", "vqascore", "vqascore"] == pytest.approx(0.7)
    scores = StoredRun(tmp_path / "run").scores
    skipped = scores[scores["protocol"].str.startswith("dpg-bench@official")]
    assert set(skipped["status"]) == {"skipped"}
    assert skipped["verdict"].str.contains("mPLUG").all()
    html = (tmp_path / "report" / "report.html").read_text()
    for title in ("UniGenBench++ (English)", "DPG-Bench", "GenEval 2"):
        assert title in html
