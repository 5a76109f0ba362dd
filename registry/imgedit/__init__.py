"""ImgEdit Basic: single edits of real pictures in nine types."""
