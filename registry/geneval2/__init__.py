"""GenEval 2: objects, attributes, counts, positions and verbs in prompts of 3 to 10 atoms."""
