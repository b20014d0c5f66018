"""What a model is made of: the fields of config.json."""

from dataclasses import dataclass

from .layers.encoders import ENCODERS
from .lens_blur import LENS_BLURS
from .sharing.repository import FORMAT_VERSION

WIDEST_NETWORK, LARGEST_SIZE = 1024, 8192  # of a configuration: what somebody else's may have a machine build


@dataclass(frozen=True)
class DeepLensConfig:
    """What config.json holds. Sizes are long sides, in pixels.

    encoder: "efficientnet-lite2" (shipped), "mobilenet_v2" (as earlier weights have) or "resnet-50" (the report's).
    depth_width: channels of the depth decoder's deepest level.
    depth_size: working size of depth prediction; of panoramas up to twice as long.
    lens_blur: "slabs" (any aperture shape, any radius) or "convolutional" (the 2018 report's).
    blur_width: channels of the lens-blur network.
    blur_size: most that the lens blur works at, of panoramas up to twice as much; larger photos are halved until they
        fit, then upsampled.
    upsampling_width: channels of the guided-upsampling network.
    format_version: 1 = without edge mending, as the first weights were; 2 = without orientation; 3 = without
        gleams by day; 4 = without a network for hidden colour; 5 = without an encoder of orientation's own;
        6 = mending each edge for itself; 7 = with two networks for what edges hide; 8 = as today.
    The defaults are those of a new, untrained model; the shipped one's are in weights/config.json.
    """

    encoder: str = "mobilenet_v2"
    depth_width: int = 128
    depth_size: int = 384
    lens_blur: str = "slabs"
    blur_width: int = 24
    blur_size: int = 1024
    upsampling_width: int = 16
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        for name, accepted in (("encoder", ENCODERS), ("lens_blur", LENS_BLURS)):
            if getattr(self, name) not in accepted:
                raise ValueError(f"{name} must be one of {', '.join(accepted)}; got {getattr(self, name)!r}")
        for name in ("depth_width", "depth_size", "blur_width", "blur_size", "upsampling_width", "format_version"):
            if not (isinstance(value := getattr(self, name), int) and value >= 1):
                raise ValueError(f"{name} must be a whole number, 1 or more; got {value!r}")
            if value > (most := WIDEST_NETWORK if name.endswith("width") else LARGEST_SIZE):
                raise ValueError(f"{name} must be at most {most}; got {value!r}")
        if self.format_version > FORMAT_VERSION:
            raise ValueError(
                f"format_version {self.format_version} is newer than this deeplens_hf reads ({FORMAT_VERSION})"
            )
