"""Recorded MMMU cases as calls of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from parity.rules.form import Given, Rule

from pairuni_eval import prompts
from pairuni_eval.scorers import choice


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


RULES: dict[str, Rule] = {
    "parse_multi_choice_response": mmmu_choice,
    "parse_multi_choice_response_real": mmmu_choice,
    "normalize_str": lambda given, _: choice.normalize_value(given["string"]),
    "extract_numbers": lambda given, _: choice.numbers_in(given["string"]),
    "parse_open_response": mmmu_open_set,
    "eval_open": lambda given, _: choice.open_correct(given["gold"], given["pred"]),
    "open_end_to_end": mmmu_open,
    "open_end_to_end_real": mmmu_open,
    "eval_multi_choice": lambda given, _: choice.choice_correct(given["gold"], given["pred"]),
    "evaluate": mmmu_evaluate,
    "construct_prompt": mmmu_prompt,
}
