"""DPG-Bench: long prompts, checked by questions that depend on each other."""
