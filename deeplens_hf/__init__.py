"""deeplens_hf: one sharp photo in, the same photo through an expensive lens out."""

from .model import DeepLens, DeepLensConfig, DepthMaps, WeightsError

__all__ = ["DeepLens", "DeepLensConfig", "DepthMaps", "WeightsError"]
__version__ = "0.1.0"
