"""Our rules against recorded official scores: every case of every rule that we have.

`RULES` maps (benchmark, function) of the recorded cases to an adapter that turns the recorded input
into a call of ours. Status: `ok` must agree, floats to 1e-9; `raises` must raise the recorded
exception; `random` must be seen as "no answer" (None), for official code draws a number there.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pairuni_eval import prompts
from pairuni_eval.scorers import choice, objects, rubric, yes_no

Given = dict[str, Any]
Rule = Callable[[Given, Path], Any]


def _lines(path: Path) -> list[Given]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


# MMMU


def mmmu_choice(given: Given, _: Path) -> Any:
    return choice.mmmu_letter(given["response"], given["all_choices"], given["index2ans"])


def mmmu_open_set(given: Given, _: Path) -> Any:
    return {"set": choice.open_candidates(given["response"])}


def mmmu_open(given: Given, _: Path) -> Any:
    return choice.open_correct(given["gold"], choice.open_candidates(given["response"]))


def mmmu_verdict(row: Given) -> bool:
    if row["question_type"] == "multiple-choice":
        return choice.choice_correct(row["answer"], row["parsed_pred"])
    return choice.open_correct(row["answer"], row["parsed_pred"])


def mmmu_evaluate(given: Given, _: Path) -> Any:
    right = {row["id"]: mmmu_verdict(row) for row in given["samples"]}
    share = sum(right.values()) / len(right) if right else 0
    said = {key: "Correct" if value else "Wrong" for key, value in right.items()}
    return [said, {"acc": share}]


def mmmu_prompt(given: Given, _: Path) -> Any:
    import ast

    options = ast.literal_eval(given["options"])
    letters = [chr(65 + number) for number in range(len(options))]
    by_letter = dict(zip(letters, options, strict=True))
    expected = {"final_input_prompt": prompts.mmmu_prompt(given["question"], options)}
    if given["question_type"] != "multiple-choice":
        return expected | {"gt_content": given["answer"]}
    known = {"all_choices": letters, "index2ans": by_letter}
    return expected | known | {"gt_content": by_letter[given["answer"]]}


# MMStar


def mmstar_files(given: Given, folder: Path) -> Any:
    rows = _lines(folder / given["rows_file"])
    right = [choice.mmstar_correct(str(row["prediction"]), str(row["answer"])) for row in rows]
    table = {"final score": sum(right) / 1500}
    for name in {row["category"] for row in rows}:
        inside = [ok for ok, row in zip(right, rows, strict=True) if row["category"] == name]
        table[name] = sum(inside) / 250
    for pair in {(row["category"], row["l2_category"]) for row in rows}:
        inside = [
            ok
            for ok, row in zip(right, rows, strict=True)
            if (row["category"], row["l2_category"]) == pair
        ]
        table[f"{pair[0]}({pair[1]})"] = sum(inside) / len(inside)
    # Upstream divides by the number of rows of each of its eighteen sub-categories.
    if len(table) < 1 + 6 + 18:
        raise ZeroDivisionError("a sub-category without rows")
    return table


def mmstar_by_lmms(given: Given, folder: Path) -> Any:
    """lmms-eval's figures: means over sub-categories, within a category and over all of them."""
    hits: dict[tuple[str, str], list[bool]] = {}
    for row in _lines(folder / given["rows_file"]):
        right = choice.lmms_letter(str(row["prediction"])) == str(row["answer"]).strip().upper()
        hits.setdefault((row["category"], row["l2_category"]), []).append(right)
    means = {pair: sum(found) / len(found) for pair, found in hits.items()}
    table = {"average": sum(means.values()) / len(means)}
    for name in {category for category, _ in means}:
        inside = [mean for (category, _), mean in means.items() if category == name]
        table[name] = sum(inside) / len(inside)
    return table


# POPE


def pope_table(labels: list[str], said: list[str]) -> Given:
    counts = yes_no.confusion(labels, said)
    return {
        "TP": counts.tp,
        "FP": counts.fp,
        "TN": counts.tn,
        "FN": counts.fn,
        "accuracy": counts.accuracy,
        "precision": counts.precision,
        "recall": counts.recall,
        "f1": counts.f1,
        "yes_ratio": said.count("yes") / len(said),
    }


def pope_evaluate(given: Given, _: Path) -> Any:
    return pope_table(given["labels"], [yes_no.pope_label(text) for text in given["answers"]])


def pope_splits(given: Given, folder: Path) -> Any:
    tables = {}
    for split, path in given["answer_files"].items():
        labels = [row["label"] for row in _lines(folder / given["label_files"][split])]
        said = [yes_no.pope_label(row["answer"]) for row in _lines(folder / path)]
        tables[split] = pope_table(labels, said)
    mean = sum(table["f1"] for table in tables.values()) / len(tables)
    return tables | {"mean_of_three_f1 (what LLaVA-style papers report)": mean}


def _pope_rows(given: Given, folder: Path) -> Iterator[tuple[str, str]]:
    """Gold label and answer of every row of the three splits."""
    for split, path in given["answer_files"].items():
        labels = [row["label"] for row in _lines(folder / given["label_files"][split])]
        said = [row["answer"] for row in _lines(folder / path)]
        yield from zip(labels, said, strict=True)


def pope_by_lmms(given: Given, folder: Path) -> Any:
    """Over all rows; an answer that is not exactly yes or no is in none of the four counts."""
    rows = [(label, yes_no.lmms_pope_label(text)) for label, text in _pope_rows(given, folder)]
    read = [(label, said) for label, said in rows if said]
    counts = yes_no.confusion([label for label, _ in read], [said for _, said in read])
    return {
        "pope_accuracy": sum(label == said for label, said in rows) / len(rows),
        "pope_precision": counts.precision,
        "pope_recall": counts.recall,
        "pope_f1_score": counts.f1,
        # lmms-eval takes this share from the gold labels.
        "pope_yes_ratio": sum(label == "yes" for label, _ in rows) / len(rows),
    }


def pope_by_vlmevalkit(given: Given, folder: Path) -> Any:
    """Over all rows, in per cent; what is neither yes nor no counts as not yes, and as wrong."""
    rows = [(label, yes_no.vlmevalkit_label(text)) for label, text in _pope_rows(given, folder)]
    counts = yes_no.confusion(
        [label for label, _ in rows], ["yes" if said == "yes" else "no" for _, said in rows]
    )
    return {
        "Overall": 100 * counts.f1,
        "acc": 100 * sum(label == said for label, said in rows) / len(rows),
        "precision": 100 * counts.precision,
        "recall": 100 * counts.recall,
    }


# MME


def mme_files(given: Given, folder: Path) -> Any:
    rows = [
        yes_no.MmeRow(row["task"], row["image"], row["gt"], str(row["pred"]))
        for row in _lines(folder / given["rows_file"])
    ]
    table = yes_no.mme_table(rows)
    perception, cognition = table.totals
    return {
        "Perception": {"tasks": table.perception, "total": perception},
        "Cognition": {"tasks": table.cognition, "total": cognition},
    }


# GenEval


def _as_objects(detections: Given) -> objects.Objects:
    import numpy as np

    return {
        name: [
            objects.Found(np.asarray(row[:4], dtype=float), row[4], index)
            for index, row in enumerate(rows)
        ]
        for name, rows in detections.items()
    }


def _colors(detections: Given) -> objects.ColorOf:
    return lambda name, found: [detections[name][thing.place][5] for thing in found]


def geneval_position(given: Given, _: Path) -> Any:
    held = objects.relative_position(
        given["box_a"], given["box_b"], threshold=given["position_threshold"]
    )
    return sorted(held)


def geneval_evaluate(given: Given, _: Path) -> Any:
    found = given["objects"]
    verdict = objects.evaluate(given["metadata"], _as_objects(found), _colors(found))
    return verdict._asdict()


_OPTIONS = {"max_overlap": float, "max_objects": int} | dict.fromkeys(
    ("threshold", "counting_threshold", "position_threshold"), float
)


def geneval_image(given: Given, _: Path) -> Any:
    options = {key: _OPTIONS[key](value) for key, value in given["options"].items()}
    limits = objects.Limits(**options)
    metadata, found = given["metadata"], given["detections"]
    kept = objects.keep(found, tag=metadata["tag"], limits=limits)
    verdict = objects.evaluate(metadata, kept, _colors(found), limits=limits)
    details = {
        name: [[*thing.box.tolist(), thing.score] for thing in things]
        for name, things in kept.items()
    }
    return verdict._asdict() | {"details": details}


def geneval_bulk(given: Given, folder: Path) -> Any:
    prompt_rows = _lines(folder / given["metadata_file"])
    lines = _lines(folder / given["detections_file"].split(" ")[0])
    right = 0
    for line in lines:
        metadata = prompt_rows[line["prompt_index"]]
        sight = objects.Sight(line["detections"], _colors(line["detections"]))
        verdict = objects.judge(metadata, sight)
        assert verdict.correct == line["correct"], line
        assert _reason(verdict.reason) == _reason(line["reason"]), line
        right += verdict.correct
    return {"n": len(lines), "n_correct": right}


def geneval_summary(given: Given, folder: Path) -> Any:
    rows = _lines(folder / given["results_file"])
    total = objects.summarize(
        objects.Graded(row["tag"], row["metadata"], row["correct"]) for row in rows
    )
    tasks = [
        f"{tag:<16} = {right / count:.2%} ({right} / {count})\n"
        for tag, (right, count) in total.tasks.items()
    ]
    text = (
        f"Summary\n=======\nTotal images: {total.images}\nTotal prompts: {total.prompts}\n"
        f"% correct images: {total.image_share:.2%}\n"
        f"% correct prompts: {total.prompt_share:.2%}\n\n"
        f"Task breakdown\n==============\n{''.join(tasks)}\n"
        f"Overall score (avg. over tasks): {total.overall:.5f}\n"
    )
    return {"stdout": text}


def _reason(text: str) -> Any:
    """A position's relations are joined in the order of a Python set: compare them as a set."""
    lines = []
    for line in text.split("\n"):
        head, found, tail = line.rpartition(", found ")
        if found and tail.endswith("target"):
            lines.append((head, frozenset(tail.removesuffix("target").strip().split(" and "))))
        else:
            lines.append((line, frozenset()))
    return lines


# WISE and ImgEdit


def wise_calculate(given: Given, folder: Path) -> Any:
    groups: dict[str, list[float]] = {}
    seen = set()
    for row in (row for name in given["score_files"] for row in _lines(folder / name)):
        seen.add(row["prompt_id"])
        category = rubric.wise_category(row["prompt_id"])
        values = [row.get(name) for name in rubric.WISE_CRITERIA]
        if category and all(isinstance(value, int | float) for value in values):
            groups.setdefault(category, []).append(rubric.wiscore(*values))
    means = {name: sum(values) / len(values) for name, values in groups.items()}
    wants_all = given["args"] in ([], ["--category", "all"])
    complete = seen >= set(range(1, 1001)) and set(means) == set(rubric.WISE_WEIGHTS)
    return {
        "means": means,
        "counts": {name: len(values) for name, values in groups.items()},
        "overall": f"{rubric.wise_overall(means):.2f}" if wants_all and complete else None,
    }


def wise_calculated(expected: Given) -> Given:
    printed = re.search(r"^Overall WiScore: ([\d.]+)$", expected["stdout"], re.MULTILINE)
    return {
        "means": expected["category_means_full_precision"],
        "counts": expected["category_counts"],
        "overall": printed.group(1) if printed else None,
    }


def imgedit_averages(given: Given, _: Path) -> Any:
    scores = {key: rubric.imgedit_score(reply) for key, reply in given["results"].items()}
    return {key: score for key, score in scores.items() if score is not None}


def _edit_types(path: Path) -> dict[str, str]:
    return {key: row["edit_type"] for key, row in _json(path).items()}


def imgedit_types(given: Given, folder: Path) -> Any:
    return rubric.imgedit_type_means(given["scores"], _edit_types(folder / given["meta"]))


def imgedit_both(given: Given, folder: Path) -> Any:
    scores = imgedit_averages({"results": _json(folder / given["result_json"])}, folder)
    means = rubric.imgedit_type_means(scores, _edit_types(folder / given["basic_edit"]))
    overall = sum(means.values()) / len(means)
    name = "mean_of_type_scores (leaderboard Overall is the mean of the nine, not printed by the"
    return {"n_scored": len(scores), "typescore": means, f"{name} code)": overall}


RULES: dict[tuple[str, str], Rule] = {
    ("mmmu", "parse_multi_choice_response"): mmmu_choice,
    ("mmmu", "parse_multi_choice_response_real"): mmmu_choice,
    ("mmmu", "normalize_str"): lambda given, _: choice.normalize_value(given["string"]),
    ("mmmu", "extract_numbers"): lambda given, _: choice.numbers_in(given["string"]),
    ("mmmu", "parse_open_response"): mmmu_open_set,
    ("mmmu", "eval_open"): lambda given, _: choice.open_correct(given["gold"], given["pred"]),
    ("mmmu", "open_end_to_end"): mmmu_open,
    ("mmmu", "open_end_to_end_real"): mmmu_open,
    ("mmmu", "eval_multi_choice"): lambda given, _: choice.choice_correct(
        given["gold"], given["pred"]
    ),
    ("mmmu", "evaluate"): mmmu_evaluate,
    ("mmmu", "construct_prompt"): mmmu_prompt,
    ("mmstar", "single_row_correct"): lambda given, _: choice.mmstar_correct(
        str(given["prediction"]), str(given["answer"])
    ),
    ("mmstar", "MMStar_eval"): mmstar_files,
    ("pope", "answer_to_label"): lambda given, _: yes_no.pope_label(given["answer"]),
    ("pope", "evaluate.py"): pope_evaluate,
    ("pope", "coco_three_splits"): pope_splits,
    ("mme", "parse_pred_ans"): lambda given, _: yes_no.mme_label(given["prediction"]) or "other",
    ("mme", "process_result"): mme_files,
    ("geneval", "relative_position"): geneval_position,
    ("geneval", "compute_iou"): lambda given, _: objects.intersection_over_union(
        given["box_a"], given["box_b"]
    ),
    ("geneval", "evaluate"): geneval_evaluate,
    ("geneval", "evaluate_image"): geneval_image,
    ("geneval", "evaluate_image_bulk"): geneval_bulk,
    ("geneval", "object_names"): lambda _given, _: list(objects.OBJECT_NAMES),
    ("geneval", "summary_scores.py"): geneval_summary,
    ("geneval", "main_file_selection"): lambda given, _: [
        path for path in given["tree"] if objects.is_sample_file(path)
    ],
    ("wise", "legacy_extract_scores"): lambda given, _: rubric.wise_scores(given["text"]),
    ("wise", "legacy_calculate_wiscore"): lambda given, _: rubric.wiscore(**given),
    ("wise", "legacy_calculate"): wise_calculate,
    ("imgedit", "extract_scores_and_average"): lambda given, _: rubric.imgedit_score(
        given["entry"]
    ),
    ("imgedit", "compute_averages"): imgedit_averages,
    ("imgedit", "compute_edit_type_averages"): imgedit_types,
    ("imgedit", "step1+step2"): imgedit_both,
}

# What else the recordings tell about the same input, under the other harnesses' names.
OTHERS: dict[tuple[str, str], dict[str, Rule]] = {
    ("mmstar", "single_row_correct"): {
        "lmms_eval_letter": lambda given, _: choice.lmms_letter(str(given["prediction"])) or "",
    },
    ("mmstar", "MMStar_eval"): {"lmms_eval_0.7.3": mmstar_by_lmms},
    ("pope", "coco_three_splits"): {
        "lmms_eval_0.7.3_pope_all_9000": pope_by_lmms,
        "vlmevalkit_POPE_rating_exploded_9000": lambda given, folder: {
            "Overall": pope_by_vlmevalkit(given, folder)
        },
    },
    ("pope", "answer_to_label"): {
        "lmms_eval_counts_as_correct_if_gold_no": lambda given, _: (
            yes_no.lmms_pope_label(given["answer"]) == "no"
        ),
        "vlmevalkit": lambda given, _: (
            yes_no.vlmevalkit_label(given["answer"]) or "Unknown"
        ).capitalize(),
    },
    ("mme", "parse_pred_ans"): {
        "lmms_eval_0.7.3": lambda given, _: yes_no.lmms_mme_label(given["prediction"]) or "other",
        "vlmevalkit_YOrN_Extraction": lambda given, _: (
            yes_no.vlmevalkit_label(given["prediction"]) or "Unknown"
        ).capitalize(),
    },
}


def agree(ours: Any, theirs: Any) -> bool:
    """Equal values; floats to 1e-9, recorded sets and non-finite numbers as what they stand for."""
    if isinstance(theirs, dict) and set(theirs) == {"__float__"}:
        theirs = float(theirs["__float__"])
    if isinstance(theirs, dict) and set(theirs) == {"set"}:
        return _as_set(ours["set"]) == _as_set(theirs["set"])
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return set(ours) == set(theirs) and all(agree(ours[key], theirs[key]) for key in theirs)
    if isinstance(theirs, list) and isinstance(ours, list):
        return len(ours) == len(theirs) and all(map(agree, ours, theirs))
    if isinstance(theirs, float) and isinstance(ours, int | float):
        both_nan = math.isnan(ours) and math.isnan(theirs)
        return both_nan or ours == theirs or math.isclose(ours, theirs, rel_tol=0, abs_tol=1e-9)
    return type(ours) is type(theirs) and ours == theirs


def _as_set(values: list[Any]) -> set[str]:
    plain = [
        float(v["__float__"]) if isinstance(v, dict) and "__float__" in v else v for v in values
    ]
    return {repr(float(v)) if isinstance(v, int | float) else repr(v) for v in plain}


def _plain(value: Any) -> Any:
    """Recorded numbers inside an input that have no JSON form."""
    if isinstance(value, dict):
        if set(value) == {"__float__"}:
            return float(value["__float__"])
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def _expected(case: Given) -> tuple[Any, Callable[[Any], Any]]:
    """What was recorded, and how our answer is brought into its form."""
    expected = case["expected"]
    if case["fn"] == "legacy_calculate":
        return wise_calculated(expected), lambda ours: ours
    if case["benchmark"] == "geneval" and isinstance(expected, dict) and "reason" in expected:
        fold = _fold_reason
        return fold(expected), fold
    if case["benchmark"] == "geneval" and case["fn"] in ("relative_position", "object_names"):
        return expected, list
    return expected, lambda ours: ours


def _fold_reason(verdict: Given) -> Given:
    return verdict | {"reason": str(sorted(map(str, _reason_parts(verdict["reason"]))))}


def _reason_parts(text: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(head, tuple(sorted(words))) for head, words in _reason(text)]


def test_agrees_with_the_recorded_official_score(case: Given, golden: Path) -> None:
    rule = RULES[case["benchmark"], case["fn"]]
    given = _plain(case["input"])
    if case["status"] == "raises":
        with pytest.raises(Exception) as caught:
            rule(given, golden)
        assert type(caught.value).__name__ == case["expected"]["exception"]
        return
    ours = rule(given, golden)
    if case["status"] == "random":
        assert ours is None, "official code guesses here; ours must find no answer"
        return
    expected, fold = _expected(case)
    assert agree(fold(ours), expected), f"ours {ours!r}, official {case['expected']!r}"


def test_agrees_with_other_harnesses(told: Given, golden: Path) -> None:
    rules = OTHERS[told["benchmark"], told["fn"]]
    for name in rules.keys() & told.get("also", {}).keys():
        ours, theirs = rules[name](told["input"], golden), told["also"][name]
        if isinstance(theirs, dict):
            theirs = {key: theirs[key] for key in ours}
        assert agree(ours, theirs), f"{name}: ours {ours!r}, theirs {theirs!r}"


def test_rule_is_there(missing: tuple[str, str]) -> None:
    pytest.skip(f"{'/'.join(missing)}: not implemented yet")


def test_recorded_scores_are_at_hand(golden: Path) -> None:
    assert golden.is_dir()
