"""UniGenBench++ with long Chinese prompts."""
