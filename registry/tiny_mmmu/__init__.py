"""Questions in MMMU's form about scenes of the tiny world."""
