"""What stored Gram rows of two tasks' gradients say."""
