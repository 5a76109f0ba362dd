"""MMStar: multiple choice that cannot be answered without looking."""
