"""Files that a user brings: folders, and text read strictly."""

from pairuni_eval.config import (
    Count,
    NotNegative,
    Positive,
    Strict,
    as_record,
    assignment,
    changed,
    read_assignments,
    read_record,
    read_table,
)
from pairuni_eval.data_folder import files_matching
from pairuni_eval.user_text import json_lines, text_of
