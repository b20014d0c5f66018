"""The pictures of README.md, made by the weights at hand: `python docs/make_pictures.py [MODEL]`."""

import sys
from pathlib import Path

from PIL import Image

from deeplens_hf import DeepLens
from deeplens_hf.pictures import colour_disparity
from deeplens_hf.weights import choose_weights, describe_weights

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
    print(DOCS / "refocus.jpg")
