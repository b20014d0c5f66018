"""Solids, boards and planes in view of a pinhole camera, by casting rays: a picture with its exact disparity.

The world is right-handed, in metres, y up; a ray is origin + t * direction with the direction's component along the
camera's axis 1, so that t is the axial depth and 1 / t the disparity.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Map = NDArray[np.float32]
FAR = np.float32(1e6)  # t of a ray that hits nothing


@dataclass(frozen=True)
class Camera:
    """Where the picture is taken from, and how."""

    position: Map  # (3,)
    rotation: Map  # (3, 3), columns: the camera's right, up and forward in the world
    focal: float  # in units of the picture's side

    def rays(self, size: int, dx: float, dy: float) -> Map:
        """Directions (size * size, 3) through the point (dx, dy) in [0, 1] of each pixel, row by row."""
        steps = np.arange(size, dtype=np.float32)
        right, up = np.meshgrid((steps + dx) / size - 0.5, 0.5 - (steps + dy) / size)
        local = np.stack([right, up, np.full_like(right, self.focal)], -1).reshape(-1, 3) / self.focal
        return (local @ self.rotation.T).astype(np.float32)


@dataclass(frozen=True)
class Skin:
    """A surface's colours at falling sizes, linear light, tiled mirrored; alpha cuts it out where it is below half."""

    levels: list[Map] = field(repr=False)  # (S, S, 3), (S/2, S/2, 3), ...
    alpha: Map | None = field(default=None, repr=False)  # (S, S)
    density: float = 1.0  # repetitions a unit of u and v

    @classmethod
    def of(cls, texture: Map, density: float = 1.0, alpha: Map | None = None) -> "Skin":
        levels = [texture.astype(np.float32)]
        while len(levels[-1]) > 8:
            a = levels[-1]
            levels.append((a[::2, ::2] + a[1::2, ::2] + a[::2, 1::2] + a[1::2, 1::2]) / 4)
        return cls(levels, alpha, density)

    def look_up(self, u: Map, v: Map, footprint: Map) -> Map:
        """Colours (N, 3) at u, v (N,), each averaged over about `footprint` units of u."""
        texels = footprint * self.density * len(self.levels[0])
        level = np.clip(np.log2(np.maximum(texels, 1)).round().astype(int), 0, len(self.levels) - 1)
        out = np.empty((len(u), 3), np.float32)
        for index in np.unique(level):
            at, picture = level == index, self.levels[index]
            out[at] = picture[self._texel(v[at], len(picture)), self._texel(u[at], len(picture))]
        return out

    def opaque(self, u: Map, v: Map) -> NDArray[np.bool_]:
        """Where there is anything, (N,)."""
        if self.alpha is None:
            return np.ones(len(u), bool)
        return self.alpha[self._texel(v, len(self.alpha)), self._texel(u, len(self.alpha))] > 0.5

    def _texel(self, u: Map, count: int) -> NDArray[np.int64]:
        place = np.abs((u * self.density) % 2 - 1)  # mirrored tiles have no seam
        return np.minimum((place * count).astype(int), count - 1)


@dataclass(frozen=True)
class Solid:
    """A primitive of unit size, stretched, turned and placed: p_world = rotation @ (stretch * p) + centre.

    kind: "ball" (radius 1), "box" (sides 2), "cylinder" (radius 1, y in [-1, 1]), "cone" (its tip up, likewise),
    "board" (the square |x|, |y| <= 1 at z = 0) or "plane" (all of z = 0).
    """

    kind: str
    centre: Map  # (3,)
    stretch: Map  # (3,)
    rotation: Map  # (3, 3)
    skin: Skin

    def hit(self, origin: Map, rays: Map) -> tuple[Map, Map, Map, Map]:
        """t (N,), FAR where missed, unit normal in the world (N, 3), u and v (N,) of rays (N, 3) from origin (3,)."""
        o = ((origin - self.centre) @ self.rotation) / self.stretch  # (3,) as the primitive sees it
        d = (rays @ self.rotation) / self.stretch  # (N, 3)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            t, normal, u, v = _PRIMITIVES[self.kind](o, d)
        t = np.where((t > 1e-3) & (t < FAR), t, FAR).astype(np.float32)
        if self.skin.alpha is not None:
            t = np.where(self.skin.opaque(u, v), t, FAR).astype(np.float32)
        normal = (normal / self.stretch) @ self.rotation.T
        normal = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
        return t, normal.astype(np.float32), u.astype(np.float32), v.astype(np.float32)

    def near(self, origin: Map, rays: Map) -> NDArray[np.int64]:
        """Indices of the rays that may hit, by the ball around the solid."""
        if self.kind == "plane":
            return np.arange(len(rays))
        reach = float(np.linalg.norm(self.stretch))
        away = self.centre - origin
        along = rays @ away
        length = np.einsum("ij,ij->i", rays, rays)
        closest = away @ away - np.where(along > 0, along, 0) ** 2 / length  # squared distance of ray and centre
        return np.nonzero(closest < reach**2)[0]


def _quadric(o: Map, d: Map, weight: Map) -> tuple[Map, Map]:
    """Both t (N,) at which sum(weight * p^2) = 1; nan where there is none."""
    a, b, c = (d * d) @ weight, d @ (weight * o), (weight * o) @ o - 1
    root = np.sqrt(b * b - a * c)
    return (-b - root) / a, (-b + root) / a


def _ball(o: Map, d: Map) -> tuple[Map, Map, Map, Map]:
    t, _ = _quadric(o, d, np.ones(3, np.float32))
    p = np.nan_to_num(o + t[:, None] * d)
    return np.nan_to_num(t, nan=FAR), p, np.arctan2(p[:, 0], p[:, 2]) / math.pi, p[:, 1]


def _box(o: Map, d: Map) -> tuple[Map, Map, Map, Map]:
    one, other = (-1 - o) / d, (1 - o) / d
    enter, leave = np.minimum(one, other), np.maximum(one, other)  # (N, 3)
    axis = np.nan_to_num(enter, nan=-FAR).argmax(1)
    t = enter[np.arange(len(d)), axis]
    t = np.where(t <= leave.min(1), t, FAR)
    p = np.nan_to_num(o + t[:, None] * d, posinf=0, neginf=0)
    normal = np.zeros_like(d)
    normal[np.arange(len(d)), axis] = -np.sign(d[np.arange(len(d)), axis])
    u = np.where(axis == 0, p[:, 2] + 0.7, p[:, 0])  # each pair of sides shows another cut
    return t, normal, u, np.where(axis == 1, p[:, 2], p[:, 1])


def _cylinder(o: Map, d: Map) -> tuple[Map, Map, Map, Map]:
    t, _ = _quadric(o, d, np.array([1, 0, 1], np.float32))
    side = np.where(np.abs(o[1] + t * d[:, 1]) <= 1, t, FAR)
    cap = (math.copysign(1, o[1]) - o[1]) / d[:, 1]  # the lid that can be seen
    q = np.nan_to_num(o + cap[:, None] * d, posinf=9, neginf=9)
    cap = np.where((q[:, 0] ** 2 + q[:, 2] ** 2 <= 1) & (abs(o[1]) > 1), cap, FAR)
    t = np.fmin(np.nan_to_num(side, nan=FAR), cap)
    p = np.nan_to_num(o + t[:, None] * d)
    lid = (cap <= t)[:, None]
    normal = np.where(lid, np.array([0, math.copysign(1, o[1]), 0], np.float32), p * np.array([1, 0, 1], np.float32))
    return t, normal, np.arctan2(p[:, 0], p[:, 2]) / math.pi, np.where(lid[:, 0], p[:, 0], p[:, 1])


def _cone(o: Map, d: Map) -> tuple[Map, Map, Map, Map]:
    w = np.array([1, -0.25, 1], np.float32)  # x^2 + z^2 = ((1 - y) / 2)^2, its tip at y = 1
    tip = o - np.array([0, 1, 0], np.float32)
    a, b, c = (d * d) @ w, d @ (w * tip), (w * tip) @ tip
    root = np.sqrt(b * b - a * c)
    best = np.full(len(d), FAR, np.float32)
    for t in ((-b - root) / a, (-b + root) / a):
        good = (np.abs(o[1] + t * d[:, 1]) <= 1) & (t > 1e-3)
        best = np.where(good & (t < best), t, best)
    p = np.nan_to_num(o + best[:, None] * d)
    normal = np.stack([p[:, 0], (1 - p[:, 1]) / 4, p[:, 2]], 1)
    return best, normal, np.arctan2(p[:, 0], p[:, 2]) / math.pi, p[:, 1]


def _plane(o: Map, d: Map) -> tuple[Map, Map, Map, Map]:
    t = -o[2] / d[:, 2]
    p = np.nan_to_num(o + t[:, None] * d, posinf=0, neginf=0)
    normal = np.zeros_like(d)
    normal[:, 2] = math.copysign(1, o[2])
    return np.nan_to_num(t, nan=FAR), normal, p[:, 0], p[:, 1]


def _board(o: Map, d: Map) -> tuple[Map, Map, Map, Map]:
    t, normal, u, v = _plane(o, d)
    inside = (np.abs(u) <= 1) & (np.abs(v) <= 1)
    return np.where(inside, t, FAR), normal, (u - 1) / 2, (-v - 1) / 2  # once across the board, upright


_PRIMITIVES = {"ball": _ball, "box": _box, "cylinder": _cylinder, "cone": _cone, "board": _board, "plane": _plane}


def photograph(
    rng: Generator, solids: list[Solid], camera: Camera, size: int, light: Map, ambient: float, sky: Map
) -> tuple[Map, Map]:
    """The picture (size, size, 3) in linear light and its disparity (size, size) in 1/m, 0 = nothing there.

    Four rays a pixel; each sees the light from a slightly other direction, so that shadows are soft. light: (3,), unit,
    towards it; ambient: the share that reaches shadows; sky: (3,), the colour where no solid is. Of a pixel's four
    depths the second nearest counts.
    """
    picture, depths = np.zeros((size * size, 3), np.float32), []
    for dx, dy in ((0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)):
        rays = camera.rays(size, dx, dy)
        colour, t = _see(solids, camera, rays, size, _unit(light + rng.normal(0, 0.06, 3)), ambient, sky)
        picture += colour / 4
        depths.append(1 / t)
    disparity = np.sort(np.stack(depths), 0)[2]
    return picture.reshape(size, size, 3), np.where(disparity > 2 / FAR, disparity, 0).reshape(size, size)


def _see(
    solids: list[Solid], camera: Camera, rays: Map, size: int, light: Map, ambient: float, sky: Map
) -> tuple[Map, Map]:
    """Colours (N, 3) and t (N,) of rays."""
    best = np.full(len(rays), FAR, np.float32)
    colour = np.broadcast_to(sky.astype(np.float32), (len(rays), 3)).copy()
    normals, seen = np.zeros_like(rays), []
    for solid in solids:
        near = solid.near(camera.position, rays)
        if not len(near):
            continue
        t, normal, u, v = solid.hit(camera.position, rays[near])
        won = t < best[near]
        at = near[won]
        best[at], normals[at] = t[won], normal[won]
        tilt = np.abs(np.einsum("ij,ij->i", rays[at], normal[won])).clip(0.1)
        footprint = t[won] / (camera.focal * size) / tilt / float(np.median(solid.stretch))
        colour[at] = solid.skin.look_up(u[won], v[won], footprint)
        seen.append(solid)
    hit = np.nonzero(best < FAR)[0]
    point = camera.position + best[hit, None] * rays[hit] + 1e-3 * normals[hit]
    lit = np.ones(len(hit), bool)
    for solid in seen:
        if solid.kind != "plane":
            lit &= ~_shaded(solid, point, light)
    facing = (normals[hit] @ light).clip(0) * lit
    colour[hit] *= (ambient + (1 - ambient) * facing)[:, None]
    return colour, best


def _shaded(solid: Solid, points: Map, light: Map) -> NDArray[np.bool_]:
    """Which points (N, 3) the solid hides from the light, taken for its ellipsoid: soft objects cast soft shadows."""
    o = ((points - solid.centre) @ solid.rotation) / np.maximum(solid.stretch, 1e-3)  # (N, 3)
    d = (light @ solid.rotation) / np.maximum(solid.stretch, 1e-3)
    b, a, c = o @ d, d @ d, np.einsum("ij,ij->i", o, o) - 1
    return (c > 0.05) & (b < 0) & (b * b > a * c)


def _unit(v: Map) -> Map:
    return (v / np.linalg.norm(v)).astype(np.float32)
