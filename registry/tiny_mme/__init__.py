"""Pairs of yes/no questions in MME's form about scenes of the tiny world."""
