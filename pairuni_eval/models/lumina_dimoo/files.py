"""Which files a Lumina-DiMOO folder is made of, beside and with its weights."""

from __future__ import annotations

from pairuni_eval.models.lumina_dimoo.config import VQ_FOLDER
from pairuni_eval.models.tokenizer_file import TOKENIZER_FILE

KEPT = (
    "config.json",
    "generation_config.json",
    TOKENIZER_FILE,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    f"{VQ_FOLDER}/config.json",
)
WEIGHTS = "model.safetensors"
VQ_WEIGHTS = f"{VQ_FOLDER}/diffusion_pytorch_model.safetensors"
