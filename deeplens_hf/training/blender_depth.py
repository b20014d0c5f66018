"""Scenes that a real engine lights, with their exact depth: real shadows, gleams and glass, from any height.

What they teach the depth stage: a shadow is no step in depth, and "low in the picture" is not "near". A program of its
own, as `blender` is, whose materials and things it takes:

    pip install bpy==4.5.15 && python deeplens_hf/training/blender_depth.py OUT --photos DIR --scenes 1000

One file a scene, `lit-SEED-SIZE-00000.npz`: image (H, W, 3) and disparity (H, W), uint8, the long side SIZE pixels.
What is there already is left alone, so that several of these may fill one folder, and a run that was stopped goes on.
"""

import itertools
import math
import os
from pathlib import Path

import bpy
import numpy as np
from blender import Scenes
from blender_stage import arguments, between, exposed

LEAST_SPREAD = 8  # of 255: less is the inside of a wall


class Place(Scenes):
    """One scene under construction: z is up, and the camera anywhere."""

    def box_on(self, x: float, y: float, half: tuple, made: bpy.types.Material, floor: float = 0.0, yaw: float = 0.0):
        thing = self.box((x, y, floor + half[2]), half, made)
        thing.rotation_euler = (0, 0, yaw)
        return thing

    def leaves(self, at: tuple, radius: float, count: int, size: float, made: bpy.types.Material) -> None:
        """A cloud of leaves, each a bent rhomb."""
        rng = self.rng
        middle = rng.normal(0, 1, (count, 3))
        middle *= radius * (rng.uniform(0.2, 1, count) ** 0.5 / np.linalg.norm(middle, axis=1))[:, None]
        along, across = rng.normal(0, 1, (2, count, 3))
        along *= (size * rng.uniform(0.5, 1.2, count) / np.linalg.norm(along, axis=1))[:, None]
        across = np.cross(along, across)
        across *= (0.25 * size / np.maximum(np.linalg.norm(across, axis=1), 1e-6))[:, None]
        corners = np.stack([middle - along, middle + across, middle + along, middle - across], 1)  # (count, 4, 3)
        faces = [tuple(range(4 * i, 4 * i + 4)) for i in range(count)]
        self.mesh(corners.reshape(-1, 3), faces, made, at)

    def grass(self, count: int, reach: float, high: float, made: bpy.types.Material) -> None:
        rng = self.rng
        foot = np.c_[rng.uniform(-reach, reach, (count, 2)), np.zeros(count)]
        tip = foot + np.c_[rng.normal(0, 0.3 * high, (count, 2)), high * rng.uniform(0.4, 1, count)]
        side = rng.normal(0, 0.02 * high + 0.004, (count, 3)) * (1, 1, 0)
        corners = np.stack([foot - side, foot + side, tip], 1)
        self.mesh(corners.reshape(-1, 3), [(3 * i, 3 * i + 1, 3 * i + 2) for i in range(count)], made)

    def green(self) -> bpy.types.Material:
        made = self.material("glaze")
        surface = made.node_tree.nodes["Principled BSDF"].inputs
        for link in list(surface["Base Color"].links):
            made.node_tree.links.remove(link)
        surface["Base Color"].default_value = (*(np.array((0.25, 0.5, 0.1)) * self.rng.uniform(0.2, 1.6, 3)), 1)
        return made

    # Scenes

    def things(self) -> None:
        """A table, floor or ground seen from any height, straight from above included."""
        rng = self.rng
        self.table()
        if rng.random() < 0.35:
            self.sun(8, 0.006, 2)
        if rng.random() < 0.25:
            self.leaves((*rng.normal(0, 0.7, 2), rng.uniform(0.2, 0.8)), between(rng, 0.2, 0.7),
                        int(rng.integers(30, 300)), between(rng, 0.04, 0.2), self.green())  # fmt: skip
        for light in self.lights():
            light.visible_camera = False
        up = rng.uniform(0.06, 1.0)
        distance = between(rng, 1.6, 6)
        yaw = rng.normal() * 0.5
        flat = distance * math.sqrt(1 - min(up, 0.999) ** 2)
        towards = np.array([*rng.normal(0, 0.35, 2), rng.uniform(0, 0.4)])
        at = towards + (flat * math.sin(yaw), -flat * math.cos(yaw), distance * up)
        at[2] = max(at[2], 0.15)
        turned = rng.uniform(-math.pi, math.pi) if up > 0.93 and rng.random() < 0.5 else rng.normal() * 0.07
        self.camera(tuple(at), tuple(towards), between(rng, 24, 85), turned)

    def room(self) -> None:
        """Floor, walls, ceiling, furniture, pictures; a window or lamps."""
        rng = self.rng
        wide, deep, high = rng.uniform(1.5, 4), rng.uniform(3, 8), rng.uniform(2.2, 3.2)
        wall = self.material("matt")
        self.box((0, deep / 2, -0.1), (wide + 2, deep + 3, 0.1), self.material(rng.choice(["matt", "glaze"])))
        self.box(
            (0, deep + 0.1, high / 2), (wide + 2, 0.1, high), wall if rng.random() < 0.6 else self.material("matt")
        )
        for side in (-1, 1):
            if rng.random() < 0.85:
                self.box((side * (wide + 0.1), deep / 2, high / 2), (0.1, deep + 3, high), wall)
        if rng.random() < 0.7:
            self.box((0, deep / 2, high + 0.1), (wide + 2, deep + 3, 0.1), self.material("matt"))
        for _ in range(int(rng.integers(2, 9))):
            self.furniture(rng.uniform(-wide, wide) * 0.85, rng.uniform(0.2, deep))
        for _ in range(int(rng.integers(0, 5))):  # pictures, doors, shelves
            half = (rng.uniform(0.15, 0.6), 0.02, rng.uniform(0.15, 0.7))
            self.box((rng.uniform(-wide, wide), deep - 0.02, rng.uniform(0.8, 2)), half, self.material("matt"))
        for _ in range(int(rng.integers(0, 7))):
            self.thing(rng.uniform(-wide, wide) * 0.9, rng.uniform(-0.5, deep), between(rng, 0.08, 0.5))
        self.heaven(tuple(rng.uniform(0.7, 1, 3)), between(rng, 0.1, 1.2))
        if rng.random() < 0.5:
            self.sun(8, 0.006, 2)
        for _ in range(int(rng.integers(1, 4))):
            at = (rng.uniform(-wide, wide) * 0.8, rng.uniform(-1, deep), rng.uniform(1.2, high - 0.1))
            self.lamp(at, (*rng.normal(0, 1, 2), 0), between(rng, 20, 200), between(rng, 0.1, 1.5))
            self.scene.objects[-1].visible_camera = False
        self.camera((rng.normal() * wide / 3, -rng.uniform(0.3, 2.2), rng.uniform(0.5, 1.9)),
                  (rng.normal() * wide / 3, deep * 0.7, rng.uniform(0.2, 1.7)), between(rng, 18, 50),
                  rng.normal() * 0.04)  # fmt: skip

    def furniture(self, x: float, y: float) -> None:
        rng = self.rng
        made, yaw = self.material(rng.choice(["matt", "matt", "glaze"])), rng.choice([0, rng.uniform(0, 6.3)])
        kind = rng.choice(["table", "chair", "sofa", "cupboard", "shelf", "plant"])
        if kind in ("table", "chair"):
            half = rng.uniform(0.35, 0.9, 2) if kind == "table" else rng.uniform(0.2, 0.26, 2)
            high = rng.uniform(0.4, 0.8) if kind == "table" else 0.45
            self.box_on(x, y, (*half, 0.025), made, high)
            for side, end in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
                self.box_on(x + side * half[0] * 0.9, y + end * half[1] * 0.9, (0.025, 0.025, high / 2), made)
            if kind == "chair":
                self.box_on(x, y + half[1], (half[0], 0.02, 0.25), made, high + 0.05)
            else:
                for _ in range(int(rng.integers(0, 5))):
                    self.thing(x + rng.uniform(-1, 1) * half[0] * 0.7, y + rng.uniform(-1, 1) * half[1] * 0.7,
                               between(rng, 0.04, 0.15), high + 0.05)  # fmt: skip
        elif kind == "sofa":
            wide = rng.uniform(0.4, 1.1)
            for half, back, floor in (((wide, 0.4, 0.2), 0, 0), ((wide, 0.12, 0.42), 0.4, 0)):
                thing = self.box_on(x, y + back, half, made, floor)
                edges = thing.modifiers.new("edges", "BEVEL")
                edges.width, edges.segments = 0.08, 3
        elif kind == "cupboard":
            self.box_on(x, y, (rng.uniform(0.2, 0.8), rng.uniform(0.15, 0.4), rng.uniform(0.3, 1.0)), made, 0, yaw)
        elif kind == "shelf":
            wide, levels = rng.uniform(0.3, 0.7), int(rng.integers(2, 6))
            for level in range(levels):
                floor = 0.1 + 0.38 * level
                self.box_on(x, y, (wide, 0.15, 0.015), made, floor)
                for _ in range(int(rng.integers(0, 4))):
                    self.thing(x + rng.uniform(-0.8, 0.8) * wide, y, between(rng, 0.04, 0.13), floor + 0.03)
            for side in (-1, 1):
                self.box_on(x + side * wide, y, (0.015, 0.15, 0.19 * levels), made)
        else:
            high = rng.uniform(0.4, 1.2)
            self.turned(np.array([(0, 0), (0.15, 0), (0.2, 0.35), (0, 0.35)]), made, (x, y, 0))
            self.leaves(
                (x, y, 0.3 + high / 2), 0.6 * high, int(rng.integers(40, 300)), rng.uniform(0.05, 0.2), self.green()
            )

    def outdoors(self) -> None:
        """A street by day, or a garden."""
        rng = self.rng
        if rng.random() < 0.5:
            self.street()
            for made in bpy.data.materials:
                if made.name.startswith("lit"):
                    made.node_tree.nodes["Principled BSDF"].inputs["Emission Strength"].default_value *= 0.02
            eye, lens = rng.uniform(0.6, 3), between(rng, 20, 70)
            self.camera((rng.normal(), -3, eye), (rng.normal() * 3, 20, rng.uniform(0, 4)), lens, rng.normal() * 0.04)
        else:
            self.box((0, 20, -0.5), (60, 60, 0.5), self.material("matt") if rng.random() < 0.4 else self.green())
            if rng.random() < 0.6:
                self.grass(int(rng.integers(2000, 15000)), 4, between(rng, 0.04, 0.4), self.green())
            for _ in range(int(rng.integers(1, 8))):  # bushes and trees
                x, y, size = rng.normal() * 4, rng.uniform(-0.5, 25), between(rng, 0.25, 2.5)
                floor = rng.choice([0, rng.uniform(0.5, 2.5)])
                count, leaf = int(rng.integers(150, 1500)), size * rng.uniform(0.05, 0.25)
                self.leaves((x, y, floor + 0.7 * size), size, count, leaf, self.green())
                if floor:
                    self.turned(np.array([(0.12, 0), (0.07, floor + size)]), self.material("matt"), (x, y, 0))
            for _ in range(int(rng.integers(0, 8))):
                self.thing(rng.normal() * 1.5, rng.uniform(-1, 6), between(rng, 0.08, 0.9))
            up = between(rng, 0.25, 3)
            self.camera((rng.normal() * 0.5, -rng.uniform(1.5, 4), up), (rng.normal(), 2, rng.uniform(0, 0.8)),
                      between(rng, 22, 85), rng.normal() * 0.05)  # fmt: skip
        self.heaven(tuple(rng.uniform(0.6, 1, 3)), between(rng, 0.4, 1.5))
        if rng.random() < 0.7:
            self.sun(8, 0.006, 2)

    # What comes of it

    def inverse(self) -> np.ndarray:
        """(H, W): 1 / distance along the camera's axis at each pixel's middle, 0 for the sky."""
        made = bpy.data.materials.new("distance")
        made.use_nodes = True
        nodes, links = made.node_tree.nodes, made.node_tree.links
        nodes.clear()
        glow, out, seen = (nodes.new(f"ShaderNode{name}") for name in ("Emission", "OutputMaterial", "CameraData"))
        links.new(seen.outputs["View Z Depth"], glow.inputs["Strength"])
        links.new(glow.outputs["Emission"], out.inputs["Surface"])
        self.scene.view_layers[0].material_override = made
        for light in self.lights():
            light.hide_render = True
        self.heaven((0, 0, 0), 0)
        cycles = self.scene.cycles
        cycles.use_denoising, cycles.filter_width, cycles.max_bounces = False, 0.01, 0
        distance = self.photograph(1)[0]
        return np.where(distance > 0, 1 / np.maximum(distance, 1e-3), 0)


def encoded(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(3, H, W) linear -> (H, W, 3) uint8 in sRGB, what clips rolled off or cut as cameras do."""
    if rng.random() < 0.5:
        light = np.where(light > 0.6, 0.6 + 0.4 * (1 - np.exp((0.6 - light) / 0.4)), light)
    light = light.clip(0, 1)
    shown = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return (shown * 255).round().astype(np.uint8).transpose(1, 2, 0)


def scene(rng: np.random.Generator, size: int, photos: list[Path], samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Image (H, W, 3) and disparity (H, W), uint8."""
    place = Place(rng, photos, size)
    place.scene.cycles.max_bounces, place.scene.cycles.diffuse_bounces = 5, 2
    place.scene.cycles.sample_clamp_indirect = 8.0
    render, short = place.scene.render, size * 3 // 4
    upright = rng.random() < 0.4
    render.resolution_x, render.resolution_y = (short, size) if upright else (size, short)
    rng.choice([place.things, place.room, place.outdoors], p=[0.5, 0.25, 0.25])()
    light = exposed(place.photograph(samples), rng.uniform(0.12, 0.4), between(rng, 0.002, 0.1))
    inverse = place.inverse()
    low, most = float(inverse.min()), float(np.quantile(inverse, 0.998))
    disparity = ((inverse - low) / max(most - low, 1e-6)).clip(0, 1)
    return encoded(light, rng), (disparity * 255).round().astype(np.uint8)


def main() -> None:
    args = arguments(__doc__, scenes=1000, size=288).parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    photos = sorted(args.photos.glob("*.jpg"))
    for index in range(args.first, args.scenes, args.step):
        file = args.out / f"lit-{args.seed}-{args.size}-{index:05d}.npz"
        if file.exists():
            continue
        for attempt in itertools.count():
            rng = np.random.default_rng((args.seed, 12, index) + (attempt,) * (attempt > 0))
            image, disparity = scene(rng, args.size, photos, args.samples)
            if image.std() > LEAST_SPREAD:
                break
        part = args.out / f"{index}.part.npz"
        np.savez_compressed(part, image=image, disparity=disparity)
        os.replace(part, file)


if __name__ == "__main__":
    main()
