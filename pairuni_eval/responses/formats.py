"""Formats of recorded answers: which one a file or folder is, and its rows as ours."""

from __future__ import annotations

from pathlib import Path

from pairuni_eval.errors import UserError
from pairuni_eval.places import is_folder
from pairuni_eval.responses import lmms_eval, vlmevalkit
from pairuni_eval.responses.external_formats import match_rows
from pairuni_eval.responses.layouts import Format
from pairuni_eval.responses.picture_folders import match_folder
from pairuni_eval.responses.records import Records, read_records
from pairuni_eval.responses.rows import MatchedResponses, responses_of
from pairuni_eval.responses.sample_index import SampleIndex


def detect(records: Records) -> Format:
    """The format of a file, by the keys of its first row; a table without ours is VLMEvalKit's."""
    first = records.rows[0].row
    if lmms_eval.is_sample(first):
        return Format.LMMS_EVAL
    own = "id" in first and ("text" in first or "image" in first)
    if vlmevalkit.is_prediction(first) or (records.tabular and not own):
        return Format.VLMEVALKIT
    return Format.PAIRUNI


def match_responses(path: Path, layout: Format | None, index: SampleIndex) -> MatchedResponses:
    """The recorded outputs of a file, or a folder, under the keys of a benchmark's samples.

    Args:
        path: The file, or a folder of pictures.
        layout: Its format; None finds out.
        index: The samples.

    Raises:
        UserError: for a file that cannot be read, or rows that are not samples of the benchmark.
    """
    if is_folder(path):
        if layout is not None:
            raise UserError(
                f"--format {layout.value} names what a file holds, and {path} is a folder.",
                hint="Leave --format out: which benchmark's layout a folder has is found out.",
            )
        return match_folder(path, index)
    records = read_records(path)
    found = layout or detect(records)
    if found is Format.PAIRUNI:
        own = responses_of(path, records)
        matched = index.match(str(path), own.responses)
        return MatchedResponses(matched.responses, (*own.notes, *matched.notes))
    toolkit = lmms_eval if found is Format.LMMS_EVAL else vlmevalkit
    read = toolkit.read(path, records)
    matched = match_rows(str(path), read.rows, index)
    heading = f"{path.name}: {found} format"
    return MatchedResponses(matched.responses, (heading, *read.notes, *matched.notes))
