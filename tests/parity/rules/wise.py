"""Recorded WISE cases as calls of ours.

The judge prompts have no license, so their cases can be compared in full only where the user's copy
of the repository is at hand: PAIRUNI_WISE names a checkout, or the scripts lie in `wise` beside the
golden folder. Without it only the length of the text is compared.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pairuni_registry.wise.judge_script import JudgePrompt, read_prompt
from parity.rules.form import Form, Given, Rule, same

from pairuni_eval.catalog import find_card, load_benchmark
from pairuni_eval.data import Data
from pairuni_eval.judges.judge import Judge, JudgeReply, Question
from pairuni_eval.records import Status
from pairuni_eval.scorers import rubric
from pairuni_eval.scorers.judge_calls import ask_until_read
from pairuni_eval.stats.aggregate import GradedRows, make_aggregate

_TEMPLATE_CHARS = {"wise": 3361, "wise-verified": 3413}  # without prompt and explanation
_RANGES = {"culture": ("CULTURE",), "space-time": ("TIME", "SPACE")} | {
    "science": ("BIOLOGY", "PHYSICS", "CHEMISTRY")
}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# Score files


class Edition(NamedTuple):
    """How the rows of an edition's score files are read."""

    name: str
    rule: rubric.Edition
    metric: str
    value: Callable[[Given], float | None]


def _legacy_value(row: Given) -> float | None:
    scores = [row.get(name) for name in rubric.WISE_CRITERIA]
    numeric = all(isinstance(score, int | float) for score in scores)
    return rubric.wiscore(*scores) if numeric else None


def _verified_value(row: Given) -> float | None:
    score = row.get("score")
    return float(score) if isinstance(score, int | float) and score in (0, 1) else None


LEGACY = Edition("wise", rubric.LEGACY, "wiscore", _legacy_value)
VERIFIED = Edition("wise-verified", rubric.VERIFIED, "correct", _verified_value)


def _score_rows(path: Path) -> Iterator[Given]:
    """The rows with an integer id; other lines are passed over with a warning upstream."""
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row.get("prompt_id"), int):
            yield row


def _asked_ids(category: str, edition: Edition) -> set[int]:
    names = _RANGES.get(category, tuple(edition.rule.weights))
    return {i for i in range(1, 1001) if rubric.wise_category(i, edition.rule) in names}


def _overall(values: dict[str, list[float]], edition: Edition) -> float:
    """The card's headline over these values."""
    spec = find_card(edition.name).protocols["official"].metric("overall")
    flat = [(value, name) for name, group in values.items() for value in group]
    column = np.array([name for _, name in flat], dtype=object)
    rows = GradedRows(
        np.array([value for value, _ in flat]),
        np.arange(len(flat)),
        np.zeros(len(flat), dtype=np.int64),
        {"category": column},
    )
    aggregate = make_aggregate(spec, rows)
    return float(aggregate.finish(aggregate.features(rows).sum(axis=0)))


def _calculate(edition: Edition, given: Given, folder: Path) -> Given:
    category = dict(zip(given["args"][::2], given["args"][1::2], strict=True)).get("--category")
    wanted = _asked_ids(category or "all", edition)
    values: dict[str, list[float]] = {}
    seen: set[int] = set()
    for name in given["score_files"]:
        rows = list(_score_rows(folder / name))
        ids = {row["prompt_id"] for row in rows}
        if category not in (None, "all") and len(given["score_files"]) == 1 and wanted - ids:
            continue  # a single file must cover what is asked
        seen |= ids
        for row in rows:
            group, value = rubric.wise_category(row["prompt_id"], edition.rule), edition.value(row)
            if group and value is not None:
                values.setdefault(group, []).append(value)
    complete = category in (None, "all") and not wanted - seen
    whole = set(values) == set(edition.rule.weights)
    return {
        "means": {name: sum(group) / len(group) for name, group in values.items()},
        "counts": {name: len(group) for name, group in values.items()},
        "overall": f"{_overall(values, edition):.2f}" if complete and whole else None,
    }


def _calculated(expected: Given) -> Given:
    printed = re.search(r"^Overall WiScore: ([\d.]+)$", expected["stdout"], re.MULTILINE)
    return {
        "means": expected["category_means_full_precision"],
        "counts": expected["category_counts"],
        "overall": printed.group(1) if printed else None,
    }


# Judge prompts


def _prompt(script: str, folder: Path) -> JudgePrompt | None:
    given = os.environ.get("PAIRUNI_WISE")
    places = [Path(given), Path(given) / "WISE_legacy"] if given else []
    found = [place / script for place in [*places, folder.parent / "wise"]]
    return next((read_prompt(path) for path in found if path.is_file()), None)


class JudgeText(NamedTuple):
    """Facts about a judge prompt; what one side cannot know is None and not compared."""

    chars: int
    sha256: str | None
    system_sha256: str | None

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, JudgeText)
        return all(a == b for a, b in zip(self, other, strict=True) if None not in (a, b))

    def __hash__(self) -> int:
        return hash(self.chars)


def _judge_text(name: str, script: str, given: Given, folder: Path) -> JudgeText:
    fields = (given["Prompt"], given["Explanation"])
    prompt = _prompt(script, folder)
    if prompt is None:
        return JudgeText(_TEMPLATE_CHARS[name] + sum(map(len, fields)), None, None)
    text = prompt.fill(*fields)
    return JudgeText(len(text), _sha256(text), _sha256(prompt.system))


def _told(expected: Given) -> JudgeText:
    return JudgeText(
        expected["user_text_chars"],
        expected["user_text_sha256"],
        expected.get("system_text_sha256"),
    )


# Asking


class Scripted(Judge):
    """Gives the recorded replies in order; None is a failed call."""

    snapshot = "scripted"

    def __init__(self, replies: list[str | None]) -> None:
        self.calls = 0
        self._replies = replies

    def ask(self, questions: Any) -> list[JudgeReply]:
        verdicts = []
        for _ in questions:
            reply = self._replies[self.calls] if self.calls < len(self._replies) else None
            failed = JudgeReply("no reply", Status.JUDGE_FAILED)
            verdicts.append(failed if reply is None else JudgeReply(reply))
            self.calls += 1
        return verdicts


def _asked_with() -> Given:
    spec = find_card("wise").judge
    assert spec is not None
    return {
        "model": spec.snapshot,
        "temperature": spec.temperature,
        "max_tokens": spec.max_tokens,
    }


_ASKED_WITH = _asked_with()


def evaluate_image(given: Given, folder: Path) -> Given:
    judge = Scripted(given["judge_replies (null = API error)"])
    (reply,) = ask_until_read(judge, [Question("", (), {})], rubric.wise_is_complete, tries=3)
    marks = {mark.metric: mark.value for mark in rubric.wise_marks(reply)}
    read = marks["wiscore"] is not None
    row = {"prompt_id": given["prompt_id"], "Subcategory": _subcategory(given, folder)}
    return {
        "status": "ok" if read else "extract_fail",
        "score": row | {name: marks[name] for name in rubric.WISE_CRITERIA} if read else None,
        "calls": judge.calls,
        "call_args": _ASKED_WITH,
    }


def _subcategory(given: Given, folder: Path) -> str:
    benchmark = load_benchmark("wise")
    data = Data(benchmark.card, benchmark.folder, folder.parent)
    wanted = str(given["prompt_id"])
    return next(
        item.sample.tags["subcategory"]
        for item in benchmark.samples(data)
        if item.sample.key == wanted
    )


def _evaluated(expected: Given) -> Given:
    """Upstream's record; without a score it has less in it."""
    ours = {"status": expected["status"], "score": expected.get("score")}
    calls = {"calls": expected["calls"], "call_args": expected.get("call_args") or _ASKED_WITH}
    return ours | calls


def _verified_scores(text: str) -> dict[str, float]:
    score = rubric.verified_score(text)
    return {} if score is None else {"score": score}


RULES: dict[str, Rule] = {
    "legacy_extract_scores": lambda given, _: rubric.wise_scores(given["text"]),
    "legacy_calculate_wiscore": lambda given, _: rubric.wiscore(**given),
    "legacy_calculate": lambda given, folder: _calculate(LEGACY, given, folder),
    "legacy_judge_text": lambda given, folder: _judge_text("wise", "gpt_eval.py", given, folder),
    "legacy_evaluate_image": evaluate_image,
    "verified_extract_scores": lambda given, _: _verified_scores(given["text"]),
    "verified_calculate": lambda given, folder: _calculate(VERIFIED, given, folder),
    "verified_judge_text": lambda given, folder: _judge_text(
        "wise-verified", "vllm_eval.py", given, folder
    ),
}

OTHERS: dict[str, dict[str, Rule]] = {
    "legacy_extract_scores": {
        "lmms_eval_0.7.3": lambda given, _: rubric.wise_scores(given["text"]),
        "complete (all three keys)": lambda given, _: rubric.wise_is_complete(given["text"]),
    },
}

FORMS: dict[str, Form] = {
    "legacy_calculate": (_calculated, same),
    "verified_calculate": (_calculated, same),
    "legacy_evaluate_image": (_evaluated, same),
    "legacy_judge_text": (_told, same),
    "verified_judge_text": (_told, same),
}
