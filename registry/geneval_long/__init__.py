"""GenEval's tasks with prompts that a language model wrote out at length."""
