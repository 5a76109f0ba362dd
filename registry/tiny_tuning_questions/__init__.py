"""Questions as those of tiny-heldout-questions, for choosing settings."""
