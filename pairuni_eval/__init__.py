"""PairUni's measuring side: run a checkpoint, grade its outputs, report and compare."""

__version__ = "0.1.0"
