"""Benchmarks of Acme, a folder each."""
