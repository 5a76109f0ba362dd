"""MMMU's thirty subjects in six disciplines, and the table of accuracies that it prints of them.

Every figure is a share of rows, so a discipline weighs its subjects by the rows that were answered:
over the complete validation split, with thirty rows a subject, that is their mean.
Source: MMMU-Benchmark/MMMU, `mmmu/utils/data_utils.py` and `mmmu/main_eval_only.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

MMMU_DISCIPLINES: dict[str, tuple[str, ...]] = {
    "Art and Design": ("Art", "Art_Theory", "Design", "Music"),
    "Business": ("Accounting", "Economics", "Finance", "Manage", "Marketing"),
    "Science": ("Biology", "Chemistry", "Geography", "Math", "Physics"),
    "Health and Medicine": (
        "Basic_Medical_Science",
        "Clinical_Medicine",
        "Diagnostics_and_Laboratory_Medicine",
        "Pharmacy",
        "Public_Health",
    ),
    "Humanities and Social Science": ("History", "Literature", "Sociology", "Psychology"),
    "Tech and Engineering": (
        "Agriculture",
        "Architecture_and_Engineering",
        "Computer_Science",
        "Electronics",
        "Energy_and_Power",
        "Materials",
        "Mechanical_Engineering",
    ),
}


def mmmu_subject(row: str) -> str:
    """The subject in a row's id: "Art_Theory" for "validation_Art_Theory_3"."""
    return "_".join(row.split("_")[1:-1])


class SubjectAccuracy(NamedTuple):
    """Accuracy over `rows` rows; 0 where there is none."""

    accuracy: float
    rows: int


def pooled(tallies: Iterable[SubjectAccuracy]) -> SubjectAccuracy:
    """The accuracy over all rows of several tallies (official `calculate_ins_level_acc`)."""
    held = list(tallies)
    rows = sum(tally.rows for tally in held)
    total = sum(tally.accuracy * tally.rows for tally in held)
    return SubjectAccuracy(total / rows if rows else 0, rows)


def mmmu_table(right: Mapping[str, bool]) -> dict[str, SubjectAccuracy]:
    """Accuracy by subject, by discipline ("Overall-NAME") and overall ("Overall").

    As `main_eval_only.py` prints it before rounding to three decimals: only the rows that were
    answered count, subjects without any are not in the table, rows of no known subject neither.

    Args:
        right: Whether the answer is right, by the row's id.
    """
    by_subject: dict[str, list[bool]] = {}
    for row, value in right.items():
        by_subject.setdefault(mmmu_subject(row), []).append(value)
    tallies = {
        name: SubjectAccuracy(sum(got) / len(got), len(got)) for name, got in by_subject.items()
    }
    table: dict[str, SubjectAccuracy] = {}
    for discipline, subjects in MMMU_DISCIPLINES.items():
        inside = {name: tallies[name] for name in subjects if name in tallies}
        table |= {f"Overall-{discipline}": pooled(inside.values())} | inside
    known = sorted(name for subjects in MMMU_DISCIPLINES.values() for name in subjects)
    return table | {"Overall": pooled(tallies[name] for name in known if name in tallies)}
