"""The HPSv2 benchmark: how well people would like what is drawn, in four styles."""
