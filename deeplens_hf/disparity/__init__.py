"""Disparity between its prediction and the blur: several looks made one, its edges, maps from elsewhere."""
