"""Prompts as those of tiny-heldout-drawings, for choosing settings."""
