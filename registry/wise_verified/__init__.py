"""WISE-Verified: the second edition of WISE, with corrected prompts and a binary judge."""
