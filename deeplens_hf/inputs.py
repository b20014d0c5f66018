"""What model and photos accept: checks of tensors, numbers and points, with messages that say what is wanted."""

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .files.pictures import PhotoError

LEAST_SIDE = 64  # pixels: the smallest picture that the networks accept; smaller ones are lengthened to it
SLACK = 1e-3  # how far rounding may take values out of [0, 1]


def usable_device(device: str | torch.device | None = None) -> torch.device:
    """The device of that name; cuda, where there is one, if none is named. ValueError where this machine has none."""
    try:
        found = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device must be a device of this machine, got {device!r}: {error}") from None
    return found


def without_autocast(method: Callable) -> Callable:
    """A method of a model and an image (B, 3, H, W), in the image's own precision even where autocast is on.

    ValueError where the image is no tensor, or is not where the model is.
    """

    @wraps(method)
    def called(self: Any, image: Tensor, *args: Any, **kwargs: Any) -> Any:
        _check_tensor(image, "image", self.device)
        with torch.autocast(image.device.type, enabled=False):
            return method(self, image, *args, **kwargs)

    return called


def check_image(image: Tensor, dtype: torch.dtype) -> None:
    """Raise ValueError unless (B, 3, H, W), of the model's type, not empty, values in [0, 1]."""
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(
            "the model must be float32 or float64, since light is mixed there; for depth in half precision use "
            f"from_pretrained(..., dtype='float16'), not .half() or .to({dtype})"
        )
    if image.ndim != 4 or image.shape[1] != 3 or not image.numel() or image.dtype != dtype:
        kind = str(dtype).removeprefix("torch.")
        raise ValueError(f"image must be a {kind} tensor (B, 3, H, W); got {image.dtype} {tuple(image.shape)}")
    _check_unit_range(image, "image")


def check_map(values: Tensor, name: str, image: Tensor) -> None:
    """Raise ValueError unless (B, 1, H, W) of the image's batch, size and device, values in [0, 1]."""
    _check_tensor(values, name, image.device)
    wanted = (image.shape[0], 1, *image.shape[-2:])
    if values.shape != wanted or not values.is_floating_point():
        raise ValueError(
            f"{name} must be a float tensor {wanted} to go with the image; got {values.dtype} {tuple(values.shape)}"
        )
    _check_unit_range(values, name)


def long_enough(x: Tensor) -> Tensor:
    """The last row and column repeated up to LEAST_SIDE: (B, C, h, w) -> (B, C, H, W), the picture at the top left.

    Plane by plane, even if it came as numpy's pixels lie, permuted: that would slow all that follows.
    """
    missing = [max(0, LEAST_SIDE - side) for side in x.shape[-2:]]
    return (F.pad(x, (0, missing[1], 0, missing[0]), mode="replicate") if any(missing) else x).contiguous()


def _check_tensor(values: Tensor, name: str, device: torch.device) -> None:
    if not isinstance(values, Tensor):
        raise ValueError(f"{name} must be a tensor; got {type(values).__name__}")
    if values.device != device:
        raise ValueError(f"{name} must be on {device}, as the model is; got a tensor on {values.device}")


def _check_unit_range(values: Tensor, name: str) -> None:
    low, high = (float(bound) for bound in torch.aminmax(values.detach()))
    if not (low >= -SLACK and high <= 1 + SLACK):  # NaN fails every comparison
        raise ValueError(f"{name} must lie in [0, 1] and hold no NaN; got {low:.4g} to {high:.4g}")


def interval(focus: Any, image: Tensor) -> Any:
    """A pair of numbers, for two pictures too, -> the ends of an interval for each, (B, 2); anything else as it is."""
    if not isinstance(focus, tuple | list) or len(focus) != 2:
        return focus
    if not all(isinstance(end, int | float) or getattr(end, "ndim", None) == 0 for end in focus):
        return focus
    return torch.stack([torch.as_tensor(end).to(image) for end in focus]).expand(len(image), 2)


def one_each(
    value: Tensor | float, name: str, image: Tensor, most: float, also: tuple[int, int] | None = None
) -> Tensor:
    """A number, or one a picture of the batch -> (B,), brought into [0, most]; the shape `also` passes as it is.

    ValueError: another shape, or further outside than rounding may take it, as a focus picked from a map.
    """
    try:
        value = torch.as_tensor(value, dtype=image.dtype, device=image.device)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name} must be a number or a tensor of numbers; got {value!r}") from None
    if value.shape not in ((), (len(image),), also):
        shapes = f"({len(image)},)" + (f" or {also}" if also else "")
        raise ValueError(f"{name} must be a number or a tensor of shape {shapes}; got shape {tuple(value.shape)}")
    if not bool(((value >= -SLACK) & (value <= most + SLACK)).all()):  # nan neither
        raise ValueError(f"{name} must lie in [0, {most:g}]; got {value.detach().flatten().tolist()}")
    value = value.clamp(0, most)
    return value if value.ndim == 2 else value.expand(len(image))


def check_point(point: tuple[float, float], size: tuple[int, int]) -> tuple[int, int]:
    """The pixel that (x, y) lies in, of a photo of (width, height). PhotoError if it is none of its."""
    width, height = size
    accepted = f"point must be (x, y) with 0 <= x < {width} and 0 <= y < {height}, got {point!r}"
    try:
        x, y = (float(value) for value in point)
    except (TypeError, ValueError):
        raise PhotoError(accepted) from None
    if not (0 <= x < width and 0 <= y < height):  # nan is nowhere
        raise PhotoError(accepted)
    return int(x), int(y)


def check_number(name: str, value: float, low: float, high: float) -> float:
    """The value as a float. PhotoError if it is no number from low to high."""
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError):  # the last of a tensor of many
        number = math.nan
    if not low <= number <= high:  # nan neither
        raise PhotoError(f"{name} must be a number from {low:g} to {high:g}, got {value!r}")
    return number
