"""Recorded ImgEdit cases as calls of ours. The user's files lie in `imgedit` beside the folder."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from msgspec import structs
from parity.rules.form import Given, Rule, json_of
from support.official_tables import imgedit_type_means

from pairuni_eval.benchmark import Answer
from pairuni_eval.catalog import load_benchmark
from pairuni_eval.data import Data
from pairuni_eval.judges.judge import Judge, JudgeReply, Question
from pairuni_eval.records import ImagePart, Item, Output
from pairuni_eval.scorers import rubric


def _averages(results: Given) -> dict[str, float]:
    scores = {key: rubric.imgedit_score(reply) for key, reply in results.items()}
    return {key: score for key, score in scores.items() if score is not None}


def _edit_types(path: Path) -> dict[str, str]:
    return {key: row["edit_type"] for key, row in json_of(path).items()}


def imgedit_types(given: Given, folder: Path) -> Any:
    return imgedit_type_means(given["scores"], _edit_types(folder / given["meta"]))


def imgedit_both(given: Given, folder: Path) -> Any:
    scores = _averages(json_of(folder / given["result_json"]))
    means = imgedit_type_means(scores, _edit_types(folder / given["basic_edit"]))
    overall = sum(means.values()) / len(means)
    name = "mean_of_type_scores (leaderboard Overall is the mean of the nine, not printed by the"
    return {"n_scored": len(scores), "typescore": means, f"{name} code)": overall}


def lmms_average(given: Given, folder: Path) -> float:
    """The mean over all edits, what cannot be read as 0."""
    scores = [
        mark.value
        for reply in json_of(folder / given["result_json"]).values()
        for mark in rubric.imgedit_marks(JudgeReply(reply), "lmms-eval")
    ]
    known = [score for score in scores if score is not None]
    assert len(known) == len(scores)
    return sum(known) / len(known)


class _Eavesdropper(Judge):
    """Keeps the last question."""

    snapshot = "eavesdropper"
    heard: Question

    def ask(self, questions: Any) -> list[JudgeReply]:
        (self.heard,) = questions
        return [JudgeReply("")]


def _asked(given: Given, folder: Path) -> tuple[Item, Question]:
    """The recorded edit and the question that our benchmark asks about an edit of it."""
    from PIL import Image

    benchmark = load_benchmark("imgedit")
    data = Data(benchmark.card, benchmark.folder, folder.parent)
    benchmark.equip(data, device="cpu")
    item = next(i for i in benchmark.samples(data) if i.sample.key == given["key"])
    # Its picture is not at hand; what the judge is asked does not depend on it.
    parts = tuple(
        ImagePart(part.image) if isinstance(part, ImagePart) else part for part in item.sample.parts
    )
    item = structs.replace(item, sample=structs.replace(item.sample, parts=parts))
    original, edited = Image.new("RGB", (4, 2)), Image.new("RGB", (3, 3))
    output = Output(
        id="o", sample="s", draw=0, seed=0, decoding="d", parts=(ImagePart("edited image"),)
    )
    shelf = {"edited image": edited, **dict.fromkeys(item.sample.images, original)}
    judge = _Eavesdropper()
    answer = Answer(item.sample, output, shelf.__getitem__)
    list(benchmark.score([answer], protocol="official", judge=judge))
    return item, judge.heard


def judge_prompt(given: Given, folder: Path) -> Any:
    item, question = _asked(given, folder)
    names = {(4, 2): "original image", (3, 3): "edited image"}
    return {
        "sha256": hashlib.sha256(question.prompt.encode()).hexdigest(),
        "chars": len(question.prompt),
        "content_order": ["text", *(names[image.size] for image in question.images)],
        "result_image_name": f"{item.sample.key}.png",
    }


def dataset_counts(_: Given, folder: Path) -> Any:
    benchmark = load_benchmark("imgedit")
    data = Data(benchmark.card, benchmark.folder, folder.parent)
    samples = [item.sample for item in benchmark.samples(data)]
    types = [sample.tags["edit_type"] for sample in samples]
    return {
        "n": len(samples),
        "types": {name: types.count(name) for name in types},
        "n_images": len({sample.reference["source"] for sample in samples}),
        "prompt_types": sorted(json_of(folder.parent / "imgedit" / "judge_prompts.json")),
    }


def _read_by_lmms(given: Given, _: Path) -> list[float]:
    return list(rubric.lmms_imgedit_scores(given["entry"]) or (0.0, 0.0, 0.0))


RULES: dict[str, Rule] = {
    "extract_scores_and_average": lambda given, _: rubric.imgedit_score(given["entry"]),
    "compute_averages": lambda given, _: _averages(given["results"]),
    "compute_edit_type_averages": imgedit_types,
    "step1+step2": imgedit_both,
    "judge_prompt": judge_prompt,
    "dataset_counts": dataset_counts,
}

OTHERS: dict[str, dict[str, Rule]] = {
    "extract_scores_and_average": {
        "lmms_eval_0.7.3_parse_gpt_scores": _read_by_lmms,
        "lmms_eval_avg": lambda given, _: rubric.lmms_imgedit_score(given["entry"]) or 0.0,
    },
    "step1+step2": {"lmms_eval_0.7.3_imgedit_avg_score_micro": lmms_average},
}
