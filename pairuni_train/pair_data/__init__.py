"""PairUG: from understanding and generation data to pairs about the same or a similar image."""
