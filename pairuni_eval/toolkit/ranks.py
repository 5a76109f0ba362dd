"""Processes that a launcher started together."""

from pairuni_eval.ranks import RankGroup, RankLost, Ranks, note_of_one, ranks_here
