"""What the lens blur is made of: surfaces, slabs, the aperture, clipped light."""
