"""An image as Janus sees it: shrunk to the size of its longer side, padded to a square.

DeepSeek cuts the shorter side to a whole number of pixels, where transformers rounds it: 45 % of
the sizes that are not square differ by a row. DeepSeek's rule holds here for every checkpoint; what
follows (rescaling, normalizing) is the processor's.
"""

from __future__ import annotations

from typing import Any

from PIL import Image


def squared(image: Image.Image, processor: Any) -> Image.Image:
    """An RGB image in the size of the vision tower, by DeepSeek's rule.

    Args:
        image: In RGB, of any size.
        processor: transformers' `JanusProcessor`, which knows size, smallest side and background.
    """
    rule = processor.image_processor
    side, least = int(rule.size["height"]), int(rule.min_size)
    longest = max(image.size)
    width, height = (max(int(one / longest * side), least) for one in image.size)
    small = image.resize((width, height), Image.Resampling.BICUBIC)
    if width == height:
        return small
    edge = max(width, height)
    square = Image.new("RGB", (edge, edge), tuple(rule.background_color))
    square.paste(small, ((edge - width) // 2, (edge - height) // 2))
    return square
