"""Experiments: arms, seeds and benchmarks of one table or figure of the paper, run end to end."""
