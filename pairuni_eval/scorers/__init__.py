"""Scorers: the official rules, as pure functions over stored outputs."""
