"""The package list: `registry/` is installed as `pairuni_registry`, one sub-package a benchmark.

A new benchmark is one new folder; nothing here or in pyproject.toml names it.
"""

from pathlib import Path

from setuptools import find_packages, setup

benchmarks = sorted(card.parent.name for card in Path("registry").glob("*/card.toml"))

setup(
    packages=[
        *find_packages(include=["pairuni_eval*", "pairuni_train*"]),
        "pairuni_registry",
        *(f"pairuni_registry.{name}" for name in benchmarks),
    ]
)
