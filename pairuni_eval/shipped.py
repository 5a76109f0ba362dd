"""Names of the checkpoints that come with the package, and their folders below `tiny/`."""

# The tiny model, and two that half know 24 made-up names (docs/tiny-names.md).
SHIPPED = {"tiny": "weights", "tiny-early": "early-0", "tiny-early-1": "early-1"}
