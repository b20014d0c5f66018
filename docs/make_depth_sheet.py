"""The contact sheet of docs/depth.md: `python docs/make_depth_sheet.py FREE_FOLDER [OTHER_FOLDER ...] [--model MODEL]`.

Photos of FREE_FOLDER, which may be shipped, stand beside their maps; of those in other folders only the maps are shown.
"""

import argparse
from pathlib import Path

from PIL import Image

from deeplens_hf import DeepLens
from deeplens_hf.files.writing import colour_disparity
from deeplens_hf.sharing.weights import choose_weights

SIDE, GAP, ACROSS = 88, 3, 12  # pixels of a thumbnail and between them; thumbnails a row
KINDS = {".jpg", ".jpeg", ".png", ".webp"}


def thumbnails(model: DeepLens, file: Path, free: bool) -> list[Image.Image]:
    """The photo if it is free, its coloured disparity, and the subject as it is cut out of grey."""
    photo = model.open(file)
    picture = photo.picture.convert("RGB")
    disparity = colour_disparity(photo.disparity)
    mask = Image.fromarray((photo.foreground * 255).astype("uint8"))
    subject = picture if free else Image.new("RGB", picture.size, "white")
    cut = Image.composite(subject, Image.new("RGB", picture.size, (96, 96, 96)), mask)
    shown = [picture, disparity, cut] if free else [disparity, cut]
    return [_square(each) for each in shown]


def _square(picture: Image.Image) -> Image.Image:
    sheet = Image.new("RGB", (SIDE, SIDE), "white")
    small = picture.copy()
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    sheet.paste(small, ((SIDE - small.width) // 2, (SIDE - small.height) // 2))
    return sheet


def tile(groups: list[list[Image.Image]]) -> Image.Image:
    """Groups of thumbnails side by side, a group never broken over two rows."""
    places, row, column = [], 0, 0
    for group in groups:
        if column + len(group) > ACROSS:
            row, column = row + 1, 0
        places += [(row, column + i, each) for i, each in enumerate(group)]
        column += len(group)
    step = SIDE + GAP
    sheet = Image.new("RGB", (ACROSS * step - GAP, (row + 1) * step - GAP), "white")
    for row, column, each in places:
        sheet.paste(each, (column * step, row * step))
    return sheet


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("free", type=Path)
    parser.add_argument("others", type=Path, nargs="*")
    parser.add_argument("--model")
    args = parser.parse_args()
    model = DeepLens.from_pretrained(choose_weights(args.model))
    files = [(file, folder == args.free) for folder in (args.free, *args.others) for file in sorted(folder.iterdir())]
    groups = [thumbnails(model, file, free) for file, free in files if file.suffix.lower() in KINDS]
    out = Path(__file__).resolve().parent / "depth_maps.jpg"
    tile(groups).save(out, quality=80)
    print(f"{len(groups)} photos: {out}")
