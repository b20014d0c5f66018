"""What scenes that Blender lights are made of: materials, things, lamps, a camera, and the picture it takes.

For `blender` and `blender_depth`, programs of their own, which need Blender as a Python module and nothing else of
this package.
"""

import argparse
import math
import os
import tempfile
from pathlib import Path

import bpy
import numpy as np
from mathutils import Vector  # bpy has to be imported before it
from numpy.random import Generator

METALS = ((1.0, 0.77, 0.34), (0.95, 0.64, 0.54), (0.97, 0.96, 0.92), (0.56, 0.57, 0.58), (0.91, 0.86, 0.7))


def between(rng: Generator, low: float, high: float) -> float:
    """Evenly by logarithm."""
    return float(math.exp(rng.uniform(math.log(low), math.log(high))))


def hue(rng: Generator) -> tuple[float, float, float]:
    """A surface's colour, more often muted than pure, one in four nearly white."""
    if rng.random() < 0.25:
        return tuple(rng.uniform(0.75, 0.95) * rng.uniform(0.93, 1, 3))
    return tuple(np.clip(rng.beta(1.3, 2) * (1 + rng.choice([0.2, 0.6, 1.0]) * rng.uniform(-1, 1, 3)), 0.01, 0.95))


def lamp_hue(rng: Generator) -> tuple[float, float, float]:
    """Warm to white as often as any other colour; its brightest channel 1."""
    if rng.random() < 0.65:
        return 1.0, rng.uniform(0.6, 1), rng.uniform(0.25, 1)
    pure = rng.uniform(0.02, 1, 3) ** 2
    return tuple(pure / pure.max())


class Stage:
    """One scene under construction: z is up, the camera looks along y."""

    def __init__(self, rng: Generator, photos: list[Path], size: int):
        self.rng, self.photos = rng, photos
        bpy.ops.wm.read_factory_settings(use_empty=True)
        self.scene = bpy.context.scene
        render, cycles = self.scene.render, self.scene.cycles
        render.engine, render.resolution_x, render.resolution_y = "CYCLES", size, size
        render.image_settings.file_format, render.image_settings.color_depth = "OPEN_EXR", "32"
        cycles.device, cycles.use_denoising, cycles.sample_clamp_indirect = "CPU", True, 0.0
        cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces, cycles.transmission_bounces = 6, 2, 4, 6
        cycles.use_light_tree = False  # slower, with as many windows as a street has
        world = bpy.data.worlds.new("sky")
        world.use_nodes = True
        self.scene.world, self.sky = world, world.node_tree

    # What things are made of

    def material(self, kind: str) -> bpy.types.Material:
        """ "matt", "glaze", "metal", "glass", or any mix of the first two painted with a photo or a pattern."""
        rng = self.rng
        made = bpy.data.materials.new(kind)
        made.use_nodes = True
        nodes, links = made.node_tree.nodes, made.node_tree.links
        surface = nodes["Principled BSDF"].inputs
        surface["Base Color"].default_value = (*hue(rng), 1)
        surface["Roughness"].default_value = rng.uniform(0.5, 1)
        if kind == "glaze":
            surface["Roughness"].default_value = between(rng, 0.02, 0.5)
            surface["Coat Weight"].default_value = rng.choice([0.0, rng.uniform(0.3, 1)])
        elif kind == "metal":
            tint = METALS[rng.integers(len(METALS))] if rng.random() < 0.75 else hue(rng)
            surface["Base Color"].default_value = (*tint, 1)
            surface["Metallic"].default_value = 1.0
            surface["Roughness"].default_value = between(rng, 0.02, 0.5)
        elif kind == "glass":
            surface["Transmission Weight"].default_value = 1.0
            surface["Base Color"].default_value = (*(rng.uniform(0.5, 1, 3) if rng.random() < 0.5 else np.ones(3)), 1)
            surface["Roughness"].default_value = rng.choice([0.0, 0.15])
        if kind in ("matt", "glaze") and rng.random() < 0.6:
            links.new(self.paint(nodes, links), surface["Base Color"])
        return made

    def paint(self, nodes: bpy.types.Nodes, links: bpy.types.NodeLinks) -> bpy.types.NodeSocket:
        rng = self.rng
        where = nodes.new("ShaderNodeTexCoord")
        kind = rng.choice(["photo", "noise", "checks", "bricks", "waves"], p=[0.45, 0.2, 0.1, 0.1, 0.15])
        if kind == "photo" and self.photos:
            picture = nodes.new("ShaderNodeTexImage")
            picture.image = bpy.data.images.load(str(self.photos[rng.integers(len(self.photos))]), check_existing=True)
            picture.projection, picture.projection_blend = "BOX", 0.2
            links.new(where.outputs["Object"], picture.inputs["Vector"])
            return picture.outputs["Color"]
        names = {"checks": "ShaderNodeTexChecker", "bricks": "ShaderNodeTexBrick", "waves": "ShaderNodeTexWave"}
        pattern = nodes.new(names.get(kind, "ShaderNodeTexNoise"))
        pattern.inputs["Scale"].default_value = between(rng, 2, 30)
        links.new(where.outputs["Object"], pattern.inputs["Vector"])
        if kind in ("checks", "bricks"):
            for name in ("Color1", "Color2"):
                pattern.inputs[name].default_value = (*hue(rng), 1)
            return pattern.outputs["Color"]
        ramp = nodes.new("ShaderNodeValToRGB")
        for stop in ramp.color_ramp.elements:
            stop.color = (*hue(rng), 1)
        links.new(pattern.outputs[0], ramp.inputs["Fac"])
        return ramp.outputs["Color"]

    def lit(self, colour: tuple[float, float, float], strength: float) -> bpy.types.Material:
        """A lamp's or a window's material, `strength` times white."""
        made = bpy.data.materials.new("lit")
        made.use_nodes = True
        surface = made.node_tree.nodes["Principled BSDF"].inputs
        surface["Base Color"].default_value = (0, 0, 0, 1)
        surface["Emission Color"].default_value = (*colour, 1)
        surface["Emission Strength"].default_value = strength
        return made

    # Things

    def mesh(
        self, vertices: np.ndarray, faces: list, made: bpy.types.Material, at: tuple = (0, 0, 0), smooth: bool = False
    ) -> bpy.types.Object:
        data = bpy.data.meshes.new("thing")
        data.from_pydata(vertices.tolist(), [], faces)
        data.materials.append(made)
        if smooth:
            data.shade_smooth()
        thing = bpy.data.objects.new("thing", data)
        thing.location = at
        self.scene.collection.objects.link(thing)
        return thing

    def turned(self, profile: np.ndarray, made: bpy.types.Material, at: tuple, smooth: bool = True) -> bpy.types.Object:
        """A profile (n, 2) of radius and height, turned about the upright axis."""
        around = np.linspace(0, 2 * math.pi, 48, endpoint=False)
        ring = np.stack([np.cos(around), np.sin(around)], 1)  # (48, 2)
        vertices = np.concatenate([np.c_[radius * ring, np.full(48, height)] for radius, height in profile])
        faces = []
        for row in range(len(profile) - 1):
            for i in range(48):
                j = (i + 1) % 48
                faces.append((48 * row + i, 48 * row + j, 48 * row + 48 + j, 48 * row + 48 + i))
        return self.mesh(vertices, faces, made, at, smooth)

    def box(self, at: tuple, half: tuple, made: bpy.types.Material) -> bpy.types.Object:
        signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
        faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
        return self.mesh(signs * half, faces, made, at)

    def ball(self, at: tuple, radius: float, made: bpy.types.Material, squeeze: float = 1.0) -> bpy.types.Object:
        up = np.linspace(-math.pi / 2, math.pi / 2, 25)
        profile = np.stack([radius * np.cos(up), squeeze * radius * np.sin(up)], 1)
        return self.turned(profile, made, at)

    def thing(self, x: float, y: float, r: float, floor: float = 0.0) -> None:
        """Something about 2 r large that stands or lies on the floor."""
        rng = self.rng
        made = self.material(rng.choice(["matt", "glaze", "metal", "glass"], p=[0.25, 0.34, 0.33, 0.08]))
        kind = rng.choice(["ball", "box", "vessel", "bowl", "coin", "ring", "head", "rod"],
                          p=[0.2, 0.14, 0.22, 0.1, 0.14, 0.08, 0.06, 0.06])  # fmt: skip
        yaw = rng.uniform(0, 2 * math.pi)
        if kind == "ball":
            squeeze = rng.choice([1.0, rng.uniform(0.5, 1)])
            self.ball((x, y, floor + squeeze * r), r, made, squeeze)
        elif kind == "box":
            half = r * rng.uniform(0.2, 1, 3)
            thing = self.box((x, y, floor + half[2]), tuple(half), made)
            thing.rotation_euler = (0, 0, yaw)
            edges = thing.modifiers.new("edges", "BEVEL")
            edges.width, edges.segments = 0.08 * r, 3
        elif kind == "vessel":  # bottle, vase, cup, wine glass
            heights = np.linspace(0, 1, 40)
            knots = rng.uniform(0.15, 0.6, int(rng.integers(2, 6)))
            radius = np.interp(heights, np.linspace(0, 1, len(knots)), knots)
            radius = np.convolve(np.pad(radius, 4, mode="edge"), np.ones(9) / 9, "valid")
            profile = np.stack([radius, 2 * heights], 1) * r
            inner = profile[::-1] * (0.9, 1) if rng.random() < 0.6 else np.array([(0, profile[-1, 1])])
            self.turned(np.concatenate([[(0, 0)], profile, inner]), made, (x, y, floor))
        elif kind == "bowl":
            up = np.linspace(-math.pi / 2, -0.1, 20)
            outer = np.stack([np.cos(up), 1 + np.sin(up)], 1) * r
            self.turned(np.concatenate([outer, outer[::-1] * 0.93 + (0, 0.07 * r)]), made, (x, y, floor))
        elif kind == "coin":  # or a button, a lid: a flat disc, domed or hollow
            across = np.linspace(1, 0, 20)
            dome = rng.uniform(-0.12, 0.3) * (1 - across**2)
            top = np.stack([across, 0.2 + dome], 1) * r
            self.turned(np.concatenate([[(0, 0), (r, 0), (1.03 * r, 0.1 * r)], top]), made, (x, y, floor))
        elif kind == "ring":
            bpy.ops.mesh.primitive_torus_add(major_radius=r, minor_radius=r * rng.uniform(0.08, 0.4))
            self.place(made, (x, y, floor + 0.3 * r), (rng.choice([0, rng.normal()]), 0, yaw))
        elif kind == "head":
            bpy.ops.mesh.primitive_monkey_add(size=2 * r)
            self.place(made, (x, y, floor + r), (rng.normal() * 0.2, 0, rng.normal()))
        else:
            profile = np.array([(0, -1), (0.08, -1), (0.08, 1), (0, 1)]) * (r, 1.6 * r)
            rod = self.turned(profile, made, (x, y, floor + 0.1 * r), smooth=False)
            rod.rotation_euler = (math.pi / 2, 0, yaw)

    def place(self, made: bpy.types.Material, at: tuple, turn: tuple) -> None:
        thing = bpy.context.object
        thing.data.materials.append(made)
        thing.data.shade_smooth()
        thing.location, thing.rotation_euler = at, turn

    def lamp(self, at: tuple, towards: tuple, power: float, size: float) -> None:
        """A panel or a round lamp, which metal mirrors as what it is."""
        data = bpy.data.lights.new("lamp", "AREA")
        data.energy, data.size, data.color = power, size, lamp_hue(self.rng) if self.rng.random() < 0.4 else (1, 1, 1)
        data.shape = self.rng.choice(["SQUARE", "DISK", "DISK"])
        self.aim(bpy.data.objects.new("lamp", data), at, towards)

    def aim(self, thing: bpy.types.Object, at: tuple, towards: tuple, roll: float = 0.0) -> None:
        self.scene.collection.objects.link(thing)
        thing.location = at
        thing.rotation_euler = (Vector(towards) - Vector(at)).to_track_quat("-Z", "Y").to_euler()
        thing.rotation_euler.rotate_axis("Z", roll)

    def sun(self, strongest: float, sharpest: float, lowest: float) -> None:
        """Energy up to, angle from, height from."""
        rng, data = self.rng, bpy.data.lights.new("sun", "SUN")
        data.energy, data.angle = between(rng, 1.5, strongest), between(rng, sharpest, 0.1)
        self.aim(bpy.data.objects.new("sun", data), (*rng.normal(0, 6, 2), rng.uniform(lowest, 9)), (0, 0, 0))

    def lights(self) -> list[bpy.types.Object]:
        return [each for each in self.scene.objects if each.type == "LIGHT"]

    def camera(self, at: tuple, towards: tuple, lens: float, roll: float) -> None:
        data = bpy.data.cameras.new("camera")
        data.lens = lens
        self.scene.camera = bpy.data.objects.new("camera", data)
        self.aim(self.scene.camera, at, towards, roll)

    def heaven(self, colour: tuple[float, float, float], strength: float) -> None:
        background = self.sky.nodes["Background"]
        background.inputs["Color"].default_value = (*colour, 1)
        background.inputs["Strength"].default_value = strength

    # The photo

    def photograph(self, samples: int) -> np.ndarray:
        """(3, S, S) linear light, as the engine gives it."""
        self.scene.cycles.samples = samples
        with tempfile.TemporaryDirectory() as folder:
            self.scene.render.filepath = os.path.join(folder, "light.exr")
            bpy.ops.render.render(write_still=True)
            picture = bpy.data.images.load(self.scene.render.filepath)
            width, height = picture.size
            pixels = np.empty(width * height * 4, np.float32)
            picture.pixels.foreach_get(pixels)
        return pixels.reshape(height, width, 4)[::-1, :, :3].transpose(2, 0, 1)


def exposed(light: np.ndarray, ambient: float, clipped: float) -> np.ndarray:
    """Brighter or darker, so that what does not nearly clip has this mean, and at most this share clips."""
    gain = most = 1 / max(float(np.quantile(light.max(0), 1 - clipped)), 1e-6)
    for _ in range(12):
        shown = light * gain
        unlit = shown[:, shown.max(0) < 0.8]
        gain *= (ambient / max(float(unlit.mean()), 1e-6)) ** 0.7 if unlit.size else 0.5
    return light * min(gain, most)


def arguments(about: str, scenes: int, size: int) -> argparse.ArgumentParser:
    """What every program that fills a folder with scenes is told."""
    parser = argparse.ArgumentParser(description=about.split("\n")[0])
    parser.add_argument("out", type=Path, help="folder for the scenes")
    parser.add_argument("--photos", type=Path, required=True, help="folder of JPEGs that things are painted with")
    parser.add_argument("--scenes", type=int, default=scenes)
    parser.add_argument("--first", type=int, default=0, help="number of the first scene: to share the work")
    parser.add_argument("--step", type=int, default=1, help="... and every how many-th")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=size)
    parser.add_argument("--samples", type=int, default=16)
    return parser
