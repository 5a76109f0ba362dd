"""Supervised fine-tuning on pairs: both halves are taught, none is rewarded."""
