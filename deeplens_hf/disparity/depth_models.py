"""Depth from any depth-estimation model of the Hub or of a folder, through transformers."""

import math
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..files.pictures import PhotoError, one_line

# what `predicted_depth` counts in, by the configuration's model_type: relative disparity, or distance in metres.
# "dpt", "depth_anything" and "depth_pro" have it told by more than their type: see `_sense`.
METRES = ("glpn", "zoedepth", "prompt_depth_anything", "tipsv2_dpt")


def predict(name: str, picture: Image.Image, device: str | torch.device = "cpu") -> tuple[np.ndarray, str | None, bool]:
    """What a model sees in an RGB picture.

    Args:
        name: a Hub id or a folder, of a model that `transformers.AutoModelForDepthEstimation` loads. It is loaded once
            and kept until another one is asked for.

    Returns:
        Values (h, w) float32 at the model's own size; "disparity" or "depth", what they count in, or None if the
        model's family does not tell; whether they are in 1/m or m.

    Raises:
        PhotoError: it cannot be loaded, or is no depth-estimation model.
    """
    processor, model = _load(name, str(device))
    inputs = processor(images=picture, return_tensors="pt").to(device)  # pixel_values (1, 3, h, w)
    with torch.inference_mode():
        outputs = model(**inputs)
        values = outputs.predicted_depth[0]  # (h, w)
        if model.config.model_type == "zoedepth" and processor.do_pad:
            values = _without_padding(values, picture.size)
        sense, metric = _sense(model.config)
        if model.config.model_type == "depth_pro" and outputs.field_of_view is not None:
            # inverse distance for a focal length of one picture width; the model says how long it is
            values = values * (2 * math.tan(math.radians(float(outputs.field_of_view[0])) / 2))
            metric = True
    return values.float().cpu().numpy(), sense, metric


def _without_padding(values: Tensor, size: tuple[int, int]) -> Tensor:
    """ZoeDepth's processor mirrors the picture, of `size` (width, height), beyond its edges; this cuts that off."""
    height, width = values.shape
    left, top = (3 * math.sqrt(side / 2) for side in size)
    x, y = round(left / (size[0] + 2 * left) * width), round(top / (size[1] + 2 * top) * height)
    return values[y : height - y, x : width - x]


@lru_cache(maxsize=1)
def _load(name: str, device: str) -> tuple[object, nn.Module]:
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForDepthEstimation, ViTImageProcessorPil

    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
        # Depth Pro's own processor needs torchvision; the plain one takes the same steps from the same settings
        family = ViTImageProcessorPil if config.model_type == "depth_pro" else AutoImageProcessor
        options = {} if config.model_type == "depth_pro" else {"backend": "pil", "trust_remote_code": False}
        processor = family.from_pretrained(name, **options)
        model = AutoModelForDepthEstimation.from_pretrained(name, config=config, trust_remote_code=False)
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise PhotoError(
            f"disparity must be a file, an array, 'embedded' or a depth-estimation model that transformers loads; "
            f"{name!r} is not: {one_line(error)}"
        ) from None
    return processor, model.to(device).eval()


def _sense(config) -> tuple[str | None, bool]:
    """What the model's values count in, "disparity" or "depth", and whether they are in metres."""
    kind = config.model_type
    if kind == "depth_anything":
        metric = config.depth_estimation_type == "metric"
        return ("depth" if metric else "disparity"), metric
    if kind == "dpt":  # those on DINOv2 were trained on rooms and roads in metres, the others as MiDaS
        metric = getattr(config.backbone_config, "model_type", None) == "dinov2"
        return ("depth" if metric else "disparity"), metric
    if kind == "depth_pro":
        return "disparity", False
    return ("depth", True) if kind in METRES else (None, False)
