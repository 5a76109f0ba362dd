"""Names of the checkpoints that come with the package, and their folders below `tiny/`."""

# The tiny model, two that half know 24 made-up names (docs/tiny-names.md), and one of masked diffusion
# (docs/tiny-dimoo.md).
SHIPPED = {
    "tiny": "weights",
    "tiny-early": "early-0",
    "tiny-early-1": "early-1",
    "tiny-dimoo": "dimoo-0",
}
