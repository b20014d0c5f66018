"""Scenes whose depth and light are known, drawn at random: what is wrong with photos as teachers is right there."""
