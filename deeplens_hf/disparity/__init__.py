"""Disparity between its prediction and the blur: which way is up, its edges, and maps that come from elsewhere."""
