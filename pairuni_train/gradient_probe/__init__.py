"""Cosine and magnitude of the two tasks' gradients, while training and offline."""
