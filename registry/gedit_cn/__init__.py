"""GEdit-Bench, Chinese: the second half of the same files."""
