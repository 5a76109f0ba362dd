"""The run folder: append-only rows, images by content, compaction, reading."""
