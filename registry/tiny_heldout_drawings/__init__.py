"""Prompts for name pairs and common kinds of tiny pictures that no training draws."""
