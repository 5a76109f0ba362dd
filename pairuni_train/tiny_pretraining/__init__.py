"""Trains the tiny model from nothing: first its VQ, then the language model and vision tower.

In goes a `PretrainConfig`, out comes a transformers folder. The lessons are the prompt forms of
the benchmarks (`pairuni_eval.prompts`) on scenes that are not held out, and two dense companions:
reading the colors or shapes of all 16 cells off a picture, and drawing from such a list. Each
lesson has its own share of the loss, so that a long answer does not drown a letter. Matrices are
updated by Muon, everything else by AdamW. The same config gives the same weights on one machine.

A base that reinforcement learning shall still teach something (`early`) begins with the weights of
`tiny` and new rows for made-up names, hears of them in a part of its lessons, and stops soon.
"""

from pairuni_train.tiny_pretraining.config import NameLessons, PretrainConfig, early
from pairuni_train.tiny_pretraining.run import pretrain

__all__ = ["NameLessons", "PretrainConfig", "early", "pretrain"]
