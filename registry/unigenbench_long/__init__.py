"""UniGenBench++ with long English prompts."""
