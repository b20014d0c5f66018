"""Scenes that a real engine lights: what gleams on metal and glaze, wet streets and lamps are before a sensor clips.

A program of its own, for it needs Blender as a Python module and nothing else of this package:

    pip install bpy==4.5.15 && python deeplens_hf/training/blender.py OUT --photos DIR --scenes 600

One file a scene, `day-SEED-SIZE-00000.npy` or `night-...`: (3, S, S) float16, linear light, unclipped. What is there
already is left alone, so that several of these may fill one folder, and a run that was stopped goes on.
"""

import os
from pathlib import Path

import numpy as np
from blender_stage import Stage, arguments, between, exposed, hue, lamp_hue

NIGHTS = 0.4  # share of the scenes
AMBIENT_BY_DAY, AMBIENT_BY_NIGHT = 0.4, (0.012, 0.1)  # mean light of what is no lamp: at most, and from, to


class Scenes(Stage):
    """What there is to see: a table by day, a street or a party by night."""

    def table(self) -> None:
        """Things on a table or in the grass, before a wall or nothing, in the light of lamps, a window or the sun."""
        rng = self.rng
        ground = self.box((0, 0, -0.5), (12, 12, 0.5), self.material(rng.choice(["matt", "matt", "glaze"])))
        ground.rotation_euler = (0, 0, rng.uniform(0, 6))
        if rng.random() < 0.6:
            self.box((0, rng.uniform(2.5, 8), 0), (15, 0.3, 12), self.material("matt"))
        else:
            self.heaven(hue(rng), 1.0)
        for _ in range(int(rng.integers(6, 24))):
            self.thing(rng.normal(0, 0.9), rng.uniform(-1.8, 2.2), between(rng, 0.08, 0.6))
        self.heaven(tuple(rng.uniform(0.6, 1, 3)), between(rng, 0.15, 1.0))
        if rng.random() < 0.35:
            self.sun(6, 0.009, 3)
        for _ in range(int(rng.integers(1, 4))):
            at = (*rng.normal(0, 3, 2), rng.uniform(1.5, 5))
            self.lamp(at, (*rng.normal(0, 1, 2), 0), between(rng, 40, 600), between(rng, 0.15, 2.5))
        distance, height = rng.uniform(2.5, 5), rng.uniform(0.15, 1.3)
        self.camera(
            (rng.normal() * 0.6, -distance, 0.3 + distance * height * 0.6),
            (rng.normal() * 0.5, rng.uniform(-0.5, 1.2), rng.uniform(0, 0.5)),
            between(rng, 32, 130),
            rng.normal() * 0.05,
        )

    def street(self) -> None:
        """Houses with lit windows along a road, wet more often than not, lamps, cars, signs; things close by."""
        rng = self.rng
        road = self.material(rng.choice(["matt", "glaze", "glaze"]))
        road.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = (*rng.uniform(0.02, 0.12, 3), 1)
        self.box((0, 60, -0.5), (90, 120, 0.5), road)
        width = rng.uniform(4, 9)
        for side in (-1, 1):
            y = rng.uniform(-6, 6)
            while y < 70:
                deep, high = rng.uniform(3, 8), rng.uniform(4, 18)
                self.box((side * (width + 6), y + deep, high / 2), (6, deep, high / 2), self.material("matt"))
                self.windows(side, width, y, deep, high)
                y += 2 * deep + rng.choice([0, rng.uniform(0, 4)])
            if rng.random() < 0.8:
                self.lamp_posts(side, width)
        for _ in range(int(rng.integers(0, 6))):
            self.car(width)
        for _ in range(int(rng.integers(0, 9))):
            side, y = rng.choice([-1, 1]), rng.uniform(4, 40)
            half = (0.08, *rng.uniform(0.15, 0.9, 2))
            made = self.lit(lamp_hue(rng), between(rng, 0.8, 12))
            self.box((side * (width - 0.1), y, rng.uniform(1.8, 5)), half, made)
        self.neighbours()
        self.heaven(tuple(rng.uniform(0.3, 1, 3) * (0.5, 0.7, 1.0)), between(rng, 0.003, 0.06))
        self.camera(
            (rng.normal() * width / 4, -3, rng.uniform(1.2, 2.4)), (rng.normal() * 3, 20, rng.uniform(0.5, 5)),
            between(rng, 24, 90), rng.normal() * 0.05,
        )  # fmt: skip

    def windows(self, side: int, width: float, y: float, deep: float, high: float) -> None:
        rng = self.rng
        wide, tall = rng.uniform(0.4, 1.0), rng.uniform(0.6, 1.6)
        panes = [self.lit(lamp_hue(rng), between(rng, 0.5, 12)) for _ in range(2)]
        share = rng.uniform(0.15, 0.9)
        for made in panes:
            vertices, faces = [], []
            for along in np.arange(y + wide, y + 2 * deep - wide, wide * rng.uniform(1.5, 3)):
                for up in np.arange(rng.uniform(0.5, 1.5), high - tall, tall * rng.uniform(1.4, 2.2)):
                    if rng.random() < share / 2:
                        x, first = side * (width - 0.02), len(vertices)
                        corners = [(0, 0), (wide, 0), (wide, tall), (0, tall)]
                        vertices += [(x, along + across, up + rise) for across, rise in corners]
                        faces.append(tuple(range(first, first + 4)))
            if faces:
                self.mesh(np.array(vertices), faces, made)

    def lamp_posts(self, side: int, width: float) -> None:
        rng = self.rng
        post, head = self.material("metal"), self.lit(lamp_hue(rng), between(rng, 15, 400))
        high, radius, x = rng.uniform(2.5, 6), between(rng, 0.07, 0.3), side * (width - rng.uniform(0.6, 2))
        for y in np.arange(rng.uniform(0, 12), 70, rng.uniform(6, 14)):
            self.turned(np.array([(0.06, 0), (0.06, high - radius)]), post, (x, y, 0))
            self.ball((x, y, high), radius, head)

    def car(self, width: float) -> None:
        rng = self.rng
        x, y, away = rng.uniform(-0.6, 0.6) * width, between(rng, 3, 40), rng.random() < 0.5
        paint = self.material("glaze")
        self.box((x, y + 2, 0.7), (0.9, 2, 0.4), paint)
        self.box((x, y + 2.2, 1.3), (0.75, 1.1, 0.3), self.material("glass"))
        lights = self.lit((1, 0.05, 0.03), between(rng, 3, 40)) if away else self.lit(
            (1, 0.95, rng.uniform(0.7, 1)), between(rng, 20, 400))  # fmt: skip
        for side in (-0.6, 0.6):
            self.ball((x + side, y, 0.75), rng.uniform(0.07, 0.14), lights, 0.8)

    def neighbours(self) -> None:
        for _ in range(int(self.rng.integers(0, 5))):
            self.thing(self.rng.normal() * 1.2, self.rng.uniform(-0.6, 4), between(self.rng, 0.15, 0.8))

    def party(self) -> None:
        """Things in the dark among bulbs, candles and screens."""
        rng = self.rng
        self.table()
        for lamp in self.lights():
            lamp.data.energy *= between(rng, 0.003, 0.1)
        self.heaven(tuple(rng.uniform(0.3, 1, 3)), between(rng, 0.002, 0.03))
        for _ in range(int(rng.integers(1, 4))):
            made, radius = self.lit(lamp_hue(rng), between(rng, 4, 300)), between(rng, 0.015, 0.12)
            for _ in range(int(rng.integers(1, 14))):
                at = (rng.normal() * 1.3, rng.uniform(-1.5, 3), rng.uniform(0.05, 2))
                self.ball(at, radius * rng.uniform(0.8, 1.2), made)
        for _ in range(int(rng.integers(0, 3))):
            half = rng.uniform(0.1, 0.5, 3) * (1, 0.05, 1)
            panel = self.box((rng.normal(), rng.uniform(0, 3), half[2]), tuple(half), self.lit(
                lamp_hue(rng), between(rng, 0.6, 6)))  # fmt: skip
            panel.rotation_euler = (0, 0, rng.normal() * 0.5)


def kind_of(index: int) -> str:
    """ "day" or "night": NIGHTS of any run of scenes are the latter."""
    return "night" if (index * 0.618034) % 1 < NIGHTS else "day"


def scene(seed: int, index: int, size: int, photos: list[Path], samples: int) -> np.ndarray:
    """Scene `index`: its light (3, S, S)."""
    rng, night = np.random.default_rng((seed, 11, index)), kind_of(index) == "night"
    stage = Scenes(rng, photos, size)
    if night:
        stage.street() if rng.random() < 0.6 else stage.party()
    else:
        stage.table()
    ambient, clipped = (between(rng, *AMBIENT_BY_NIGHT), 0.25) if night else (AMBIENT_BY_DAY, between(rng, 0.003, 0.15))
    return exposed(stage.photograph(samples), ambient, clipped)


def main() -> None:
    parser = arguments(__doc__, scenes=600, size=192)
    parser.add_argument("--only", choices=("day", "night"), help="leave the others out, their numbers with them")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    photos = sorted(args.photos.glob("*.jpg"))
    for index in range(args.first, args.scenes, args.step):
        kind = kind_of(index)
        file = args.out / f"{kind}-{args.seed}-{args.size}-{index:05d}.npy"
        if file.exists() or args.only not in (None, kind):
            continue
        light = scene(args.seed, index, args.size, photos, args.samples)
        part = args.out / f"{index}.part.npy"
        np.save(part, light.clip(0, 60000).astype(np.float16))
        os.replace(part, file)


if __name__ == "__main__":
    main()
