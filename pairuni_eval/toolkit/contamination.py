"""One search for test items in pair sets."""

from pairuni_eval.contamination.neighbors import (
    NEAR,
    Neighbor,
    Neighbors,
    nearest,
    neighbors_path,
    write_neighbors,
)
from pairuni_eval.contamination.pair_set import Prints, opened, pair_rows, read_prints
from pairuni_eval.contamination.search import AskedItem, Seen, answer, search
