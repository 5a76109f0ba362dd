"""Judges: prompt and images in, a verdict with a status out."""
