"""Numbers from stored rows: tables, intervals, comparisons. Never torch, never a model."""
