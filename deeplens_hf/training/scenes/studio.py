"""Composes scenes at random: which things stand where, how near, painted with what, in which light.

A scene is drawn back to front on a square canvas, in arbitrary units of disparity that grow towards the camera.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator

from . import mattes, textures
from .mattes import Map
from .street import night_street

STREETS = 0.4  # of the backdrops by night
WOOLLY = 0.3  # of the opaque things: parts of their outline fade over several pixels, as fur, wool and haste do


@dataclass
class Sheet:
    """A layer while it is being composed, in numpy."""

    radiance: Map  # (H, W, 3) linear
    alpha: Map  # (H, W)
    disparity: Map  # (H, W), any affine scale until the scene is whole


class Studio:
    """Draws the layers of one scene on a square canvas, back to front."""

    def __init__(self, rng: Generator, size: int, photos: Sequence[Path], masks: Sequence[Path], smallest_lamp: float):
        """`smallest_lamp`: the least radius of a lamp, px, whose blur the lens points still fill evenly."""
        self.rng, self.size, self.photos, self.masks, self.smallest_lamp = rng, size, photos, masks, smallest_lamp
        self.photo_of = {photo.stem: photo for photo in photos}  # a mask NAME.*.png belongs to the photo NAME.*
        self.y, self.x = (np.mgrid[:size, :size].astype(np.float32) + 0.5) / size - 0.5  # [-1/2, 1/2]
        self.sheets: list[Sheet] = []
        self.by_night = False
        self.before_street = False  # whether the backdrop is a street, lit already

    # What things are painted with

    def texture(self, photo_share: float = 0.6) -> Map:
        """A photo or a procedural pattern, (H, W, 3)."""
        if len(self.photos) and self.rng.random() < photo_share:
            return textures.photograph(self.rng, self.size, self.photos[self.rng.integers(len(self.photos))])
        return textures.pattern(self.rng, self.size)

    def leaf_texture(self, shade: Map) -> Map:
        """Strands or leaves: two related colours mixed broadly, each strand or leaf in its own brightness."""
        first = textures.colour(self.rng)
        second = first * self.rng.uniform(0.3, 1.7, 3)
        mix = textures.noise(self.rng, self.size, self.size / 4)[..., None]
        return ((first + (second - first) * mix) * (2 * shade[..., None]) ** 2).astype(np.float32).clip(0, 1.2)

    # Where things are

    def plane(self, value: float, slope_x: float = 0.0, slope_y: float = 0.0) -> Map:
        """Disparity `value` at the canvas's centre, changing by the slopes across it: (H, W)."""
        return (value + slope_x * self.x + slope_y * self.y).astype(np.float32)

    def tilted(self, value: float, span: float) -> Map:
        """A plane that changes by `span` across the canvas, in any direction."""
        turn = self.rng.uniform(0, 2 * math.pi)
        return self.plane(value, span * math.cos(turn), span * math.sin(turn))

    def surface(self, value: float, at: tuple[float, float], reach: float, depth: float) -> Map:
        """About `value`: flat, slanted, or bulging towards the camera like a cylinder or a ball by up to `depth`."""
        kind = self.rng.choice(["flat", "slanted", "cylinder", "ball"], p=[0.3, 0.3, 0.25, 0.15])
        if kind == "flat":
            return self.plane(value)
        u, v = self.about(at, reach)
        if kind == "slanted":
            turn = self.rng.uniform(0, 2 * math.pi)
            return (value + depth / 2 * (u * math.cos(turn) + v * math.sin(turn))).astype(np.float32)
        distance = u**2 if kind == "cylinder" else u**2 + v**2
        return (value + depth * np.exp(-distance)).astype(np.float32)

    def about(self, at: tuple[float, float], reach: float) -> tuple[Map, Map]:
        """Coordinates u, v (H, W) of a thing: 0 at its centre, 1 at `reach` pixels right of and below it."""
        return ((self.x + 0.5) * self.size - at[0]) / reach, ((self.y + 0.5) * self.size - at[1]) / reach

    def spot(self) -> tuple[float, float]:
        x, y = self.rng.uniform(0.12, 0.88, 2) * self.size
        return float(x), float(y)

    # Things

    def add(self, alpha: Map, radiance: Map, disparity: Map) -> None:
        self.sheets.append(Sheet(radiance, alpha, disparity))

    def backdrop(self, disparity: Map) -> None:
        self.before_street = self.by_night and not self.sheets and self.rng.random() < STREETS
        light = night_street(self.rng, self.size) if self.before_street else self.texture(0.75)
        self.add(np.ones((self.size, self.size), np.float32), light, disparity)

    def solid(self, at: tuple[float, float], reach: float) -> tuple[Map, Map]:
        """An opaque thing's matte and texture, shaded as if lit from one side."""
        rng, look = self.rng, None
        kind = rng.choice(["silhouette", "blob", "facets", "vessel"], p=[0.45, 0.17, 0.15, 0.23])
        if kind == "silhouette" and len(self.masks):
            mask = self.masks[rng.integers(len(self.masks))]
            photo = self.photo_of.get(mask.name.split(".")[0]) if rng.random() < 0.7 else None
            alpha, look = mattes.silhouette(rng, self.size, mask, at, reach, photo)
        elif kind in ("silhouette", "blob"):
            alpha = mattes.blob(rng, self.size, at, reach)
        elif kind == "facets":
            alpha = mattes.facets(rng, self.size, at, reach)
        else:
            alpha = mattes.vessel(rng, self.size, at, reach)
        if look is not None:
            radiance = textures.decode(look)
        else:
            turn, contrast = rng.uniform(0, 2 * math.pi), rng.uniform(0, 0.9)
            u, v = self.about(at, reach)
            light = 1 + contrast * np.tanh(u * math.cos(turn) + v * math.sin(turn))
            radiance = self.texture(0.5) * light[..., None]
        if rng.random() < 0.3:  # a highlight, as on glaze or metal
            where = (at[0] + rng.normal() * reach * 0.3, at[1] + rng.normal() * reach * 0.3)
            gleam = mattes.disc_matte(self.size, where, self.smallest_lamp + rng.uniform(0, 0.04) * reach)
            radiance = radiance + mattes.soften(gleam, 0.6)[..., None] * rng.uniform(0.5, 6)
        alpha = mattes.soften(alpha, rng.choice([0, 0.4, 0.8]))
        if rng.random() < WOOLLY:
            soft = np.clip(3 * textures.noise(rng, self.size, reach / 2) - 1, 0, 1)  # in parts
            alpha = alpha + soft * (mattes.soften(alpha, rng.uniform(1.5, 4)) - alpha)
        return alpha.astype(np.float32), radiance.astype(np.float32)

    def cutout(self, value: float) -> None:
        """A thing in mid-air, whole and large."""
        at, reach = self.spot(), self.size * self.rng.uniform(0.1, 0.5)
        alpha, radiance = self.solid(at, reach)
        self.add(alpha, radiance, self.surface(value, at, reach, self.rng.uniform(-0.15, 0.15)))

    def standing(self, ground: Map, count: int, uphill: tuple[float, float]) -> None:
        """Things whose foot touches the ground: each as near as the ground at its foot, the farthest first."""
        things = []
        for _ in range(count):
            at, reach = self.spot(), self.size * self.rng.uniform(0.06, 0.3)
            alpha, radiance = self.solid(at, reach)
            # The foot is the matte's end that points to where the ground is nearest.
            along = np.where(alpha > 0.5, self.x * uphill[0] + self.y * uphill[1], -9)
            value = float(ground.flat[int(along.argmax())])
            things.append((value, alpha, radiance, self.surface(value, at, reach, self.rng.uniform(0, 0.06))))
        for _, alpha, radiance, disparity in sorted(things, key=lambda thing: thing[0]):
            self.add(alpha, radiance, disparity)

    def head(self, value: float) -> None:
        """Hair about a head, often with a body below."""
        at, reach = self.spot(), self.size * self.rng.uniform(0.2, 0.5)
        alpha, shade = mattes.hair(self.rng, self.size, at, reach)
        self.add(alpha, self.leaf_texture(shade), self.surface(value, at, reach, self.rng.uniform(0, 0.06)))
        if self.rng.random() < 0.6:
            face = mattes.soften(mattes.blob(self.rng, self.size, (at[0], at[1] + 0.1 * reach), 0.4 * reach), 0.5)
            self.add(face, self.texture(0.3), self.surface(value + 0.03, at, reach, self.rng.uniform(0, 0.06)))

    def leaves(self, value: float) -> None:
        alpha, shade = mattes.foliage(self.rng, self.size)
        self.add(alpha, self.leaf_texture(shade), self.tilted(value, self.rng.uniform(0, 0.2)))

    def thin(self, value: float) -> None:
        """A fence, wires or letters."""
        draw = (mattes.lattice, mattes.wires, mattes.glyphs)[self.rng.choice(3, p=[0.4, 0.4, 0.2])]
        self.add(draw(self.rng, self.size), self.texture(0.3), self.tilted(value, self.rng.choice([0, 0.15, 0.4])))

    def veil(self, value: float) -> None:
        """Smoke, gauze or a dirty pane: alpha 0.3 to 0.8."""
        alpha = self.rng.uniform(0.3, 0.7) + 0.1 * textures.noise(self.rng, self.size, self.size / 2)
        if self.rng.random() < 0.7:
            alpha = alpha * mattes.blob(self.rng, self.size, self.spot(), self.size * self.rng.uniform(0.1, 0.4))
        self.add(alpha.astype(np.float32), self.texture(0.3), self.tilted(value, 0.1))

    # Scenes

    def cutouts(self) -> None:
        """One to three clearly separated cut-outs before a slanted photo."""
        self.backdrop(self.tilted(0.1, self.rng.uniform(0, 0.3)))
        count = int(self.rng.integers(1, 4))
        for index in range(count):
            self.cutout(0.3 + 0.7 * (index + self.rng.uniform(0, 1)) / count)

    def ground(self) -> None:
        """Things standing on a plane that runs from near to far; often with a wall behind it."""
        rng = self.rng
        turn = math.pi / 2 + (rng.choice([0, rng.normal() * 0.3, rng.uniform(0, 2 * math.pi)]))
        uphill = (math.cos(turn), math.sin(turn))  # the direction in which the ground comes nearer; y runs down
        span = rng.uniform(0.5, 1.2)
        ground = self.plane(0.5, span * uphill[0], span * uphill[1])
        if rng.random() < 0.6:  # a table or a street that ends at a wall, or at the far distance
            horizon = rng.uniform(-0.35, 0.1)
            edge = (self.x * uphill[0] + self.y * uphill[1] - horizon) * self.size
            level = 0.5 + span * horizon
            self.backdrop(self.tilted(level - rng.choice([0.0, rng.uniform(0, 0.3)]), rng.choice([0, 0.02])))
            self.add(np.clip(edge + 0.5, 0, 1).astype(np.float32), self.texture(0.5), ground)
            ground = np.maximum(ground, level)
        else:
            self.backdrop(ground)
        self.standing(ground, int(rng.integers(1, 6)), uphill)

    def garden(self) -> None:
        """Foliage in depth, and hair or a cut-out before or within it."""
        self.backdrop(self.tilted(0.05, 0.1))
        for value in np.sort(self.rng.uniform(0.1, 0.6, self.rng.integers(1, 4))):
            self.leaves(value)
        (self.head if self.rng.random() < 0.7 else self.cutout)(self.rng.uniform(0.6, 0.9))

    def paper(self) -> None:
        """A slanted print, with at most two things lying on it."""
        rng = self.rng
        turn, span = rng.uniform(0, 2 * math.pi), rng.uniform(0.3, 1)
        page = self.plane(0.5, span * math.cos(turn), span * math.sin(turn))
        self.backdrop(page)
        if rng.random() < 0.7:
            ink, page_light = mattes.glyphs(rng, self.size)[..., None], self.sheets[0].radiance
            self.sheets[0].radiance = page_light + ink * (textures.colour(rng).astype(np.float32) * 0.3 - page_light)
        for _ in range(rng.integers(0, 3)):
            alpha, radiance = self.solid(self.spot(), self.size * rng.uniform(0.05, 0.25))
            self.add(alpha, radiance, page + np.float32(rng.uniform(0, 0.08)))

    def medley(self) -> None:
        """Anything at any distance."""
        self.backdrop(self.tilted(0, self.rng.uniform(0, 0.8)))
        kinds = (self.cutout, self.head, self.leaves, self.thin)
        for value in np.sort(self.rng.uniform(0, 1, self.rng.integers(0, 5))):
            kinds[self.rng.integers(len(kinds))](value)

    def compose(self, night: bool | None = None, cutouts: bool = False) -> list[Sheet]:
        """A whole scene, back to front, in arbitrary disparity units; by night as asked, else every third or so.

        cutouts: large things before a photo, and none of the other scenes.
        """
        rng = self.rng
        self.by_night = rng.random() < 0.3 if night is None else night
        kinds = (self.cutouts, self.ground, self.garden, self.paper, self.medley)
        kinds[0 if cutouts else rng.choice(len(kinds), p=[0.26, 0.32, 0.14, 0.1, 0.18])]()
        nearest = max(float(sheet.disparity[sheet.alpha > 0.5].max(initial=0)) for sheet in self.sheets)
        if rng.random() < 0.15:
            self.thin(nearest + rng.uniform(0, 0.5))
        if rng.random() < 0.06:
            self.veil(nearest + rng.uniform(0, 0.3))
        if self.by_night:
            self.night()
        else:
            self.day()
        return self.sheets

    # Light

    def day(self) -> None:
        exposure = self.rng.uniform(0.5, 1.3)
        blown = self.rng.uniform(1, 4) if self.rng.random() < 0.25 else 1.0  # skies and windows brighter than white
        for index, sheet in enumerate(self.sheets):
            sheet.radiance = sheet.radiance * np.float32(exposure)
            if index == 0:
                bright = np.clip((sheet.radiance.min(-1, keepdims=True) - 0.6) / 0.4, 0, 1)
                sheet.radiance = sheet.radiance * (1 + (blown - 1) * bright**2)

    def night(self) -> None:
        """Little light, and lamps much brighter than white, in any layer."""
        rng = self.rng
        dark = textures.log_uniform(rng, 0.03, 0.4)
        for sheet in self.sheets[int(self.before_street) :]:  # a street has its own lamps
            sheet.radiance = sheet.radiance * np.float32(dark)
        for _ in range(rng.integers(1, 5) if rng.random() < 0.6 else 0):
            self.house_front()
        for _ in range(rng.integers(0, 4)):
            self.sign()
        for _ in range(rng.integers(0, 6)):
            self.gleam()
        for _ in range(rng.integers(3, 26)):
            sheet = self.sheets[int(rng.integers(len(self.sheets)) * rng.choice([0, 1], p=[0.4, 0.6]))]
            rows, columns = np.nonzero(sheet.alpha > 0.5)
            if len(rows) == 0:
                continue
            pick = rng.integers(len(rows))
            lamp = mattes.disc_matte(self.size, (columns[pick], rows[pick]), self.lamp_radius())
            light = textures.lamp_colour(rng) * textures.log_uniform(rng, 3, 200)
            sheet.alpha = np.maximum(sheet.alpha, lamp)
            sheet.radiance = (sheet.radiance + lamp[..., None] * (light - sheet.radiance)).astype(np.float32)

    def lamp_radius(self) -> float:
        """Pixels; most are small and far, some are street lamps close by."""
        if self.rng.random() < 0.2:
            return float(self.rng.uniform(4, max(5, self.size / 16)))
        return float(self.rng.uniform(self.smallest_lamp, 4))

    def house_front(self) -> None:
        """Lit windows on one of the sheets, the farthest more often than not: up to a few times white."""
        rng = self.rng
        sheet = self.sheets[int(rng.integers(len(self.sheets)) * rng.choice([0, 1]))]
        panes = (mattes.windows(rng, self.size) * (sheet.alpha > 0.5))[..., None]
        light = textures.lamp_colour(rng) * textures.log_uniform(rng, 0.6, 6)
        sheet.radiance = (sheet.radiance + panes * (light - sheet.radiance)).astype(np.float32)

    def gleam(self) -> None:
        """Light mirrored by a wet street, a car or a bottle: a soft streak, upright more often than not."""
        rng = self.rng
        sheet, (x, y) = self.sheets[int(rng.integers(len(self.sheets)))], self.spot()
        wide, high = self.size * np.exp(rng.uniform(math.log(0.008), math.log(0.08), 2))
        columns, rows = (self.x + 0.5) * self.size - x, (self.y + 0.5) * self.size - y
        streak = np.exp(-((columns / wide) ** 2) - (rows / (high * rng.choice([1, 3]))) ** 2)
        light = textures.lamp_colour(rng) * textures.log_uniform(rng, 0.3, 4)
        sheet.radiance = (sheet.radiance + streak[..., None] * light).astype(np.float32)

    def sign(self) -> None:
        """A lit panel, a window or a screen on one of the sheets: larger than a lamp, and a few times white at most."""
        rng = self.rng
        sheet = self.sheets[int(rng.integers(len(self.sheets)))]
        at, reach = self.spot(), self.size * textures.log_uniform(rng, 0.03, 0.25)
        wide, high = reach, reach * rng.uniform(0.3, 1)
        turn = rng.normal() * 0.15
        corners = np.array([(-wide, -high), (wide, -high), (wide, high), (-wide, high)]) / 2
        turned = corners @ np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
        panel = mattes.soften(mattes.polygon_matte(self.size, [turned + np.array(at)]), rng.choice([0, 0.6]))
        light = textures.lamp_colour(rng) * textures.log_uniform(rng, 0.8, 6)
        if rng.random() < 0.4:  # not evenly lit
            light = light * (0.6 + 0.8 * textures.noise(rng, self.size, reach)[..., None])
        panel = (panel * (sheet.alpha > 0.5))[..., None]
        sheet.radiance = (sheet.radiance + panel * (light - sheet.radiance)).astype(np.float32)
