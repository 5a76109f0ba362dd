"""Questions in POPE's form about scenes of the tiny world."""
