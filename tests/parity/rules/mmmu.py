"""Recorded MMMU cases as calls of ours."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from parity.rules import harness_prompts
from parity.rules.form import Given, Rule, json_of
from support.official_tables import SubjectAccuracy, mmmu_table, pooled

from pairuni_eval import prompts
from pairuni_eval.scorers import choice, vlmevalkit_rules


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
    # Upstream gives a bare figure, without verdicts, where there is nothing to judge.
    if not right:
        return {"acc": 0}
    said = {key: "Correct" if value else "Wrong" for key, value in right.items()}
    return [said, {"acc": sum(right.values()) / len(right)}]


def mmmu_pooled(given: Given, _: Path) -> Any:
    tallies = [SubjectAccuracy(one["acc"], one["num_example"]) for one in given["results"].values()]
    return pooled(tallies).accuracy


def mmmu_main(given: Given, folder: Path) -> Any:
    """The table of an output file: parsed letters, and raw texts of open questions."""
    golds = json_of(folder / given["answer_file"])
    right = {}
    for row, said in json_of(folder / given["output_file"]).items():
        gold = golds[row]
        closed = gold["question_type"] == "multiple-choice"
        parsed = said if closed else choice.open_candidates(said)
        answer = {"answer": gold["ground_truth"], "parsed_pred": parsed}
        right[row] = mmmu_verdict(answer | {"question_type": gold["question_type"]})
    return {
        name: {"num": tally.rows, "acc": round(tally.accuracy, 3)}
        for name, tally in mmmu_table(right).items()
    }


def mmmu_prompt(given: Given, _: Path) -> Any:
    options = ast.literal_eval(given["options"])
    if given["question_type"] != "multiple-choice":
        asked = prompts.mmmu_prompt(given["question"], ())
        return {"final_input_prompt": asked, "gt_content": given["answer"]}
    by_letter = prompts.lettered(options)
    return {
        "final_input_prompt": prompts.mmmu_prompt(given["question"], options),
        "all_choices": list(by_letter),
        "index2ans": by_letter,
        "gt_content": by_letter[given["answer"].upper()],
    }


def lmms_prompt(given: Given, _: Path) -> Any:
    closed = given["question_type"] == "multiple-choice"
    options = ast.literal_eval(given["options"]) if closed else ()
    text = harness_prompts.lmms_mmmu_prompt(given["question"], options)
    return {
        "doc_to_text": text,
        "visual_image_numbers": list(harness_prompts.lmms_mmmu_images(text)),
        "doc_to_messages": [
            {"type": "text", "text": part}
            if isinstance(part, str)
            else {"type": "image", "image_no": part}
            for part in harness_prompts.lmms_mmmu_parts(text)
        ],
    }


def lmms_choice(given: Given, _: Path) -> Any:
    letter = choice.lmms_mmmu_letter(given["response"], given["all_choices"], given["index2ans"])
    return letter or "RANDOM"


def vlmevalkit(given: Given, _: Path) -> Any:
    return vlmevalkit_rules.vlmevalkit_choice(given["response"], given["index2ans"]) or False


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
    "calculate_ins_level_acc": mmmu_pooled,
    "main_eval_only.py": mmmu_main,
    "construct_prompt": mmmu_prompt,
    "lmms_eval_mmmu_val_prompt": lmms_prompt,
}

# What the recordings also tell about the same input, under the other harnesses' names.
_OTHER_READINGS: dict[str, Rule] = {
    "lmms_eval_0.7.3": lmms_choice,
    "vlmevalkit_can_infer": vlmevalkit,
}
OTHERS: dict[str, dict[str, Rule]] = {
    "parse_multi_choice_response": _OTHER_READINGS,
    "parse_multi_choice_response_real": _OTHER_READINGS,
    "open_end_to_end": {"lmms_eval_0.7.3": mmmu_open},
    "open_end_to_end_real": {"lmms_eval_0.7.3": mmmu_open},
}
