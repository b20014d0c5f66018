"""Streets and waterfronts at night, drawn in perspective: what stands where tells lamps from lit windows.

Units are metres: x to the right, y up from the ground, z away from the camera. Shapes are painted far to near as
numbers, so that a lamp may be as bright as it likes; each number's light is looked up, and pixels are averaged.
"""

import math

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from . import textures
from .mattes import Map
from .textures import log_uniform

SUPERSAMPLING = 3
NEAREST = 0.5  # metres from the camera: what is nearer is cut off
FARTHEST = 160.0
STOREY = 3.2
ENOUGH = 0.003  # of a picture: less than this clipped teaches nothing


class Street:
    """One view along a street, or across water at houses, on a square canvas: `light()`.

    Times white: windows 0.4 to 8, signs up to 12, tail lamps up to 25, street lamps and headlamps 5 to 200.
    """

    def __init__(self, rng: Generator, size: int):
        self.rng, self.size = rng, size
        self.long = size * log_uniform(rng, 1, 7)  # focal length, pixels
        self.eye = rng.uniform(1.2, 3.0) if rng.random() < 0.8 else rng.uniform(3, 12)  # height above the ground
        # the canvas is a part of a photo: what is as large as in photos teaches what is lit there
        photo = np.maximum(size, self.long * rng.uniform(0.6, 1.2) * np.array([1, 0.7]))
        self.axis = photo * rng.uniform((0.35, 0.4), (0.65, 0.65)) - rng.uniform(0, 1, 2) * (photo - size)
        self.shapes: list[tuple[NDArray, int]] = []  # outline (N, 3) and number, far to near
        self.colours, self.lit = [np.zeros(3)], [False]  # of each number: light if lit, else what it reflects
        self.pools: list[tuple[NDArray, NDArray]] = []  # lamps that light what is about them: where, and their light
        self.road, self.half = 0, 0.0  # its number, and half its width: `compose` draws them

    # What is drawn

    def paint(self, colour: NDArray, lit: bool = False) -> int:
        self.colours.append(np.asarray(colour, float))
        self.lit.append(lit)
        return len(self.colours) - 1

    def add(self, outline: list | NDArray, paint: int) -> None:
        outline = np.asarray(outline, float)
        outline[:, 2] = outline[:, 2].clip(min=NEAREST)
        self.shapes.append((outline, paint))

    def ball(self, at: tuple, radius: float, paint: int, squeeze: float = 1.0) -> None:
        turn = np.linspace(0, 2 * math.pi, 16, endpoint=False)
        ring = np.stack([np.cos(turn), squeeze * np.sin(turn), 0 * turn], 1)
        if at[2] > 1:
            self.add(np.array(at) + radius * ring, paint)

    def upright(self, a: tuple, b: tuple, low: float, high: float, paint: int) -> None:
        """A wall, a pane or a post between two places (x, z)."""
        if max(a[1], b[1]) > NEAREST:
            (xa, za), (xb, zb) = a, b
            self.add([(xa, low, za), (xb, low, zb), (xb, high, zb), (xa, high, za)], paint)

    def dull(self) -> NDArray:
        """What a wall, a coat or a car reflects."""
        return np.minimum(textures.colour(self.rng), 0.6)

    # Houses

    def indoors(self) -> NDArray:
        """The colour of a lit window: warm to cool white, now and then a television or a party."""
        if self.rng.random() < 0.12:
            return textures.lamp_colour(self.rng)
        warm = self.rng.uniform(-0.25, 1)
        return np.array([min(1, 1 + warm), 1 - 0.35 * abs(warm), min(1, 1 - 0.75 * warm)])

    def house(self, a: tuple, b: tuple, high: float) -> None:
        """A front from a to b, (x, z) each: rows of windows, some lit, shops below and signs on it."""
        rng, a, b = self.rng, np.array(a), np.array(b)
        self.upright(a, b, 0, high, self.paint(self.dull()))
        length = float(np.hypot(*(b - a)))
        step, wide, tall = rng.uniform(1.6, 4), rng.uniform(0.35, 0.8), rng.uniform(0.35, 0.75)
        share, light = rng.beta(1.2, 1.5), log_uniform(rng, 0.4, 5)
        colour, spread = self.indoors(), rng.choice([0.0, 0.2, 0.6])
        dark = self.paint(0.3 * self.dull())
        split = rng.random() < 0.3
        first = 1 if rng.random() < 0.4 else 0
        for storey in range(first, int(high / STOREY)):
            low = storey * STOREY + 0.5 * (1 - tall) * STOREY
            for column in range(int(length / step)):
                ends = [a + (b - a) * ((column + 0.5 + sign * wide / 2) * step / length) for sign in (-1, 1)]
                paint = dark
                if rng.random() < share:
                    tint = colour if rng.random() < 0.8 else textures.lamp_colour(rng)
                    paint = self.paint(tint * light * math.exp(spread * rng.normal()), lit=True)
                self.upright(*ends, low, low + tall * STOREY, paint)
                if split and paint != dark:  # a blind, or a lintel that shades a part
                    shade = self.paint(self.colours[paint] * rng.uniform(0.1, 0.7), lit=True)
                    self.upright(*ends, low + rng.uniform(0.2, 0.8) * tall * STOREY, low + tall * STOREY, shade)
        if first and rng.random() < 0.8:
            self.shops(a, b, length)
        for _ in range(rng.poisson(0.7)):
            self.sign(a, b, length, high)

    def shops(self, a: NDArray, b: NDArray, length: float) -> None:
        rng, at = self.rng, 0.0
        while at < length - 2:
            wide = min(rng.uniform(2, 8), length - at)
            ends = a + (b - a) * ((at + 0.1 * wide) / length), a + (b - a) * ((at + 0.9 * wide) / length)
            if rng.random() < 0.6:
                light = self.indoors() * log_uniform(rng, 0.5, 8)
                self.upright(*ends, 0.4, rng.uniform(2.2, 3), self.paint(light, lit=True))
            at += wide

    def sign(self, a: NDArray, b: NDArray, length: float, high: float) -> None:
        """Lit letters, a box or a tube, flat on the front."""
        rng = self.rng
        start, wide = rng.uniform(0, 0.9), rng.uniform(0.4, 5) / length
        ends = a + (b - a) * start, a + (b - a) * min(start + wide, 1)
        low, tall = rng.uniform(2, max(high, 3)), rng.choice([rng.uniform(0.1, 0.3), rng.uniform(0.5, 4)])
        paint = self.paint(textures.lamp_colour(rng) * log_uniform(rng, 0.7, 12), lit=True)
        self.upright(*ends, low, low + tall, paint)

    # On the street

    def lamps(self) -> None:
        """Street lamps in a row or two, all of a kind, on posts or on wires."""
        rng = self.rng
        high, step, reach = rng.uniform(3, 9), rng.uniform(8, 35), rng.choice([0.0, rng.uniform(0.5, 2)])
        light = np.array([1, *np.sort(rng.uniform(0.4, 1, 2))[::-1]])  # sodium to white
        light = (textures.lamp_colour(rng) if rng.random() < 0.3 else light) * log_uniform(rng, 5, 200)
        radius, squeeze = rng.uniform(0.08, 0.35), rng.choice([1.0, rng.uniform(0.25, 0.9)])
        post, wire = self.paint(0.2 * self.dull()), rng.random() < 0.2
        for side in ([-1, 1], [-1], [1])[rng.choice(3, p=[0.5, 0.25, 0.25])]:
            x = side * self.half * rng.uniform(0.6, 0.95)
            for z in np.arange(FARTHEST, rng.uniform(1, 8), -step):
                arm = x - side * reach
                if not wire:
                    self.upright((x - 0.06, z), (x + 0.06, z), 0, high, post)
                    self.upright((min(x, arm), z), (max(x, arm), z), high, high + 0.1, post)
                lamp = self.paint(light * math.exp(0.15 * rng.normal()), lit=True)
                self.ball((arm, high, z), radius, lamp, squeeze)
                self.pools.append((np.array([arm, high, z]), light))

    def car(self, z: float) -> None:
        """Coming or going: a box with two lamps."""
        rng, x = self.rng, self.rng.uniform(-0.7, 0.7) * self.half
        wide, floor, coming = rng.uniform(0.75, 1.0), 0.3, rng.random() < 0.5
        body = self.dull()
        self.upright((x - wide, z), (x + wide, z), floor, 0.95, self.paint(body))
        self.upright((x - 0.8 * wide, z), (x + 0.8 * wide, z), 0.95, 1.45, self.paint(0.3 * body))
        if coming:
            light = np.array([1, rng.uniform(0.8, 1), rng.uniform(0.6, 1)]) * log_uniform(rng, 8, 150)
        else:
            light = np.array([1, rng.uniform(0.01, 0.15), rng.uniform(0.01, 0.1)]) * log_uniform(rng, 1.5, 25)
        lamp, radius = self.paint(light, lit=True), rng.uniform(0.07, 0.16)
        for side in (-1, 1):
            self.ball((x + 0.75 * side * wide, rng.uniform(0.55, 0.75), z - 0.01), radius, lamp, rng.uniform(0.5, 1))

    def festoon(self) -> None:
        """Bulbs on a wire across the street, or along it."""
        rng, count = self.rng, int(self.rng.integers(6, 30))
        ends = np.stack([rng.uniform(-self.half, self.half, 2), rng.uniform(2.5, 7, 2), rng.uniform(3, 40, 2)], 1)
        light, radius = log_uniform(rng, 2, 60), rng.uniform(0.02, 0.08)
        many = rng.random() < 0.3
        colour = textures.lamp_colour(rng)
        for share in np.linspace(0, 1, count):
            at = ends[0] + (ends[1] - ends[0]) * share - (0, rng.uniform(0.9, 1.1) * 4 * share * (1 - share), 0)
            tint = textures.lamp_colour(rng) if many else colour
            self.ball(tuple(at), radius, self.paint(tint * light, lit=True))

    def person(self, z: float) -> None:
        """A dark figure."""
        rng, x = self.rng, self.rng.uniform(-0.8, 0.8) * self.half
        coat, head = self.paint(self.dull()), self.paint(0.5 * self.dull())
        self.upright((x - 0.25, z), (x + 0.25, z), 0, rng.uniform(1.35, 1.5), coat)
        self.ball((x, 1.62, z), 0.12, head, 1.2)

    # The whole

    def compose(self) -> None:
        rng = self.rng
        self.half = rng.uniform(4, 14)  # of the street's width
        self.road = self.paint(np.full(3, rng.uniform(0.03, 0.2)))
        far = FARTHEST if rng.random() < 0.7 else rng.uniform(15, 60)
        self.add([(-99, 0, far), (99, 0, far), (99, 0, NEAREST), (-99, 0, NEAREST)], self.road)
        if far < FARTHEST or rng.random() < 0.3:  # houses across, beyond the street or the water
            x = -60.0
            while x < 60:
                wide = rng.uniform(6, 25)
                self.house((x, far), (x + wide, far), rng.choice([rng.uniform(4, 20), rng.uniform(10, 60)]))
                x += wide * rng.uniform(1, 1.3)
        for side in (-1, 1):
            if rng.random() < 0.2:
                continue
            z, fronts = rng.uniform(-6, 6), []
            while z < far:
                deep = rng.uniform(7, 25)
                fronts.append((z, z + deep, rng.uniform(5, 25)))
                z += deep * rng.choice([1.0, rng.uniform(1, 1.6)])
            for near, end, high in reversed(fronts):
                x = side * (self.half + rng.choice([0, rng.uniform(0, 2)]))
                start = max(near, NEAREST)
                if end > start + 1:
                    self.house((x, end), (x, start), high)
        for _ in range(rng.choice([0, 0, 1, 2])):
            self.festoon()
        if rng.random() < 0.8:
            self.lamps()
        things = [(z, self.car) for z in rng.uniform(5, 90, rng.poisson(4.0))]
        things += [(z, self.person) for z in rng.uniform(3, 40, rng.poisson(1.0))]
        for z, thing in sorted(things, key=lambda each: -each[0]):
            thing(float(z))

    def seen(self, places: NDArray, mirrored: bool = False) -> NDArray:
        """Places (N, 3) -> x, y on the canvas, (N, 2); mirrored: as water on the ground shows them."""
        x, y, z = places.T
        y = -y if mirrored else y
        return self.axis + self.long / z.clip(NEAREST)[:, None] * np.stack([x, self.eye - y], 1)

    def numbers(self, mirrored: bool = False) -> NDArray:
        """What shows at each of SUPERSAMPLING times as many places, (S, S)."""
        side = self.size * SUPERSAMPLING
        image = Image.new("I", (side, side))
        pen = ImageDraw.Draw(image)
        for outline, paint in self.shapes:
            corners = self.seen(outline, mirrored) * SUPERSAMPLING
            if (corners.max(0) > 0).all() and (corners.min(0) < side).all() and (not mirrored or paint != self.road):
                pen.polygon(corners.clip(-4 * side, 5 * side).ravel().tolist(), fill=paint)
        return np.asarray(image)

    def light(self) -> Map:
        """(S, S, 3) linear, unclipped."""
        self.compose()
        rng, size = self.rng, self.size
        ambient = log_uniform(rng, 0.01, 0.15) * np.array([rng.uniform(0.6, 1), rng.uniform(0.7, 1), 1])
        y, x = np.mgrid[:size, :size].astype(np.float32)
        lighting = np.ones((size, size, 3)) * ambient
        strength = log_uniform(rng, 0.02, 0.5)
        for place, light in self.pools:
            at, reach = self.seen(place[None])[0], self.long / place[2] * rng.uniform(2, 5)
            if reach > 1:
                pool = np.exp(-((x - at[0]) ** 2 + (y - at[1] - reach / 2) ** 2) / (2 * reach**2))
                lighting = lighting + strength * pool[..., None] * light / light.max()
        grain = 0.5 + textures.noise(rng, size, size / 3)[..., None] * rng.uniform(0.2, 1)
        self.colours[0] = np.array([rng.uniform(0.1, 1), rng.uniform(0.3, 1), 1]) * rng.choice([0.0, 0.1, 0.5])  # sky
        numbers = self.numbers()
        shown = self.look(numbers, lighting * grain)
        wet = log_uniform(rng, 0.02, 0.6) if rng.random() < 0.7 else 0.0
        if wet:
            ground = mean(numbers == self.road)[..., None]
            mirror = self.look(self.numbers(mirrored=True), lighting)
            mirror = smeared(mirror, size * log_uniform(rng, 0.004, 0.06), 0)
            mirror = smeared(mirror, size * log_uniform(rng, 0.002, 0.008), 1)
            shown = shown + ground * mirror * wet * (0.5 + textures.noise(rng, size, size / 8)[..., None])
        return shown.astype(np.float32)

    def look(self, numbers: NDArray, lighting: NDArray) -> NDArray:
        """Numbers as they are lit, averaged to the canvas: (S, S, 3)."""
        colours, lit = np.array(self.colours), np.array(self.lit)[:, None]
        own, reflected = np.where(lit, colours, 0), np.where(lit, 0, colours)
        return mean(own[numbers]) + mean(reflected[numbers]) * lighting


def night_street(rng: Generator, size: int) -> Map:
    """(S, S, 3) linear, unclipped: a street of which some is brighter than white."""
    while True:
        light = Street(rng, size).light()
        if (light.max(-1) > 1).mean() > ENOUGH:
            return light


def mean(fine: NDArray) -> NDArray:
    """(n S, n S, ...) -> (S, S, ...) with n = SUPERSAMPLING."""
    side = len(fine) // SUPERSAMPLING
    blocks = fine.reshape(side, SUPERSAMPLING, side, SUPERSAMPLING, *fine.shape[2:])
    return blocks.mean((1, 3))


def smeared(light: NDArray, sigma: float, axis: int) -> NDArray:
    """(S, S, 3), blurred along one axis."""
    reach = min(math.ceil(3 * sigma), len(light) - 1)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.apply_along_axis(np.convolve, axis, light, kernel / kernel.sum(), "same")
