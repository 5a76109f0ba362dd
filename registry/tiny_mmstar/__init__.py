"""Questions in MMStar's form about scenes of the tiny world."""
