"""Janus and Janus-Pro through transformers: one adapter for the tiny model and the real ones.

`adapter` is what the runner sees; `policy` what a trainer sees. Both stand on `prompts` (text and
images to padded inputs), `decoder` (a Llama step over a static cache), `sampling` (one uniform
number per token) and `codes` / `words` (the two sampling loops). transformers' own `generate` is
not used: for images it keeps the 50 likeliest codes unless told otherwise, drops the cache in
training mode, and cannot give log-probs or per-request seeds.
"""

from pairuni_eval.models.janus.adapter import JanusModel
from pairuni_eval.models.janus.policy import JanusPolicy

__all__ = ["JanusModel", "JanusPolicy"]
