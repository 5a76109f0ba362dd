"""The built-in benchmarks: one folder each, `card.toml` beside `benchmark.py`.

Installed as `pairuni_registry` and found through the entry point of that name; nothing imports it
by name, and the folder must not be imported as `registry`.
"""
