"""Models that grade: detectors and image-text scorers, loaded late and run in batches."""
