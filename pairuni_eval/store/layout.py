"""Names inside a run folder.

::

    run.json              what was asked: checkpoint, benchmarks, seed, decoding, environment
    plan.json             the fixed batches, by output id
    cards/NAME.json       a copy of every card used
    rows/*.jsonl          append-only rows while the run goes on, one file per rank, every line with
                          its number and a check; see rows.py and rank_rows.py
    rows/planned.json     SHA-256 of the JSON above, while the run goes on
    images/ab/<sha>       pictures by content, written to a temporary name and renamed
    samples.parquet outputs.parquet scores.parquet      after compaction
    opinions.parquet      scores by the second judge, where there is one
    figures.json          figures that another toolkit computed, where there are any
    COMPLETE              written last: the rows of every table, and the SHA-256 of the tables, of
                          the JSON above and of the pictures that have another id; see seal.py
    judge/replies.jsonl   what the judge replied and what that cost; a cache, see
                          endpoints/replies.py
    judge/second.jsonl    the same for the second judge
    judge/*.under-way     how many calls have begun and brought nothing yet, see there
    judge/bills.jsonl     which replies the scores rest on, one line for each group of outputs
    model/replies.jsonl   what a model behind an endpoint replied, a cache of the same form
    model/pictures/<sha>  the pictures among these replies, as they came
    journal.jsonl         when it started, how long each batch took
    .lock .*.lock         who works on it now; see locks.py

Only the journal, judge/ and model/ hold times or an order of arrival: all else is equal byte for
byte for two runs of one command.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

RUN_FILE = "run.json"
PLAN_FILE = "plan.json"
CARDS = "cards"
ROWS = "rows"
IMAGES = "images"
EXTERNAL_METRICS = "figures.json"
COMPLETE = "COMPLETE"
JOURNAL = "journal.jsonl"
LOCK = ".lock"
JUDGE = "judge"
MODEL = "model"
USAGE = "bills.jsonl"
OPINIONS = "opinions"
PASSES = ("scores", OPINIONS)  # where the scores of each pass of the judges stand
PLANNED = "planned.json"
TABLES = ("samples", "outputs", "scores")
_OWN_JSON = (RUN_FILE, PLAN_FILE, EXTERNAL_METRICS)


def image_path(run: Path, image: str) -> Path:
    """Where a picture lies: images/<first two digits>/<id>."""
    return Path(f"{run}/{IMAGES}/{image[:2]}/{image}")


def names_a_card(name: str) -> bool:
    """Whether a benchmark's name names a card inside the folder of cards."""
    parts = PurePosixPath(name).parts
    inside = bool(parts) and not name.startswith("/") and ".." not in parts
    return inside and name.isprintable() and "\\" not in name


def is_own_json(place: str) -> bool:
    """Whether a path names JSON that a run writes itself, inside its folder."""
    card = place.removeprefix(f"{CARDS}/").removesuffix(".json")
    return place in _OWN_JSON or (place == f"{CARDS}/{card}.json" and names_a_card(card))
