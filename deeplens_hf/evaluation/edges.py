"""What edges cost: shots of truth rendered with disparity that came through a depth network's small size."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from ..depth import working_size
from ..disparity.edges import refine
from . import report
from .metrics import edge_band, psnr
from .truth import Shot, rendered_shots

Predictor = Callable[[Tensor], Sequence[Tensor]]  # image (1, 3, H, W) -> disparity, foreground (1, 1, H, W)
FIGURES = ("psnr", "psnr_edges")


class SubjectRenderer(Protocol):
    """A `render.Renderer` that may be told of the subject."""

    def __call__(
        self, image: Tensor, disparity: Tensor, focus: float, aperture: float, foreground: Tensor | None = None, /
    ) -> Tensor: ...


def evaluate_edges(
    renderer: SubjectRenderer, predict: Predictor, data: Path, long_side: int = 320, progress: bool = True
) -> list[dict]:
    """Render shots of truth with five disparities; one row each, with its PSNR in dB, overall and about edges.

    "true": the file's own. "enlarged" and "refined": the true one averaged down to `long_side`, as an otherwise perfect
    network would give it, and enlarged bilinearly or by `edges.refine`. "predicted": the network's, fitted to the truth
    by least squares, so that what is left is its shape. "with subject": the same, its predicted foreground given, as
    photos are rendered. Layered scenes, and by day those path-traced at their middle blur.
    ValueError if `data` does not hold the truth.
    """
    rows = []
    for shot in tqdm(_shots(data), desc="shots", disable=not progress):
        size = shot.image.shape[-2:]
        small = F.interpolate(shot.disparity, working_size(size, long_side), mode="bilinear", antialias=True)
        with torch.inference_mode():
            predicted, foreground = predict(shot.image)
            predicted = fitted(predicted, shot.disparity)
            maps = {
                "true": (shot.disparity, None),
                "enlarged": (F.interpolate(small, size, mode="bilinear"), None),
                "refined": (refine(small, shot.image), None),
                "predicted": (predicted, None),
                "with subject": (predicted, foreground),
            }
        band = edge_band(shot.disparity)
        for name, (disparity, subject) in maps.items():
            with torch.inference_mode():
                picture = renderer(shot.image, disparity, shot.focus, shot.aperture, subject)
            figures = {"psnr": psnr(picture, shot.target), "psnr_edges": psnr(picture, shot.target, band)}
            rows.append(
                {"disparity": name, "kind": shot.kind, "scene": shot.name, "focus": shot.focus_name}
                | {figure: report.figure(value) for figure, value in figures.items()}
            )
    return rows


def fitted(predicted: Tensor, truth: Tensor) -> Tensor:
    """The prediction (1, 1, H, W) on the truth's scale and shift, by least squares, never upside down, in [0, 1]."""
    p, t = predicted - predicted.mean(), truth - truth.mean()
    scale = (p * t).mean() / p.square().mean().clamp(min=1e-9)
    return (scale.clamp(min=0) * p + truth.mean()).clamp(0, 1)


def summarise(rows: list[dict]) -> list[dict]:
    """Means over the shots of a kind, one row a disparity, with the number of shots behind it."""
    groups = report.group(rows, lambda row: (row["kind"], row["disparity"]))
    return [
        {"kind": kind, "disparity": disparity, "shots": len(members)}
        | {figure: report.mean(members, figure) for figure in FIGURES}
        for (kind, disparity), members in groups.items()
    ]


def to_markdown(rows: list[dict]) -> str:
    """The means, and what each disparity loses against the true one."""
    lines = []
    for kind, members in report.group(summarise(rows), lambda row: row["kind"]).items():
        true = next(row for row in members if row["disparity"] == "true")
        for row in members:
            cells = [report.cell(row[figure], 2) for figure in FIGURES]
            lost = [report.cell(None if true[figure] is None else true[figure] - row[figure], 2) for figure in FIGURES]
            lines.append([f"{kind}, {row['disparity']}", str(row["shots"]), *cells, *lost])
    header = ["kind, disparity", "shots", "PSNR", "about edges", "lost", "lost about edges"]
    return (
        "# Edges\n\n"
        "PSNR in dB of pictures rendered with the true disparity; with the true one made small and enlarged again;\n"
        "enlarged along the photo's edges (refined); with the predicted one, fitted to the truth; and with the\n"
        "subject that was predicted beside it.\n\n"
        f"{report.table(header, lines)}\n"
    )


def write_report(rows: list[dict], out: Path, weights: str | None = None) -> None:
    """Write the folder `out`: edges.json (every row and the means) and edges.md.

    weights: the fingerprint of those that were measured (`sharing.release`).
    """
    content = {"weights": weights, "summary": summarise(rows), "rows": rows}
    report.write(content, to_markdown(rows), out, "edges")


def _shots(data: Path) -> list[Shot]:
    """All layered shots; of each path-traced day scene and focus the one of middle blur."""
    shots = rendered_shots(data)
    traced = [shot for shot in shots if shot.kind == "traced day"]
    groups = report.group(traced, lambda shot: (shot.name, shot.focus_name)).values()
    middle = (sorted(members, key=lambda shot: shot.aperture)[len(members) // 2] for members in groups)
    chosen = [*(shot for shot in shots if shot.kind == "layered"), *middle]
    if not chosen:
        raise ValueError(f"data must hold scenes that are not by night for this; got {str(data)!r}")
    return chosen
