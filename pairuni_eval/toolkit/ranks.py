"""Processes that a launcher started together."""

from pairuni_eval.ranks import RankGroup, Ranks, note_of_one, ranks_here
