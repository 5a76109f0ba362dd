"""Questions about names and common kinds on tiny scenes that no training has."""
