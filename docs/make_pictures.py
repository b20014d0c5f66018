"""The pictures of README.md and rendering.md, made by the weights at hand: `python docs/make_pictures.py [MODEL]`."""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from deeplens_hf import ApertureShape, DeepLens
from deeplens_hf.files.writing import colour_disparity
from deeplens_hf.optics import linear_to_srgb, signed_defocus, srgb_to_linear
from deeplens_hf.sharing.weights import choose_weights, describe_weights

DOCS = Path(__file__).resolve().parent
EXAMPLES = DOCS.parent / "examples"
ELSEWHERE = {"astronaut": (60, 110), "chelsea": (430, 210), "coffee": (90, 40)}  # what else to focus on: (x, y)
APERTURE = 10
HEIGHT, GAP = 300, 8  # pixels


def row(model: DeepLens, name: str) -> list[Image.Image]:
    """Photo, depth map, subject in focus, something else in focus, HEIGHT pixels high each."""
    photo = model.open(EXAMPLES / f"{name}.jpg")
    pictures = (
        photo.picture,
        colour_disparity(photo.disparity),
        photo.refocus(aperture=APERTURE),
        photo.refocus(point=ELSEWHERE[name], aperture=APERTURE),
    )
    width = round(HEIGHT * photo.size[0] / photo.size[1])
    return [picture.resize((width, HEIGHT), Image.Resampling.LANCZOS) for picture in pictures]


@torch.inference_mode()
def stages(model: DeepLens, name: str) -> list[list[Image.Image]]:
    """Inside the lens blur, focus on the background: what `rendering.md` describes, HEIGHT pixels high each."""
    photo = model.open(EXAMPLES / f"{name}.jpg")
    image = torch.from_numpy(np.array(photo.picture)).permute(2, 0, 1)[None].float() / 255  # (1, 3, H, W)
    disparity = torch.from_numpy(photo.disparity)[None, None]  # (1, 1, H, W)
    focus = photo.focus_at(ELSEWHERE[name])
    defocus = signed_defocus(disparity, torch.tensor([focus]), torch.tensor([float(APERTURE)]))
    light, foreground = srgb_to_linear(image), torch.from_numpy(photo.foreground)[None, None]
    defocus = defocus if model.mending is None else model.mending(light, defocus, foreground)
    seen, _ = model.lens_blur.surfaces(light, defocus, foreground * 2 - 1)

    def shown(light: Tensor) -> Image.Image:
        pixels = (linear_to_srgb(light)[0].expand(3, -1, -1).permute(1, 2, 0) * 255).round().byte().numpy()
        return Image.fromarray(pixels)

    top = [
        photo.picture,
        colour_disparity(photo.disparity),
        shown(srgb_to_linear(seen.near_coverage)),
        shown(seen.near),
        shown(seen.far / seen.far_coverage.clamp(min=1e-3)),
    ]
    lights = [slab.rows(0, defocus.shape[-2])[:, :3] for slab in model.lens_blur.slabs(seen)]  # near to far
    least = sorted(float(light.mean()) for light in lights)[-4]
    middle = [colour_disparity((defocus - defocus.min())[0, 0].numpy() / float(defocus.max() - defocus.min()))]
    middle += [shown(light) for light in lights if float(light.mean()) >= least]
    shapes = [{}, {"shape": ApertureShape(blades=6)}, {"shape": ApertureShape(ring=0.6)}, {"aperture": 16}]
    bottom = [photo.refocus(focus=focus, **({"aperture": APERTURE} | how)) for how in shapes]
    bottom.append(photo.refocus(aperture=APERTURE))
    width = round(HEIGHT * photo.size[0] / photo.size[1])
    return [
        [picture.resize((width, HEIGHT), Image.Resampling.LANCZOS) for picture in line]
        for line in (top, middle, bottom)
    ]


def tile(rows: list[list[Image.Image]]) -> Image.Image:
    """Rows of pictures on white, each row centred, GAP pixels apart."""
    widths = [sum(picture.width + GAP for picture in pictures) - GAP for pictures in rows]
    sheet = Image.new("RGB", (max(widths), len(rows) * (HEIGHT + GAP) - GAP), "white")
    for line, (pictures, width) in enumerate(zip(rows, widths, strict=True)):
        left = (sheet.width - width) // 2
        for picture in pictures:
            sheet.paste(picture, (left, line * (HEIGHT + GAP)))
            left += picture.width + GAP
    return sheet


if __name__ == "__main__":
    wanted = sys.argv[1] if len(sys.argv) > 1 else None
    print(describe_weights(wanted))
    model = DeepLens.from_pretrained(choose_weights(wanted))
    tile([row(model, name) for name in ELSEWHERE]).save(DOCS / "refocus.jpg", quality=88)
    tile(stages(model, "astronaut")).save(DOCS / "rendering.jpg", quality=88)
    print(DOCS / "refocus.jpg", DOCS / "rendering.jpg")
