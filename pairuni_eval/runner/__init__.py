"""The run loop: plan what is owed, execute it, grade it."""
