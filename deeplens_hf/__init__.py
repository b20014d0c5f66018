"""deeplens_hf: one sharp photo in, the same photo through an expensive lens out."""
