"""Janus and Janus-Pro through transformers' classes: the tiny model and the real ones.

`adapter` is what the runner sees; `policy` what a trainer sees. Both stand on `prompts` (text and
images to padded inputs), `token_loop` (one token after the other by `decoder`, a Llama step over a
static cache) and `codes` / `text_sampler` (pictures and answers, one uniform number per token).
`loading` reads transformers' format and DeepSeek's original one (`original_*`), `conversion` writes
either.

transformers' own `generate` is not used: for images it keeps the 50 likeliest codes unless told
otherwise, drops the cache in training mode, and cannot give log-probs or per-request seeds.
"""

from pairuni_eval.models.janus.adapter import JanusModel
from pairuni_eval.models.janus.policy import JanusPolicy

__all__ = ["JanusModel", "JanusPolicy"]
