"""UniGenBench++, English: prompts of ten dimensions, judged point by point."""
