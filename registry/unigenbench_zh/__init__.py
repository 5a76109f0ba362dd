"""UniGenBench++ with Chinese prompts."""
