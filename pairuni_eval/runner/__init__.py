"""The run loop: plan what is owed, infer it, grade it."""
