"""Processes that a launcher started together."""

from pairuni_eval.ranks import note_of_one
