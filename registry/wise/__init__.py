"""WISE, legacy edition: pictures that need knowledge of the world."""
