"""Ranks and shards: sums over processes, and weights that no process holds whole."""
