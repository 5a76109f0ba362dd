"""One sample of a run as lines for the terminal: what was asked, what came back, every score.

Text of models, datasets and judges is shown whole, with control characters made visible.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from pairuni_eval.commands import as_typed
from pairuni_eval.errors import UserError, nearest, unknown_name
from pairuni_eval.foreign_text import clean
from pairuni_eval.stats.tables import Tables, bare
from pairuni_eval.store.read import StoredRun, decode_cell

_INDENT = "  "
_SHOWN = 5


def find_sample(run: StoredRun, name: str) -> str:
    """The uid of the one sample that goes by a key, a uid, or the start of either.

    Raises:
        UserError: with the nearest key if there is none, with the candidates if there are several.
    """
    samples = run.samples
    for matches in (_equal, _begins):
        found = samples[matches(samples["key"], name) | matches(samples["uid"], name)]
        if len(found) == 1:
            return str(found["uid"].iloc[0])
        if len(found) > 1:
            raise _ambiguous(run, name, found)
    guess = nearest(name, samples["key"])
    offer = f" Did you mean '{guess}'?" if guess else ""
    raise UserError(
        f"{run.folder} has no sample '{name}'.{offer}",
        hint=as_typed("pairuni-eval", "show", run.folder, guess or samples["key"].iloc[0]),
    )


def _equal(column: pd.Series, name: str) -> pd.Series:
    return column == name


def _begins(column: pd.Series, name: str) -> pd.Series:
    return column.str.startswith(name)


def _ambiguous(run: StoredRun, name: str, found: pd.DataFrame) -> UserError:
    rows = found.head(_SHOWN).itertuples()
    shown = ", ".join(f"{row.benchmark} '{row.key}' ({str(row.uid)[:12]})" for row in rows)
    more = ", ..." if len(found) > _SHOWN else ""
    return UserError(
        f"'{name}' may be {len(found)} samples of {run.folder}: {shown}{more}.",
        hint=as_typed("pairuni-eval", "show", run.folder, found["uid"].iloc[0]),
    )


def sample_lines(run: StoredRun, uid: str, protocols: Sequence[str]) -> Iterator[str]:
    """Everything a run knows about one sample.

    Args:
        run: The run.
        uid: The sample.
        protocols: Show the scores of these only; all if empty.

    Raises:
        UserError: for a protocol that did not grade the sample's benchmark.
    """
    (sample,) = run.samples[run.samples["uid"] == uid].to_dict(orient="records")
    known = Tables(run).graded_under(sample["benchmark"])
    for name in protocols:
        if name not in known:
            raise unknown_name(
                "protocol",
                name,
                known,
                of=f"'{sample['benchmark']}'",
                list_command="pairuni-eval list benchmarks",
            )
    yield f"{sample['benchmark']}  {clean(sample['key'])}  ({uid})"
    yield from _facts("tags", decode_cell(sample["tags"]))
    yield "request:"
    yield from _parts(run, decode_cell(sample["parts"]))
    yield from _facts("reference", decode_cell(sample["reference"]))
    outputs = run.outputs[run.outputs["sample"] == uid].sort_values("draw")
    for output in outputs.to_dict(orient="records"):
        yield from _output(run, output, protocols or known)


def _output(run: StoredRun, output: dict[Any, Any], protocols: Sequence[str]) -> Iterator[str]:
    yield f"output, draw {output['draw']}:"
    yield from _parts(run, decode_cell(output["parts"]))
    for reason in ("error", "skipped", "refused"):
        if isinstance(output[reason], str):
            yield f"{_INDENT}{reason}: {clean(output[reason])}"
    scores = run.scores[run.scores["output"] == output["id"]]
    for score in scores.to_dict(orient="records"):
        if bare(score["protocol"]) in protocols:
            yield _INDENT + _score(score)


def _score(score: dict[Any, Any]) -> str:
    value = "-" if pd.isna(score["value"]) else f"{score['value']:g}"
    words = [f"{bare(score['protocol'])}: {score['metric']} = {value}", f"({score['status']})"]
    words += [f"by {score['judge']}"] if isinstance(score["judge"], str) else []
    words += [clean(score["verdict"])] if isinstance(score["verdict"], str) else []
    return "  ".join(words)


def _parts(run: StoredRun, parts: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Texts line by line, images by where they lie."""
    for part in parts:
        if part["kind"] == "image":
            trouble = run.pictures.trouble(part["image"])
            words = f"  ({trouble})" if trouble else ""
            yield f"{_INDENT}[image] {run.image_path(part['image'])}{words}"
        else:
            yield from (_INDENT + line for line in clean(part["text"]).split("\n"))


def _facts(title: str, facts: dict[str, Any]) -> Iterator[str]:
    if facts:
        yield f"{title}:"
        yield from (f"{_INDENT}{key}: {clean(str(value))}" for key, value in facts.items())
