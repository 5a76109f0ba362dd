"""MME: yes/no questions in pairs about an image, for perception and cognition."""
