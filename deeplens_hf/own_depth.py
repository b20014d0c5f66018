"""Your own depth in place of the predicted one: read, turned into disparity, resized and normalised once."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from .pictures import PhotoError, Source, decoded, grey_levels, one_line


def read_disparity(source: Source, size: tuple[int, int]) -> np.ndarray:
    """A depth map, 1 or white = nearest, as float32 (H, W) in [0, 1] resized to `size` (width, height).

    uint8, uint16 and floats within [0, 1] keep their scale; any other range is stretched to [0, 1]. PhotoError if it
    cannot be read, has another rank than 2, or holds values that are not finite.
    """
    if isinstance(source, (str, os.PathLike)) and Path(source).suffix.lower() == ".npy":
        try:
            values = np.load(source, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise PhotoError(f"disparity must be a readable .npy file of numbers: {one_line(error)}") from None
    elif isinstance(source, np.ndarray):
        values = source
    else:
        with decoded(source, "disparity") as picture:
            values = grey_levels(picture)
    if values.ndim != 2 or values.size == 0 or values.dtype.kind not in "uif":
        raise PhotoError(f"disparity must be an array (H, W) of numbers, got {values.dtype} {values.shape}")
    full = np.iinfo(values.dtype).max if values.dtype in (np.uint8, np.uint16) else 1
    disparity = values.astype(np.float32) / np.float32(full)
    if not np.isfinite(disparity).all():
        raise PhotoError("disparity must hold finite numbers only, got nan or infinity")
    low, high = disparity.min(), disparity.max()
    if low < 0 or high > 1:
        disparity = (disparity - low) / (high - low) if high > low else np.full_like(disparity, 0.5)
    if disparity.shape != size[::-1]:
        disparity = np.array(Image.fromarray(disparity).resize(size, Image.Resampling.BILINEAR))
    return disparity.clip(0, 1)
