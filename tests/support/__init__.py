"""What test modules share: made-up data, reference networks, servers, and how commands are run."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
