"""PairUni's training side: pair data, PairGRPO, gradient probe."""
