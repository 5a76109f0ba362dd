"""Further prompts in GenEval's form for pictures of the tiny world."""
