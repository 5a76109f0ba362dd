"""Recorded MME cases as calls of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from parity.rules.form import Given, Rule, lines_of

from pairuni_eval.scorers import yes_no


def mme_files(given: Given, folder: Path) -> Any:
    rows = [
        yes_no.MmeRow(row["task"], row["image"], row["gt"], str(row["pred"]))
        for row in lines_of(folder / given["rows_file"])
    ]
    table = yes_no.mme_table(rows)
    perception, cognition = table.totals
    return {
        "Perception": {"tasks": table.perception, "total": perception},
        "Cognition": {"tasks": table.cognition, "total": cognition},
    }


RULES: dict[str, Rule] = {
    "parse_pred_ans": lambda given, _: yes_no.mme_label(given["prediction"]) or "other",
    "process_result": mme_files,
}

# What the recordings also tell about the same input, under the other harnesses' names.
OTHERS: dict[str, dict[str, Rule]] = {
    "parse_pred_ans": {
        "lmms_eval_0.7.3": lambda given, _: yes_no.lmms_mme_label(given["prediction"]) or "other",
        "vlmevalkit_YOrN_Extraction": lambda given, _: (
            yes_no.vlmevalkit_label(given["prediction"]) or "Unknown"
        ).capitalize(),
    },
}
