"""Statistics of the gradient probe's stored rows: two tasks' gradients, and what they say."""
