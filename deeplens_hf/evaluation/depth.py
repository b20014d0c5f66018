"""The depth benchmark: predicted disparity against stereo truth, both predictions against labelled photos."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from . import report
from .metrics import adrift, aligned_error, boundary_f, edge_f_score, hover, iou, order_accuracy
from .truth import LabelledPhoto, StereoScene, labelled_photos, stereo_scenes

Predictor = Callable[[Tensor], tuple[Tensor, Tensor]]  # image -> disparity, foreground, at the image's size
FIGURES = {  # and the digits to show
    "order": 3, "error": 3, "edge_f": 3, "iou": 3, "boundary_f": 3, "hover": 3, "adrift": 3, "seconds": 2,
}  # fmt: skip


def vertical_gradient(image: Tensor) -> tuple[Tensor, Tensor]:
    """The trivial predictor: the bottom is near, everything is the subject. (B, 3, H, W) -> two (B, 1, H, W)."""
    down = torch.linspace(0, 1, image.shape[-2]).view(1, 1, -1, 1)
    return down.expand_as(image[:, :1]), torch.ones_like(image[:, :1])


def evaluate_depth(predictors: dict[str, Predictor], data: Path, progress: bool = True) -> list[dict]:
    """Predict every stereo scene and every held-out photo (split "val") with every predictor; two rows each.

    The second is of the photo as nobody holds it: on its left side, on its head, on its right side, by turns.
    A row: predictor, set ("stereo" or "photos", or with ", turned" after it), group, scene, seconds, and the figures of
    `metrics`: order and error on both sets (on photos against a teacher's labels, not truth), edge_f on stereo; where
    the photo's mask was made by hand, iou and boundary_f of the foreground, adrift and, upright, hover of the
    disparity; None where a figure does not apply. nobody: whether that mask is empty, for then nothing that is found
    is right.
    ValueError if `data` has neither of the sets.
    """
    rows = []
    upright = [*stereo_scenes(data), *labelled_photos(data, "val")]
    if not upright:
        held_out = 'a manifest.jsonl with photos whose split is "val"'
        raise ValueError(f"data must hold truth/stereo/*.disparity.png or {held_out}; got {str(data)!r}")
    samples = [(sample, "") for sample in upright]
    samples += [(_turned(sample, 1 + i % 3), ", turned") for i, sample in enumerate(upright)]
    for sample, how in tqdm(samples, desc="photos", disable=not progress):
        for name, predict in predictors.items():
            start = time.perf_counter()
            with torch.inference_mode():
                disparity, foreground = predict(sample.image)
            seconds = time.perf_counter() - start
            if isinstance(sample, StereoScene):
                figures = _against_stereo(disparity, sample)
            else:
                figures = _against_labels(disparity, foreground, sample)
            figures["set"] += how
            if how:
                figures["hover"] = None  # feet are not below
            rows.append({"predictor": name, **dict.fromkeys(FIGURES), **figures, "seconds": seconds})
    return rows


def summarise(rows: list[dict], by: str = "set") -> list[dict]:
    """Means over the photos, one row a predictor and set (or "group"), with the number of photos behind it."""
    groups = report.group(rows, lambda row: (row["predictor"], row[by]))
    return [
        {"predictor": predictor, by: of, "photos": len(members)}
        | {figure: report.mean(members, figure) for figure in FIGURES}
        for (predictor, of), members in groups.items()
    ]


def to_markdown(rows: list[dict]) -> str:
    """The means of each set, then of each group of photos, a line a predictor."""
    photos = [row for row in rows if row["set"] == "photos"]
    tables = [_table(rows, "set"), _table(photos, "group")]
    if nobody := sorted({row["scene"] for row in photos if row["nobody"]}):
        people = [row for row in photos if row["iou"] is not None and not row["nobody"]]
        tables.insert(1, f"Without the masks that hold nobody ({', '.join(nobody)}):\n\n" + _table(people, "set"))
    return (
        "# Depth and foreground\n\n"
        "`order`: share of random pairs in the true order of depth; `error`: mean absolute, after scale and shift;\n"
        "`edge_f`: disparity edges within 3 pixels; `iou`, `boundary_f`: the subject's mask, annotated photos only;\n"
        "`hover`: step from people's feet to the ground beside them, as a share of the range; `adrift`: how much of\n"
        "people is farther than a tenth of the range from the rest of them (0 is best of both).\n"
        "Stereo is measured truth; the photos' disparity is a teacher's. `turned`: lying on a side or on the head.\n\n"
        + "\n\n".join(tables)
        + "\n"
    )


def write_report(rows: list[dict], out: Path, weights: str | None = None) -> None:
    """Write the folder `out`: depth.json (every row and the means) and depth.md.

    weights: the fingerprint of those that were measured (`sharing.release`).
    """
    content = {"weights": weights, "summary": summarise(rows), "rows": rows}
    report.write(content, to_markdown(rows), out, "depth")


def _table(rows: list[dict], by: str) -> str:
    lines = [
        [f"{row[by]}, {row['predictor']}", str(row["photos"])]
        + [report.cell(row[figure], digits) for figure, digits in FIGURES.items()]
        for members in report.group(summarise(rows, by), lambda row: row[by]).values()
        for row in members
    ]
    return report.table([f"{by}, predictor", "photos", *FIGURES], lines)


def _turned(sample: StereoScene | LabelledPhoto, turns: int) -> StereoScene | LabelledPhoto:
    """The sample so many quarter turns to the left, with all that is known of it."""
    maps = {name: value for name, value in vars(sample).items() if isinstance(value, Tensor)}
    return replace(sample, **{name: torch.rot90(value, turns, (2, 3)) for name, value in maps.items()})


def _against_stereo(disparity: Tensor, scene: StereoScene) -> dict:
    return {
        "set": "stereo",
        "group": "stereo",
        "nobody": False,
        "scene": scene.name,
        "order": report.figure(order_accuracy(disparity, scene.disparity, scene.valid)),
        "error": aligned_error(disparity, scene.disparity, scene.valid),
        "edge_f": report.figure(edge_f_score(disparity, scene.disparity, scene.valid)),
    }


def _as_large(prediction: Tensor, label: Tensor) -> Tensor:
    """At the label's own size, which is mostly the smaller one."""
    return F.interpolate(prediction, label.shape[-2:], mode="bilinear", antialias=True)


def _against_labels(disparity: Tensor, foreground: Tensor, photo: LabelledPhoto) -> dict:
    disparity = _as_large(disparity, photo.disparity)
    figures = {
        "set": "photos",
        "group": photo.group,
        "nobody": photo.annotated and not bool((photo.foreground >= 0.5).any()),
        "scene": photo.name,
        "order": report.figure(order_accuracy(disparity, photo.disparity)),
        "error": aligned_error(disparity, photo.disparity),
    }
    if photo.annotated:
        foreground, disparity = _as_large(foreground, photo.foreground), _as_large(disparity, photo.foreground)
        figures |= {"iou": iou(foreground, photo.foreground), "boundary_f": boundary_f(foreground, photo.foreground)}
        figures |= {
            "hover": report.figure(hover(disparity, photo.foreground)),
            "adrift": report.figure(adrift(disparity, photo.foreground)),
        }
    return figures
