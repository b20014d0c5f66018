"""DeepLens: depth prediction, lens blur, guided upsampling, in that order, as one Hub model."""

# No `from __future__ import annotations` here: the Hub mixin reads the type of `config` from the signature.
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from .config import DeepLensConfig
from .depth import DepthPrediction, normalise_disparity, resized
from .disparity.edges import refine
from .disparity.levels import (
    Prepared,
    counted_side,
    halved,
    halvings_until,
    last_foreground,
    last_map,
    recovered_light,
)
from .disparity.mending import EdgeMending, follow, with_fringe
from .disparity.registration import fitted, registered
from .disparity.unstepping import plateaus, unstepped, with_plateaus
from .heap import keep_freed_memory
from .inputs import check_image, check_map, check_number, interval, long_enough, one_each, without_autocast
from .layers.encoders import ENCODERS
from .layers.pooling import halve_map
from .lens_blur import LENS_BLURS
from .optics import DISC, MAX_APERTURE, ApertureShape, from_focus, signed_defocus, srgb_to_linear
from .orientation import Orientation
from .rendering.older_surfaces import OlderSurfaceExtraction
from .sharing.hub import HubMixin
from .upsampling import GuidedUpsampling

if TYPE_CHECKING:
    from .disparity.own_depth import Sense
    from .files.pictures import Source
    from .photo import Photo

MAX_HIGHLIGHTS = 2.0


class DepthMaps(NamedTuple):
    """disparity and foreground, (B, 1, H, W) each, in [0, 1]."""

    disparity: Tensor
    foreground: Tensor


class DeepLens(
    nn.Module,
    HubMixin,
    library_name="deeplens_hf",
    pipeline_tag="image-to-image",
    license="apache-2.0",
    tags=["bokeh", "depth-of-field", "depth-estimation", "refocus"],
):
    """The whole of DeepLens, differentiable end to end.

    `predict_depth`, `render` and `forward` take and give tensors; `open` is for people: a photo in, pictures out.
    """

    config_class = DeepLensConfig

    def __init__(self, config: DeepLensConfig = DeepLensConfig()):  # noqa: B008 (frozen, and the mixin needs it)
        super().__init__()
        keep_freed_memory()
        self.config = config
        self.depth = DepthPrediction(config.encoder, config.depth_width)
        self.lens_blur = LENS_BLURS[config.lens_blur](config.blur_width)
        if config.lens_blur == "slabs" and config.format_version < 8:
            self.lens_blur.surfaces = OlderSurfaceExtraction(config.blur_width, config.format_version >= 5)
            if config.format_version < 4:
                self.lens_blur.gleams = None
        self.upsampling = GuidedUpsampling(self.lens_blur.feature_channels, config.upsampling_width)
        self.mending = EdgeMending(common=config.format_version >= 7) if config.format_version >= 2 else None
        self.orientation = None
        if config.format_version >= 3:
            own = ENCODERS[config.encoder]() if config.format_version >= 6 else None
            self.orientation = Orientation(self.depth.encoder.channels[-1], own)

    @property
    def device(self) -> torch.device:
        """Where the weights are, and where inputs have to be."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """What inputs have to be: float32, or float64; see `from_pretrained`."""
        return next(self.lens_blur.parameters()).dtype

    @without_autocast
    def predict_depth(self, image: Tensor) -> DepthMaps:
        """Disparity and foreground of photos, at their own size.

        Args:
            image: (B, 3, H, W), sRGB in [0, 1].

        Returns:
            disparity (B, 1, H, W), each map stretched to [0, 1], 1 = nearest, and foreground (B, 1, H, W), the
            probability of the main subject. What shows no way up, a table from above, is stretched only as far as
            it has depth whichever way it lies: grass and paper stay near 0.5.

        Raises:
            ValueError: wrong rank, channels, size or range.
        """
        check_image(image, self.dtype)
        height, width = image.shape[-2:]
        image = long_enough(image)
        size = image.shape[-2:]
        small = resized(image, round(self.config.depth_size * max(size) / counted_side(size))).clamp(0, 1)
        ways = self.ways(image)
        if bool((ways[:, 0] == 1).all()):  # as most photos are
            maps, relief = torch.cat(self.predict_small(small), 1), None  # (B, 2, h, w)
        else:  # one by one: photos on their side have another shape
            turned = [self.predict_turned(*each) for each in zip(small.split(1), ways, strict=True)]
            maps, relief = (torch.cat(each) for each in zip(*turned, strict=True))
        disparity, foreground = refine(maps, image)[..., :height, :width].split(1, 1)  # (B, 1, H, W) each
        return DepthMaps(normalise_disparity(disparity, relief), foreground)

    def ways(self, image: Tensor) -> Tensor:
        """How much each of 0 to 3 quarter turns to the left counts for each of (B, 3, H, W); see `Orientation.ways`."""
        if self.orientation is None or self.depth.training:  # as they lie, while depth is learned from them
            return image.new_tensor([1, 0, 0, 0]).expand(len(image), 4)
        return self.orientation.ways(self.depth, image)

    def predict_turned(self, image: Tensor, ways: Tensor) -> tuple[Tensor, Tensor]:
        """Both maps, (1, 2, h, w), and the relief, (1, 1, 1, 1), of a photo (1, 3, h, w) that lies as `ways` says."""
        if ways.max() == 1:
            turns = int(ways.argmax())
            upright = self.predict_small(torch.rot90(image, -turns, (2, 3)))
            return torch.rot90(torch.cat(upright, 1), turns, (2, 3)), image.new_ones(1, 1, 1, 1)
        *maps, relief = self.depth.infer_any_way(self._as_depth_reads(image), ways)
        return torch.cat(self._with_edges(image, *maps), 1), relief.to(image.dtype)

    def predict_small(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Disparity of free scale, and foreground, of upright photos (B, 3, h, w) of the working size."""
        return self._with_edges(image, *self.depth.infer(self._as_depth_reads(image)))

    def _as_depth_reads(self, image: Tensor) -> Tensor:
        return image.to(next(self.depth.parameters()).dtype)  # half, maybe: see from_pretrained

    def _with_edges(self, image: Tensor, disparity: Tensor, foreground: Tensor) -> tuple[Tensor, Tensor]:
        disparity, foreground = disparity.to(image.dtype), foreground.to(image.dtype)
        return self._mended(srgb_to_linear(image), disparity, foreground), foreground

    def _mended(self, light: Tensor, map: Tensor, foreground: Tensor | None) -> Tensor:
        return map if self.mending is None else self.mending(light, map, foreground)

    def prepare_map(self, levels: list[Tensor], map: Tensor, foreground: Tensor | None = None) -> Prepared:
        """(B, 1, H, W) at the last level: stairs made slopes, where the photo has its edges, and these mended.

        The foreground is that large already.
        """
        small = last_map(map, len(levels) - 1)
        smooth = unstepped(small)
        placed, misfits = registered(levels[-1], smooth)
        mended = self._mended(levels[-1], placed, foreground)
        return Prepared(mended, misfits, plateaus(small, smooth))

    @without_autocast
    def render(
        self,
        image: Tensor,
        disparity: Tensor,
        focus: Tensor | float | tuple[float, float],
        aperture: Tensor | float,
        foreground: Tensor | None = None,
        shape: ApertureShape = DISC,
        highlights: float = 1.0,
        prepared: Prepared | None = None,
    ) -> Tensor:
        """The photo through a lens.

        Args:
            image: (B, 3, H, W), sRGB in [0, 1].
            disparity: (B, 1, H, W) in [0, 1], 1 = nearest. If its edges all lie some pixels beside the photo's, it is
                moved there first (`registration`); each edge by itself is brought to the photo's after that.
            focus: (B,) or a number: the sharp disparity, in [0, 1]. (B, 2) or a pair of numbers: the ends of an
                interval that is sharp as a whole. Of a batch of two, too: one focus each takes a tensor (2,) there.
            aperture: (B,) or a number: blur-disc radius in pixels of a 320-pixel-long-side image per unit disparity,
                in [0, 32]; training covers 0 to 16.
            foreground: (B, 1, H, W) in [0, 1], if known: steadies the subject's edge where the disparity is soft.
            shape: of the aperture: blades, ring, cat's eye; a disc if not given.
            highlights: 0 to 2: how much of the light that clipped lamps have lost is given back before the blur; 0 =
                none, 1 = as predicted. What is in focus stays as it is. A number; of a tensor no gradient is kept.
            prepared: what `prepare` made of the same photo, disparity and foreground: spares a third of the time. It
                is not compared with them, but in size.

        Returns:
            (B, 3, H, W), sRGB in [0, 1].

        Raises:
            ValueError: wrong rank, size or range.
        """
        height, width = image.shape[-2:]
        image, disparity, foreground = self._accepted(image, disparity, foreground)
        if not isinstance(shape, ApertureShape):
            raise ValueError(f"shape must be an ApertureShape; got {shape!r}")
        focus = one_each(interval(focus, image), "focus", image, 1.0, also=(len(image), 2))
        aperture = one_each(aperture, "aperture", image, MAX_APERTURE)
        highlights = check_number("highlights", highlights, 0, MAX_HIGHLIGHTS)
        levels = (prepared and prepared.levels) or halved(image, self.halvings(image))
        if levels[0].shape != image.shape:
            raise ValueError(f"prepared must be of this photo, {tuple(image.shape)}; it is of {tuple(levels[0].shape)}")
        foreground = last_foreground(foreground, levels)
        if prepared is None:
            prepared = self.prepare_map(levels, disparity, foreground)
        check_map(prepared.disparity, "prepared.disparity", levels[-1])
        times = 2 ** (len(levels) - 1)
        disparity, focus = fitted(disparity, prepared.misfits, times), with_plateaus(focus, prepared.plateaus)
        defocus = signed_defocus(disparity, focus, aperture, (height, width))
        mended = signed_defocus(prepared.disparity, focus, aperture, (height / times, width / times))
        if foreground is not None:  # the map is a predicted one; `render_defocus` is given true ones, too
            mended = with_fringe(levels[-1], mended)
        out = self._through_lens(image, levels, defocus, mended, foreground, shape, highlights, prepared.light)
        return out[..., :height, :width]

    @without_autocast
    def prepare(self, image: Tensor, disparity: Tensor, foreground: Tensor | None = None) -> Prepared:
        """What `render` needs of a photo whatever the lens, for more pictures than one; arguments, errors as there."""
        image, disparity, foreground = self._accepted(image, disparity, foreground)
        levels = halved(image, self.halvings(image))
        prepared = self.prepare_map(levels, disparity, last_foreground(foreground, levels))
        return prepared._replace(light=recovered_light(levels, self.lens_blur.recovered), levels=levels)

    @without_autocast
    def render_defocus(
        self,
        image: Tensor,
        defocus: Tensor,
        foreground: Tensor | None = None,
        halvings: int | None = None,
        shape: ApertureShape = DISC,
        highlights: float = 1.0,
    ) -> Tensor:
        """`render` from signed defocus in pixels of this image, (B, 1, H, W): no limit on the aperture, no checks.

        halvings: how often the picture is halved before the lens blur; as often as `blur_size` asks for if not given.
        """
        levels = halved(image, self.halvings(image) if halvings is None else halvings)
        foreground = last_foreground(foreground, levels)
        prepared = self.prepare_map(levels, defocus, foreground)
        times = 2 ** (len(levels) - 1)
        sharp = with_plateaus(defocus.new_zeros(len(image)), prepared.plateaus)
        defocus = from_focus(fitted(defocus, prepared.misfits, times), sharp)
        mended = from_focus(prepared.disparity, sharp) / times  # in pixels of that size
        return self._through_lens(image, levels, defocus, mended, foreground, shape, highlights)

    def halvings(self, image: Tensor) -> int:
        """How often (B, 3, H, W) is halved before the lens blur."""
        return halvings_until(counted_side(image.shape[-2:]), self.config.blur_size)

    def _accepted(
        self, image: Tensor, disparity: Tensor, foreground: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The arguments of `render`, checked, and lengthened where they are too small."""
        check_image(image, self.dtype)
        check_map(disparity, "disparity", image)
        if foreground is not None:
            check_map(foreground, "foreground", image)
            foreground = long_enough(foreground.to(image.dtype))
        return long_enough(image), long_enough(disparity.to(image.dtype)), foreground

    def _through_lens(
        self,
        image: Tensor,
        levels: list[Tensor],
        defocus: Tensor,
        mended: Tensor,
        foreground: Tensor | None,
        shape: ApertureShape,
        highlights: float,
        recovered: Tensor | None = None,
    ) -> Tensor:
        """Levels as of `halved`, defocus (B, 1, H, W); that, its edges mended, and the foreground at the last level."""
        maps = [defocus]  # (B, 1, H, W) and so on down
        for _ in levels[1:]:
            maps.append(halve_map(maps[-1]) / 2)
        maps = [*(follow(larger, maps[-1], mended) for larger in maps[:-1]), mended]
        # (B, 3, h, w) linear, (B, F, h/2, w/2)
        subject = torch.zeros_like(mended) if foreground is None else foreground * 2 - 1
        if recovered is None and highlights:
            recovered = recovered_light(levels, self.lens_blur.recovered)
        light, features = self.lens_blur(levels[-1], mended, subject, shape, highlights, recovered)
        for level in reversed(range(1, len(levels) - 1)):
            light = self.upsampling(levels[level], maps[level], light, features, halved=levels[level + 1])
        # always the last time: a small photo's own detail comes in at its size
        halved = levels[1] if len(levels) > 1 else None
        return self.upsampling(image, maps[0], light, features, encoded=True, halved=halved)

    def forward(self, image: Tensor, focus: Tensor | float | tuple[float, float], aperture: Tensor | float) -> Tensor:
        """Predict the depth and render with it: arguments, result and errors as of `render`."""
        maps = self.predict_depth(image)
        return self.render(image, maps.disparity, focus, aperture, maps.foreground)

    def open(self, source: "Source", disparity: "Source | None" = None, depth_is: "Sense | None" = None) -> "Photo":
        """Open a photo for refocusing; its depth is computed once, when first needed. See `photo.open_photo`."""
        from .photo import open_photo  # photo stands on the model; only this convenience looks up

        return open_photo(self, source, disparity, depth_is)
