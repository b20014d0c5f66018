"""Scenes with exact depth, drawn at random: things on tables, boards and books, heaps, plants, seen from any height.

What they teach: a thing's edge is a step in depth and its print is none, and "low in the picture" is only sometimes
"near". Painted with photos and patterns, lit by one lamp and the room.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.random import Generator
from PIL import Image

from ...files.exif import upright_rgb
from ..data import grey
from . import textures
from .raycast import Camera, Map, Skin, Solid, photograph

TEXTURE_SIZE = 256


def turned(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> Map:
    """Rotation (3, 3): roll about z first, then pitch about x (positive looks up), then yaw about y. Radians."""
    (cy, sy), (cp, sp), (cr, sr) = ((math.cos(a), math.sin(a)) for a in (yaw, pitch, roll))
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return (about_y @ about_x @ about_z).astype(np.float32)


class Table:
    """Sets up one scene: its solids, its camera."""

    def __init__(self, rng: Generator, photos: Sequence[Path], masks: Sequence[Path]):
        """masks: NAME.*.png of the photos NAME.*: their subjects stand in the scene as boards."""
        self.rng, self.photos = rng, photos
        photo_of = {photo.stem: photo for photo in photos}
        self.subjects = [(photo_of[m.name.split(".")[0]], m) for m in masks if m.name.split(".")[0] in photo_of]
        self.solids: list[Solid] = []
        palette = [self.texture(0.3) for _ in range(4)]  # things of one scene share some of their looks
        self.palette = palette

    # What things are painted with

    def texture(self, photo_share: float) -> Map:
        if len(self.photos) and self.rng.random() < photo_share:
            path = self.photos[self.rng.integers(len(self.photos))]
            return textures.photograph(self.rng, TEXTURE_SIZE, path)
        return textures.pattern(self.rng, TEXTURE_SIZE)

    def skin(self, density: float | None = None) -> Skin:
        rng = self.rng
        texture = self.palette[rng.integers(4)] if rng.random() < 0.5 else self.texture(0.25)
        if rng.random() < 0.35:  # plain paint, with just a hint of texture
            texture = textures.colour(rng) * (0.85 + 0.3 * texture / max(float(texture.mean()), 0.05)).clip(0.5, 1.5)
        return Skin.of(texture.clip(0, 1.2), rng.uniform(0.3, 1.2) if density is None else density)

    def subject(self) -> tuple[Skin, float]:
        """A photo's own subject, cut out, and its width over its height."""
        photo, mask = self.subjects[self.rng.integers(len(self.subjects))]
        matte = grey(mask)
        box = matte.point(lambda value: 255 * (value > 127)).getbbox() or (0, 0, *matte.size)
        picture = upright_rgb(photo)
        scale = (picture.width / matte.width, picture.height / matte.height)
        part = tuple(side * scale[i % 2] for i, side in enumerate(box))
        square = (TEXTURE_SIZE, TEXTURE_SIZE)
        look = np.asarray(picture.resize(square, Image.Resampling.BICUBIC, box=part), np.float32) / 255
        alpha = np.asarray(matte.resize(square, Image.Resampling.BILINEAR, box=box), np.float32) / 255
        width, height = part[2] - part[0], part[3] - part[1]
        return Skin.of(textures.decode(look), 1.0, alpha), width / max(height, 1)

    # Things

    def add(self, kind: str, centre: Sequence[float], stretch: Sequence[float], rotation: Map, skin: Skin) -> None:
        self.solids.append(
            Solid(kind, np.array(centre, np.float32), np.array(stretch, np.float32), rotation.astype(np.float32), skin)
        )

    def thing(self, x: float, z: float, scale: float, floor: float = 0.0) -> None:
        """Something that stands or lies on the floor at (x, floor, z), about `scale` metres large."""
        rng = self.rng
        kind = rng.choice(["box", "book", "ball", "cylinder", "cone", "vase", "stick", "plant", "subject"],
                          p=[0.2, 0.12, 0.1, 0.16, 0.06, 0.08, 0.08, 0.08, 0.12])  # fmt: skip
        yaw, r = rng.uniform(0, 2 * math.pi), scale * rng.uniform(0.6, 1.3) / 2
        if kind == "box":
            size = r * rng.uniform(0.35, 1.0, 3)
            self.add("box", (x, floor + size[1], z), size, turned(yaw), self.skin())
        elif kind == "book":  # a thin slab, lying or leaning
            size = r * np.array([rng.uniform(0.5, 0.9), 1.0, rng.uniform(0.03, 0.15)])
            pitch = rng.choice([math.pi / 2, rng.uniform(-0.5, 0.5)], p=[0.35, 0.65])
            height = size[2] if pitch > 1 else size[1] * math.cos(pitch)
            self.add("box", (x, floor + height, z), size, turned(yaw, pitch), self.skin(0.6))
        elif kind == "ball":
            size = r * rng.uniform(0.7, 1.0, 3) if rng.random() < 0.4 else np.full(3, 0.8 * r)
            self.add("ball", (x, floor + size[1], z), size, turned(yaw), self.skin())
        elif kind == "cylinder":
            lying = rng.random() < 0.2
            size = r * np.array([1.0, rng.uniform(0.5, 2.2), 1.0]) * 0.6
            rest = turned(yaw, math.pi / 2) if lying else turned(yaw)
            self.add("cylinder", (x, floor + (size[0] if lying else size[1]), z), size, rest, self.skin())
        elif kind == "cone":
            self.add("cone", (x, floor + r, z), (0.6 * r, r, 0.6 * r), turned(yaw), self.skin())
        elif kind == "vase":
            skin = self.skin()
            self.add("ball", (x, floor + 0.6 * r, z), (0.55 * r, 0.6 * r, 0.55 * r), turned(yaw), skin)
            self.add("cylinder", (x, floor + 1.2 * r, z), (0.2 * r, 0.4 * r, 0.2 * r), turned(yaw), skin)
        elif kind == "stick":
            tilt = turned(yaw, rng.normal() * 0.3, rng.normal() * 0.3)
            self.add("cylinder", (x, floor + 1.2 * r, z), (0.05 * r, 1.4 * r, 0.05 * r), tilt, self.skin())
        elif kind == "plant":
            self.plant(x, z, floor, r)
        elif self.subjects:
            skin, aspect = self.subject()
            height = 1.3 * r
            facing = math.atan2(x, z) + rng.normal() * 0.25  # the camera stands near x = 0, z = 0
            self.add("board", (x, floor + height, z), (height * aspect, height, 1e-3), turned(facing + math.pi), skin)

    def plant(self, x: float, z: float, floor: float, r: float) -> None:
        """Stalks or a bush: leaves are flat ellipses, blades are thin boards, all in a few related greens or autumn."""
        rng = self.rng
        skins = [Skin.of(textures.colour(rng) * rng.uniform(0.3, 1.7, 3) * self.palette[0].clip(0.2, 1)) for _ in "abc"]
        if rng.random() < 0.6:
            pot = 0.3 * r
            self.add("cylinder", (x, floor + pot, z), (pot, pot, pot), turned(), self.skin())
            floor += 2 * pot
        blades = rng.random() < 0.4
        for _ in range(int(rng.integers(12, 40))):
            yaw, bend = rng.uniform(0, 2 * math.pi), rng.uniform(0.1, 0.9)
            length = r * rng.uniform(0.4, 1.0)
            if blades:
                rest = turned(yaw, bend)
                at = np.array([x, floor, z]) + rest @ np.array([0, length, 0])
                self.add("ball", at, (0.04 * r, length, 0.01 * r), rest, skins[rng.integers(3)])
            else:
                at = np.array([x, floor + r, z]) + rng.normal(0, 0.4 * r, 3) * (1, 1.1, 1)
                size = np.array([rng.uniform(0.06, 0.12), rng.uniform(0.15, 0.3), 0.01]) * r
                self.add("ball", at, size, turned(yaw, bend * 2, rng.normal()), skins[rng.integers(3)])

    def wall(self, z: float, yaw: float) -> None:
        self.add("plane", (0, 0, z), (1, 1, 1), turned(yaw), self.skin(rng_density(self.rng)))

    # Scenes

    def spread(self, count: int, reach: tuple[float, float], sizes: tuple[float, float], floor: float = 0.0) -> None:
        """Things of these sizes on the floor, between reach[0] and reach[1] metres away; some stand on a box."""
        rng = self.rng
        for _ in range(count):
            z = rng.uniform(*reach)
            x, base = rng.uniform(-0.6, 0.6) * z, floor
            if rng.random() < 0.2:
                size = rng.uniform(*sizes, 3) * 0.4
                self.add("box", (x, floor + size[1], z), size, turned(rng.normal() * 0.3), self.skin())
                base += 2 * size[1]
            self.thing(x, z, rng.uniform(*sizes), base)

    def compose(self) -> Camera:
        """Fill `solids` and place the camera."""
        rng = self.rng
        kind = rng.choice(["table", "steps", "above", "heap", "boards"], p=[0.4, 0.22, 0.1, 0.14, 0.14])
        focal, roll = rng.uniform(0.9, 2.2), rng.normal() * 0.05
        if kind == "above":  # a table seen from above: nothing is nearer for being lower
            height = rng.uniform(1.0, 2.0)
            self.add("plane", (0, 0, 0), (1, 1, 1), turned(0, math.pi / 2), self.skin(rng_density(rng)))
            pitch = -rng.uniform(1.1, math.pi / 2)
            centre = height / math.tan(-pitch)
            for _ in range(int(rng.integers(4, 18))):
                at = rng.uniform(-0.5, 0.5, 2) * height / focal
                self.thing(at[0], centre + at[1], rng.uniform(0.1, 0.45))
            return Camera(np.array([0, height, 0], np.float32), turned(0, pitch, rng.uniform(-3, 3)), focal)
        near = rng.uniform(0.7, 1.6)
        far = near + rng.uniform(0.5, 2.5)
        self.wall(far, rng.normal() * 0.35)
        if rng.random() < 0.3:  # a second wall makes a corner
            side = rng.choice([-1, 1])
            self.add("plane", (side * rng.uniform(0.6, 1.6), 0, 0), (1, 1, 1), turned(math.pi / 2), self.skin(0.5))
        if kind == "table":  # things that overlap, seen from little above
            height = near * rng.uniform(0.05, 0.7)
            slant = turned(0, math.pi / 2 + rng.normal() * 0.04, rng.normal() * 0.05)
            self.add("plane", (0, 0, 0), (1, 1, 1), slant, self.skin(rng_density(rng)))
            self.spread(int(rng.integers(5, 20)), (near, far), (0.2 * near, 0.8 * near))
            pitch = math.atan2(0.2 * near - height, rng.uniform(near, far)) + rng.normal() * 0.08
            return Camera(np.array([0, height, 0], np.float32), turned(rng.normal() * 0.08, pitch, roll), focal)
        if kind == "steps":  # rows of like things, each behind and above the last, as on a shelf, a stand, in a crowd
            rows, size = int(rng.integers(2, 6)), near * rng.uniform(0.2, 0.5)
            rise = size * rng.uniform(0.2, 0.9)
            for row in range(rows):
                z, floor = near + (far - near) * row / rows, row * rise
                depth = (far - near) / rows / 2
                self.add("box", (0, floor - 2, z + depth), (9, 2, depth), turned(), self.skin())
                self.spread(int(rng.integers(2, 8)), (z, z + depth), (0.7 * size, 1.3 * size), floor)
            middle = rows * rise / 2
            position = np.array([0, middle + near * rng.uniform(-0.1, 0.4), 0], np.float32)
            pitch = math.atan2(middle - position[1], (near + far) / 2) + rng.normal() * 0.05
            return Camera(position, turned(rng.normal() * 0.08, pitch, roll), focal)
        if kind == "heap":  # things on steps and piles of their own, near the camera at any height
            for _ in range(int(rng.integers(10, 32))):
                z = rng.uniform(0.9, far)
                x, y = rng.uniform(-0.6, 0.6, 2) * z / focal * 1.6
                self.thing(x, z, rng.uniform(0.1, 0.5), y - 0.15)
        else:  # cards and books, one before the other, each slanted its own way
            for _ in range(int(rng.integers(3, 12))):
                z = rng.uniform(0.8, far)
                x, y = rng.uniform(-0.7, 0.7, 2) * z / focal
                size = rng.uniform(0.1, 0.5, 2)
                rest = turned(rng.normal() * 0.6, rng.normal() * 0.4, rng.normal() * 0.3)
                self.add("board" if rng.random() < 0.6 else "box", (x, y, z), (*size, 0.03), rest, self.skin(1.0))
        return Camera(np.zeros(3, np.float32), turned(rng.normal() * 0.1, rng.normal() * 0.15, roll), focal)


def rng_density(rng: Generator) -> float:
    """Repetitions a metre of a table's or a wall's texture."""
    return textures.log_uniform(rng, 0.3, 3)


def tabletop_scene(seed: int, size: int, photos: Sequence[Path] = (), masks: Sequence[Path] = ()) -> tuple[Map, Map]:
    """One scene, a pure function of its arguments: picture (size, size, 3) in sRGB, disparity (size, size) in [0, 1].

    Both float32; disparity is stretched to [0, 1], 1 = nearest. Raises ValueError for size < 32.
    """
    if size < 32:
        raise ValueError(f"size: must be at least 32, not {size}")
    rng = np.random.default_rng((seed, 7))
    table = Table(rng, photos, masks)
    camera = table.compose()
    lamp = np.array([rng.normal(), rng.uniform(0.4, 2.0), -rng.uniform(0.1, 1.5)], np.float32)
    picture, disparity = photograph(
        rng, table.solids, camera, size, lamp / np.linalg.norm(lamp), rng.uniform(0.25, 0.7), textures.colour(rng)
    )
    exposed = picture * (0.45 / max(float(np.quantile(picture, 0.8)), 1e-3)) * rng.uniform(0.6, 1.5)
    exposed = exposed * rng.uniform(0.85, 1.15, 3).astype(np.float32) + rng.normal(0, 0.004, picture.shape)
    exposed = exposed.clip(0, 1)
    nearest = float(np.quantile(disparity, 0.999))  # a leaf at the lens does not squeeze everything else
    low, high = float(disparity.min()), max(nearest, 1e-6)
    return textures.encode(exposed), ((disparity - low) / max(high - low, 1e-6)).clip(0, 1).astype(np.float32)
