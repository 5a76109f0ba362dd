"""Edits in ImgEdit's form of pictures of the tiny world."""
