"""Knowledge prompts in WISE's form for pictures of the tiny world."""
