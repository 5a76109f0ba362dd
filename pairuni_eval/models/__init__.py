"""Model adapters: one loaded object with declared capabilities."""
