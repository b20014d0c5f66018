"""The rendering benchmark: true disparity in, the picture compared with what a real lens gives."""

import math
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ..optics import pixels_per_disparity
from . import report
from .flaws import FLAWS
from .metrics import edge_band, psnr, ssim
from .truth import Shot, rendered_shots

Renderer = Callable[[Tensor, Tensor, float, float], Tensor]  # image, disparity, focus, aperture -> image
FIGURES = ("psnr", "psnr_edges", "psnr_inside", "ssim", "seconds")
TRUE = "true"


def evaluate_render(renderers: dict[str, Renderer], data: Path, progress: bool = True) -> list[dict]:
    """Render every shot of truth with every renderer; one row each.

    A row: renderer, kind ("layered", "traced day", "lights"), scene, focus ("near", "middle", ...), aperture,
    disparity ("true", or the name of a flaw); psnr, psnr_edges and psnr_inside in dB (None where the scene has no
    disparity edge, or no error), ssim, seconds of wall clock.
    ValueError if `data` does not hold the truth.
    """
    rows = []
    for shot in tqdm(rendered_shots(data), desc="shots", disable=not progress):
        band = edge_band(shot.disparity)
        maps = {TRUE: shot.disparity}
        if shot.kind == "layered":
            maps |= {name: flaw(shot.disparity) for name, flaw in FLAWS.items()}
        for (flaw, disparity), (name, renderer) in product(maps.items(), renderers.items()):
            start = time.perf_counter()
            with torch.inference_mode():
                picture = renderer(shot.image, disparity, shot.focus, shot.aperture)
            seconds = time.perf_counter() - start
            rows.append(
                {
                    "renderer": name,
                    "kind": shot.kind,
                    "scene": shot.name,
                    "focus": shot.focus_name,
                    "aperture": round(shot.aperture, 3),
                    "disparity": flaw,
                    "psnr": report.figure(psnr(picture, shot.target)),
                    "psnr_edges": report.figure(psnr(picture, shot.target, band)),
                    "psnr_inside": report.figure(psnr(picture, shot.target, inside(shot))),
                    "ssim": ssim(picture, shot.target),
                    "seconds": seconds,
                }
            )
    return rows


def inside(shot: Shot) -> Tensor:
    """(1, 1, H, W) boolean: so far from the frame that no light from outside it reaches the picture there."""
    height, width = shot.disparity.shape[-2:]
    span = (shot.disparity - shot.focus).abs().max().item()
    margin = math.ceil(min(pixels_per_disparity(shot.aperture, (height, width)) * span, min(height, width) / 3))
    mask = torch.zeros(1, 1, height, width, dtype=torch.bool)
    mask[..., margin : height - margin, margin : width - margin] = True
    return mask


def flaw_losses(rows: list[dict]) -> dict[str, dict[str, float]]:
    """What flawed disparity costs, in dB of PSNR: renderer -> flaw, and "mean" over all shots -> loss."""
    true = {
        (row["renderer"], row["kind"], row["scene"], row["focus"], row["aperture"]): row["psnr"]
        for row in rows
        if row["disparity"] == TRUE
    }
    losses = []
    for row in rows:
        before = true[row["renderer"], row["kind"], row["scene"], row["focus"], row["aperture"]]
        if row["disparity"] != TRUE and None not in (before, row["psnr"]):
            losses.append({"renderer": row["renderer"], "flaw": row["disparity"], "loss": before - row["psnr"]})
    table: dict[str, dict[str, float]] = {}
    for renderer, members in report.group(losses, lambda row: row["renderer"]).items():
        flaws = report.group(members, lambda row: row["flaw"])
        table[renderer] = {flaw: report.mean(some, "loss") for flaw, some in flaws.items()}
        table[renderer]["mean"] = report.mean(members, "loss")
    return table


def summarise(rows: list[dict]) -> list[dict]:
    """Means over scenes and apertures: one row a renderer, kind and focus, with the number of shots behind it."""
    true = (row for row in rows if row["disparity"] == TRUE)
    groups = report.group(true, lambda row: (row["renderer"], row["kind"], row["focus"]))
    return [
        {"renderer": renderer, "kind": kind, "focus": focus, "shots": len(members)}
        | {figure: report.mean(members, figure) for figure in FIGURES}
        for (renderer, kind, focus), members in groups.items()
    ]


def to_markdown(rows: list[dict]) -> str:
    """The means, a line a renderer and a column a kind and focus; what flaws cost; every shot, a column a renderer."""
    summary = summarise(rows)
    columns = list(report.group(summary, lambda row: (row["kind"], row["focus"])))
    lines = []
    for renderer, members in report.group(summary, lambda row: row["renderer"]).items():
        cells = {(row["kind"], row["focus"]): _figures(row) for row in members}
        lines.append([renderer, *(cells.get(column, "–") for column in columns), report.cell(_seconds(members), 2)])
    means = report.table(["renderer", *(f"{kind}, {focus}" for kind, focus in columns), "seconds"], lines)

    frames = [
        [renderer, *(report.cell(cell["psnr_inside"], 2) for cell in members)]
        for renderer, members in report.group(summary, lambda row: row["renderer"]).items()
    ]
    without_frame = report.table(["renderer", *(f"{kind}, {focus}" for kind, focus in columns)], frames)
    losses = flaw_losses(rows)
    kinds = list(dict.fromkeys(kind for loss in losses.values() for kind in loss))
    flawed = report.table(
        ["renderer", *kinds],
        ([renderer, *(report.cell(loss.get(kind), 2) for kind in kinds)] for renderer, loss in losses.items()),
    )
    flawed += _fewer(rows)

    renderers = list(report.group(rows, lambda row: row["renderer"]))
    true = (row for row in rows if row["disparity"] == TRUE)
    shots = report.group(true, lambda row: (row["kind"], row["scene"], row["focus"], row["aperture"]))
    every = report.table(
        ["kind, scene", "focus", "aperture", *renderers],
        (
            [f"{kind}, {scene}", focus, report.cell(aperture, 2), *(_figures(row) for row in members)]
            for (kind, scene, focus, aperture), members in shots.items()
        ),
    )
    return (
        "# Rendering, true disparity given\n\n"
        "PSNR in dB / SSIM / PSNR within 12 pixels of a disparity jump over 0.1; higher is better.\n"
        f"Mean over scenes and apertures, `seconds` a picture on this machine.\n\n{means}\n\n"
        "## Inside the frame\n\n"
        "PSNR in dB without the band at the frame where light from outside the photo, unknown to any renderer, "
        f"reaches in.\n\n{without_frame}\n\n"
        "## Flawed disparity\n\n"
        "PSNR lost in dB on the layered shots, each with one flaw after the other: a map at a quarter of the size "
        "(soft), edges 2 pixels too wide (grown), too narrow (shrunk), too far right (shifted), 24 levels "
        "(stepped).\n\n"
        f"{flawed}\n\n## Every shot\n\n{every}\n"
    )


def write_report(rows: list[dict], out: Path, weights: str | None = None) -> None:
    """Write the folder `out`: render.json (every row and the means) and render.md.

    weights: the fingerprint of those that were measured (`sharing.release`).
    """
    content = {"weights": weights, "summary": summarise(rows), "flaws": flaw_losses(rows), "rows": rows}
    report.write(content, to_markdown(rows), out, "render")


def _fewer(rows: list[dict]) -> str:
    """A note of the renderers that were given fewer flawed maps than others: their means are of other shots."""
    flawed = report.group((row for row in rows if row["disparity"] != TRUE), lambda row: row["renderer"])
    most = max(map(len, flawed.values()), default=0)
    fewer = [f"{name} is of {len(some)} flawed maps, not {most}" for name, some in flawed.items() if len(some) < most]
    return f"\n\nNot to be compared: {'; '.join(fewer)}." if fewer else ""


def _figures(row: dict) -> str:
    return f"{report.cell(row['psnr'], 2)} / {report.cell(row['ssim'], 3)} / {report.cell(row['psnr_edges'], 2)}"


def _seconds(summary: list[dict]) -> float:
    return sum(row["seconds"] * row["shots"] for row in summary) / sum(row["shots"] for row in summary)
