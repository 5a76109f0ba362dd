"""Recorded GenEval 2 cases as calls of ours: questions with the probabilities of the next token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from parity.rules.form import Given, Rule

from pairuni_eval.scorers import soft_questions as rule

_ATOMS = range(3, 11)
_METHODS = ("soft_tifa_am", "soft_tifa_gm", "tifa", "vqascore")


def _asked(given: Given) -> list[str]:
    return [rule.question_of(question) for question, _ in given["vqa_list"]]


def soft_tifa(given: Given, _: Path) -> Any:
    values = [
        rule.mass(given["token_probs"][question], rule.official_tokens(question, answer))
        for question, answer in given["vqa_list"]
    ]
    score = rule.arithmetic_mean(values)
    return {"score": score, "score_list": values, "prompts": _asked(given)}


def tifa(given: Given, _: Path) -> Any:
    values = [
        int(rule.is_likeliest(given["token_probs"][question], question, answer))
        for question, answer in given["vqa_list"]
    ]
    score = rule.arithmetic_mean(values)
    return {"score": score, "score_list": values, "prompts": _asked(given)}


def vqa_score(given: Given, _: Path) -> Any:
    prompt = rule.question_of_prompt(given["prompt"])
    prompt.format(given["prompt"])  # upstream formats twice, and ends where that fails
    yes = rule.mass(given["token_probs"], rule.official_tokens(prompt, "Yes"))
    return {"score": yes, "prompt": prompt}


def by_skill(given: Given, _: Path) -> Any:
    pooled: dict[str, list[float]] = {skill: [] for skill in rule.SKILLS}
    for values, skills in zip(given["score_lists"], given["skills"], strict=True):
        for value, skill in zip(values, skills, strict=True):
            if skill not in pooled:
                raise Exception(skill)
            pooled[skill].append(value)
    return {skill: 100 * rule.arithmetic_mean(values) for skill, values in pooled.items()}


def by_atoms(given: Given, _: Path) -> Any:
    means: dict[int, list[float]] = {atoms: [] for atoms in _ATOMS}
    for values, atoms in zip(given["score_lists"], given["atom_counts"], strict=True):
        means[atoms].append(rule.geometric_mean(values))
    return {str(atoms): 100 * rule.arithmetic_mean(values) for atoms, values in means.items()}


def whole_run(given: Given, _: Path) -> Any:
    """The mean over prompts times 100, under one of the methods."""
    method = given["method"]
    if method not in _METHODS:
        raise SystemExit(method)
    scores = []
    for row in given["data"]:
        if row["prompt"] not in given["images"]:
            raise Exception(row["prompt"])
        asked = {"vqa_list": row["vqa_list"], "token_probs": given["token_probs"]}
        if method == "vqascore":
            seen = given["token_probs"][rule.question_of_prompt(row["prompt"])]
            scores.append(rule.mass(seen, rule.official_tokens("", "Yes")))
        elif method == "soft_tifa_gm":
            scores.append(rule.geometric_mean(soft_tifa(asked, Path())["score_list"]))
        else:
            scores.append((tifa if method == "tifa" else soft_tifa)(asked, Path())["score"])
    return {"score": 100 * rule.arithmetic_mean(scores)}


RULES: dict[str, Rule] = {
    "return_numeric_string": lambda given, _: rule.digits_of(given["number"]),
    "soft_tifa": soft_tifa,
    "tifa": tifa,
    "vqa_score": vqa_score,
    "per_skill_analysis": by_skill,
    "per_atomicity_analysis": by_atoms,
    "main": whole_run,
}
