"""Answers that were recorded elsewhere: reading them and finding the samples they belong to."""
