"""MMMU: college-level questions of thirty subjects, with one image or several."""
