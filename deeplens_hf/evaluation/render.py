"""The rendering benchmark: true disparity in, the picture compared with what a real lens gives."""

import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from . import report
from .metrics import edge_band, psnr, ssim
from .truth import layered_shots, traced_shots

Renderer = Callable[[Tensor, Tensor, float, float], Tensor]  # image, disparity, focus, aperture -> image
FIGURES = ("psnr", "psnr_edges", "ssim", "seconds")


def evaluate_render(renderers: dict[str, Renderer], data: Path, progress: bool = True) -> list[dict]:
    """Render every shot of truth with every renderer; one row each.

    A row: renderer, kind ("layered", "traced day", "lights"), scene, focus ("near", "middle", ...), aperture; psnr and
    psnr_edges in dB (None where the scene has no disparity edge, or no error), ssim, seconds of wall clock.
    ValueError if `data` does not hold the truth.
    """
    rows = []
    shots = list(chain(layered_shots(data), traced_shots(data)))
    for shot in tqdm(shots, desc="shots", disable=not progress):
        band = edge_band(shot.disparity)
        for name, renderer in renderers.items():
            start = time.perf_counter()
            with torch.inference_mode():
                picture = renderer(shot.image, shot.disparity, shot.focus, shot.aperture)
            seconds = time.perf_counter() - start
            rows.append(
                {
                    "renderer": name,
                    "kind": shot.kind,
                    "scene": shot.name,
                    "focus": shot.focus_name,
                    "aperture": round(shot.aperture, 3),
                    "psnr": report.figure(psnr(picture, shot.target)),
                    "psnr_edges": report.figure(psnr(picture, shot.target, band)),
                    "ssim": ssim(picture, shot.target),
                    "seconds": seconds,
                }
            )
    return rows


def summarise(rows: list[dict]) -> list[dict]:
    """Means over scenes and apertures: one row a renderer, kind and focus, with the number of shots behind it."""
    groups = report.group(rows, lambda row: (row["renderer"], row["kind"], row["focus"]))
    return [
        {"renderer": renderer, "kind": kind, "focus": focus, "shots": len(members)}
        | {figure: report.mean(members, figure) for figure in FIGURES}
        for (renderer, kind, focus), members in groups.items()
    ]


def to_markdown(rows: list[dict]) -> str:
    """The means, a line a renderer and a column a kind and focus; then every shot, a column a renderer."""
    summary = summarise(rows)
    columns = list(report.group(summary, lambda row: (row["kind"], row["focus"])))
    lines = []
    for renderer, members in report.group(summary, lambda row: row["renderer"]).items():
        cells = {(row["kind"], row["focus"]): _figures(row) for row in members}
        lines.append([renderer, *(cells.get(column, "–") for column in columns), report.cell(_seconds(members), 2)])
    means = report.table(["renderer", *(f"{kind}, {focus}" for kind, focus in columns), "seconds"], lines)

    renderers = list(report.group(rows, lambda row: row["renderer"]))
    shots = report.group(rows, lambda row: (row["kind"], row["scene"], row["focus"], row["aperture"]))
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
        f"Mean over scenes and apertures, `seconds` a picture on this machine.\n\n{means}\n\n## Every shot\n\n{every}\n"
    )


def write_report(rows: list[dict], out: Path) -> None:
    """Write the folder `out`: render.json (every row and the means) and render.md."""
    report.write({"summary": summarise(rows), "rows": rows}, to_markdown(rows), out, "render")


def _figures(row: dict) -> str:
    return f"{report.cell(row['psnr'], 2)} / {report.cell(row['ssim'], 3)} / {report.cell(row['psnr_edges'], 2)}"


def _seconds(summary: list[dict]) -> float:
    return sum(row["seconds"] * row["shots"] for row in summary) / sum(row["shots"] for row in summary)
