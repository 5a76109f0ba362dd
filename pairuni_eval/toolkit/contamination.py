"""One search for test items in pair sets."""

from pairuni_eval.contamination.fingerprints import Fingerprints, read_fingerprints
from pairuni_eval.contamination.neighbors import (
    NEAR,
    Neighbor,
    Neighbors,
    nearest_pairs,
    neighbors_path,
    write_neighbors,
)
from pairuni_eval.contamination.pair_set import open_pair_set, pair_rows
from pairuni_eval.contamination.search import BenchmarkLeak, EvaluationItem, describe_leaks, search
