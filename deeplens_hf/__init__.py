"""deeplens_hf: one sharp photo in, the same photo through an expensive lens out.

The names below load what they need when first used, so that `deeplens --help` does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .config import DeepLensConfig
    from .files.pictures import PhotoError
    from .files.writing import colour_disparity, save_disparity, save_picture
    from .model import DeepLens, DepthMaps
    from .optics import ApertureShape
    from .photo import Photo
    from .sharing.repository import HubError, WeightsError

__all__ = [
    "ApertureShape",
    "DeepLens",
    "DeepLensConfig",
    "DepthMaps",
    "HubError",
    "Photo",
    "PhotoError",
    "WeightsError",
    "__version__",
    "colour_disparity",
    "save_disparity",
    "save_picture",
]

_HOME = {
    **dict.fromkeys(("DeepLens", "DepthMaps"), "model"),
    **dict.fromkeys(("HubError", "WeightsError"), "sharing.repository"),
    "ApertureShape": "optics",
    "DeepLensConfig": "config",
    "Photo": "photo",
    "PhotoError": "files.pictures",
    **dict.fromkeys(("colour_disparity", "save_disparity", "save_picture"), "files.writing"),
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
