"""The prompt forms of the built-in benchmarks, for sisters of them and for training data."""

from pairuni_eval import prompts
from pairuni_eval.prompts import (
    LETTER_SUFFIX,
    LETTERS,
    WORD_SUFFIX,
    YES_NO_REQUEST,
    lettered,
    mme_prompt,
    mmmu_parts,
    mmmu_prompt,
    mmstar_prompt,
    pope_prompt,
)
