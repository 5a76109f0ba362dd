"""Names of the checkpoints that come with the package, and their folders below `tiny/`."""

# The tiny model, two that half know 24 made-up names (docs/tiny-names.md), a masked-diffusion model
# that does so too (docs/tiny-dimoo.md), and one that draws by flow matching (docs/tiny-bagel.md).
SHIPPED = {
    "tiny": "weights",
    "tiny-early": "early-0",
    "tiny-early-1": "early-1",
    "tiny-dimoo": "dimoo-0",
    "tiny-bagel": "bagel-0",
}
