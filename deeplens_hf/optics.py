"""The optics, once: light, focus, circle of confusion. Pure functions; nothing else repeats these formulas.

Sources: IEC 61966-2-1 (the sRGB curve); the thin-lens equation, whose blur disc is linear in inverse depth
(e.g. Potmesil and Chakravarty, "A lens and aperture camera model", SIGGRAPH 1981).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

REFERENCE_SIZE = 320  # the long side, in pixels, that `aperture` is measured at
MAX_APERTURE = 32.0  # accepted; pages and training use 0 to 16, a few measured scenes of real lenses reach 20
NOMINAL = 16 * 1.4  # aperture times f-number


def srgb_to_linear(image: Tensor) -> Tensor:
    """Decode sRGB values [0, 1] to linear light [0, 1], any shape."""
    return torch.where(image <= 0.04045, image / 12.92, _power((image.clamp(min=0.04045) + 0.055) / 1.055, 2.4))


def linear_to_srgb(light: Tensor) -> Tensor:
    """Encode linear light to sRGB values [0, 1], any shape; light above 1 clips, as in a camera."""
    light = light.clamp(0, 1)
    return torch.where(light <= 0.0031308, light * 12.92, 1.055 * _power(light.clamp(min=0.0031308), 1 / 2.4) - 0.055)


def _power(x: Tensor, exponent: float) -> Tensor:
    """x > 0 of any shape. torch's own takes twice as long on a CPU."""
    return torch.exp(torch.log(x) * exponent)


def pixels_per_disparity(aperture: Tensor | float, size: tuple[int, int]) -> Tensor | float:
    """Blur-disc radius, in pixels of a picture of `size` (H, W), per unit of disparity from the focal plane."""
    return aperture * (max(size) / REFERENCE_SIZE)


def aperture_of_radius(radius: float, size: tuple[int, int]) -> float:
    """The inverse of `pixels_per_disparity`: the aperture that blurs a picture of `size` (H, W) by so many pixels."""
    return radius * REFERENCE_SIZE / max(size)


def aperture_of_f_number(f_number: float) -> float:
    """The aperture that stands for an f-number where nothing tells the distances: 16 at f/1.4, 1.4 at f/16.

    Nominal: proportional to 1 / f-number, as a lens's opening is. A calibrated photo (`lens.Calibration`) needs no
    such convention. The inverse is `f_number_of_aperture`.
    """
    return NOMINAL / f_number


def f_number_of_aperture(aperture: float) -> float:
    """The inverse of `aperture_of_f_number`; infinite for 0."""
    return NOMINAL / aperture if aperture else math.inf


def pixels_per_dioptre(focal_px: float, focal_length_mm: float, f_number: float) -> float:
    """Blur-disc radius of a real lens, in pixels, per 1/m between a point's inverse distance and the focus's.

    A thin lens with an opening of radius A = focal length / (2 f-number), its sensor v behind it, focused at z_f,
    images a point at distance z as a disc of radius A |v' - v| / v' (similar triangles behind the lens), where
    1/v' = 1/f - 1/z and 1/v = 1/f - 1/z_f; that is A v |1/z - 1/z_f|, exactly.

    Args:
        focal_px: v in pixels: what makes the photo's angle of view. The framing stays the photo's when the focus moves.
        focal_length_mm: of the lens, real, not the 35 mm equivalent.
        f_number: focal length over the diameter of the opening.
    """
    return focal_px * focal_length_mm / 1000 / (2 * f_number)


def signed_defocus(
    disparity: Tensor, focus: Tensor, aperture: Tensor, size: tuple[float, float] | None = None
) -> Tensor:
    """Blur-disc radius in pixels; > 0 in front of the focal plane.

    disparity (B, 1, H, W) in [0, 1], aperture (B,) -> (B, 1, H, W). focus (B,), or (B, 2): an interval, in either
    order, that is sharp as a whole; blur then grows from its ends. size: of the picture, (height, width), whose pixels
    are meant; the disparity's own if not given.
    """
    per_unit = pixels_per_disparity(aperture, size or disparity.shape[-2:])  # (B,)
    return per_unit.view(-1, 1, 1, 1) * from_focus(disparity, focus)


def from_focus(disparity: Tensor, focus: Tensor) -> Tensor:
    """(B, 1, H, W) less the nearest disparity that is sharp; focus as of `signed_defocus`."""
    if focus.ndim == 2:
        low, high = focus.aminmax(dim=1)  # (B,) each
        return disparity - torch.minimum(torch.maximum(disparity, low.view(-1, 1, 1, 1)), high.view(-1, 1, 1, 1))
    return disparity - focus.view(-1, 1, 1, 1)


@dataclass(frozen=True)
class ApertureShape:
    """What the aperture looks like from behind the camera; a defocused light images as it. The default is a disc.

    blades: 0 = round, else 5 to 9: a regular polygon with its corners on the disc's rim, the first one up.
    rotation: degrees, clockwise.
    roundness: 0 = straight blades, 1 = a disc again.
    ring: radius of the central obstruction (mirror lens), as a share of the outer one, 0 to 0.9.
    cat_eye: 0 to 1: how far the barrel cuts the aperture off towards the photo's corners; at 1, by the whole radius.

    Light is kept: shapes of smaller area image brighter, as at the same exposure. With `cat_eye`, nearly: each place is
    blurred by the aperture of that place, which leaves what is of one colour as it is, and of a small light in the
    photo's middle, at cat_eye 1, 97 % where it is blurred as by aperture 16 and 93 % as by 32; with a ring, towards the
    corners, 5 % less or more.

    Raises:
        ValueError: a value out of its range, or no number.
    """

    blades: int = 0
    rotation: float = 0.0
    roundness: float = 0.0
    ring: float = 0.0
    cat_eye: float = 0.0

    def __post_init__(self) -> None:
        accepted = {
            "blades": ("be 0 (round) or 5 to 9", lambda blades: blades in (0, 5, 6, 7, 8, 9)),
            "rotation": ("be a finite number of degrees", math.isfinite),
            "roundness": ("lie in [0, 1]", lambda roundness: 0 <= roundness <= 1),  # nan does not
            "ring": ("lie in [0, 0.9]", lambda ring: 0 <= ring <= 0.9),
            "cat_eye": ("lie in [0, 1]", lambda cat_eye: 0 <= cat_eye <= 1),
        }
        for name, (wanted, fits) in accepted.items():
            value = getattr(self, name)
            try:
                fit = bool(fits(value))
            except (TypeError, ValueError, RuntimeError):  # no number, or many
                fit = False
            if not fit:
                raise ValueError(f"{name} must {wanted}; got {value!r}")


DISC = ApertureShape()


def disc(radius: float) -> Tensor:
    """Antialiased disc of `radius` pixels, normalised to sum 1: the image of a defocused point, (k, k), k odd.

    A pixel holds its covered share, to first order: clamp(radius + 1/2 - distance, 0, 1).
    """
    reach = max(math.ceil(radius - 0.5), 0)
    at = torch.arange(-reach, reach + 1, dtype=torch.float32)
    kernel = (radius + 0.5 - (at[:, None].square() + at.square()).sqrt()).clamp(0, 1)
    return kernel / kernel.sum()


SUBPIXELS = 5  # samples across a pixel of an aperture image


def aperture_image(defocus: float, shape: ApertureShape = DISC, corner: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    """The image of a point at signed `defocus` pixels: the aperture, of radius |defocus|, sum 1, (k, k), k odd.

    Behind the focal plane the aperture shows upright, in front of it turned by half a turn.

    Args:
        defocus: in pixels; > 0 in front of the focal plane.
        shape: of the aperture.
        corner: (x, y) of the point from the photo's centre; the corners are at distance 1. Steers the cat's eye: the
            aperture and the barrel's opening, both centred about the point, are moved apart along this direction;
            behind the focal plane the barrel's is the outer one.
    """
    radius = abs(defocus)
    if shape == DISC:
        return disc(radius)
    reach = max(math.ceil(radius - 0.5), 0)
    fine = (torch.arange((2 * reach + 1) * SUBPIXELS) + 0.5) / SUBPIXELS - reach - 0.5
    y, x = torch.meshgrid(fine, fine, indexing="ij")  # pixels from the centre
    half = [shape.cat_eye * radius * side / 2 for side in corner]
    distance = torch.hypot(x + half[0], y + half[1])
    rim = torch.full_like(distance, radius)
    if shape.blades:
        sector = 2 * math.pi / shape.blades
        angle = torch.atan2(x + half[0], -(y + half[1])) - math.radians(shape.rotation)  # from up
        from_middle = torch.remainder(angle, sector) - sector / 2  # of the nearest blade
        straight = radius * math.cos(sector / 2) / torch.cos(from_middle)
        rim = straight + shape.roundness * (radius - straight)
    lit = (distance <= rim) & (distance >= shape.ring * radius)
    lit &= torch.hypot(x - half[0], y - half[1]) <= radius
    size = 2 * reach + 1
    kernel = lit.float().view(size, SUBPIXELS, size, SUBPIXELS).mean((1, 3))
    kernel = kernel.flip(0, 1) if defocus > 0 else kernel  # as a whole: blades, ring and barrel
    return kernel / kernel.sum() if bool(kernel.any()) else disc(radius)
