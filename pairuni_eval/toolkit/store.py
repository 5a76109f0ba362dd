"""The run folder, the training records in it, the cache, and files that are whole or absent."""

from pairuni_eval.cache import cache_folder
from pairuni_eval.named_runs import opened
from pairuni_eval.records import GradientRow
from pairuni_eval.store import layout
from pairuni_eval.store.archive import given_pictures, pack
from pairuni_eval.store.evaluations import EVALUATIONS
from pairuni_eval.store.json_lines import append, encode_lines, keep_lines, read_lines, whole_lines
from pairuni_eval.store.locks import exclusive
from pairuni_eval.store.partial_run import open_run
from pairuni_eval.store.pictures import Pictures
from pairuni_eval.store.read import StoredRun, decode_cell
from pairuni_eval.store.training import (
    FIXED,
    GRADIENTS,
    HALVES,
    METRICS,
    ROLLOUTS,
    SETTINGS,
    FixedRow,
    RolloutGroup,
    load_settings,
    read_fixed,
    read_metrics,
)
from pairuni_eval.store.write import atomic_path, clear_temporaries, write_whole
