"""The card that goes to the Hub: model_card.md as a template, filled with what is known of the weights at hand."""

import json
import re
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from .weights import HUB_ID

TEMPLATE = Path(__file__).with_name("model_card.md")
EVALUATIONS = ("render", "depth")  # NAME.json and NAME.md, as `deeplens evaluate` writes them
MARK = "<!-- deeplens_hf made this card ({}). Edited by hand it is yours: no push overwrites it unasked. -->"
OURS, PLAIN = "deeplens", "unlearned slabs"  # of the renderers in an evaluation
METRICS = {  # field of an evaluation's rows -> the Hub's name of it, and people's
    "psnr": ("psnr", "PSNR, dB"),
    "psnr_edges": ("psnr", "PSNR near disparity edges, dB"),
    "ssim": ("ssim", "SSIM"),
    "order": ("accuracy", "pairs of pixels in the true order of depth"),
    "error": ("mae", "mean absolute error of disparity, after scale and shift"),
    "edge_f": ("f1", "disparity edges within 3 pixels"),
    "iou": ("mean_iou", "foreground IoU"),
    "boundary_f": ("f1", "foreground boundary"),
}


def make_card(
    config: Any,
    parameters: int,
    repo_id: str | None = None,
    record: list[dict] | None = None,
    evaluation: Path | None = None,
    previews: list[str] | None = None,
    base_model: str | None = None,
    datasets: list[str] | None = None,
    license: str | None = None,
) -> ModelCard:
    """A card that says nothing but what the arguments hold and what is true of every deeplens_hf model.

    Args:
        config: the model's DeepLensConfig.
        parameters: how many the model has.
        repo_id: "owner/name" on the Hub; without it the snippet loads the folder that the card is in.
        record: the stages of training, as training.json has them.
        evaluation: folder that `deeplens evaluate --out` wrote: its means become tables and the Hub's model-index.
        previews: names of the pictures in previews/.
        base_model: the Hub id that the weights were fine-tuned from.
        datasets: Hub ids of the data that taught them.
        license: the Hub's name of the weights' licence; apache-2.0 if not given.

    Raises:
        ValueError: `evaluation` holds no result.
    """
    measured = {} if evaluation is None else read_evaluation(evaluation)
    title = "DeepLens" if repo_id in (None, HUB_ID) else repo_id.rpartition("/")[2]
    card = ModelCard.from_template(
        ModelCardData(),
        template_path=str(TEMPLATE),
        title=title,
        repo_id=repo_id,
        shipped=repo_id == HUB_ID,
        config=asdict(config),
        parameters=parameters,
        record=record,
        render=_render_table(measured["render"]) if "render" in measured else None,
        depth=_depth_table(measured["depth"]) if "depth" in measured else None,
        previews=previews or [],
        base_model=base_model,
        datasets=datasets,
    )
    card.text = re.sub(r"\n{3,}", "\n\n", card.text).rstrip() + "\n"
    card.data.base_model = base_model
    card.data.datasets = datasets or None
    if license:
        card.data.license = license
    if results := _eval_results(measured):
        card.data.model_name, card.data.eval_results = title, results
        card.data.metrics = sorted({result.metric_type for result in results})
    card.text += "\n" + MARK.format(_fingerprint(str(card))) + "\n"
    return card


def told_by(card: str | None) -> dict[str, Any]:
    """The licence and the data sets that a card names: what holds of the next weights as well, unless they say more."""
    try:
        data = ModelCard(card, ignore_metadata_errors=True).data if card else ModelCardData()
    except Exception:  # the YAML reader's own, of what somebody wrote
        return {}
    told = {"license": data.license, "datasets": [data.datasets] if isinstance(data.datasets, str) else data.datasets}
    return {name: value for name, value in told.items() if value}


def edited_by_hand(card: str) -> bool:
    """Whether the text of a card on the Hub is anything but what `make_card` once wrote."""
    mark = re.search(MARK.replace("(", r"\(").replace(")", r"\)").format("([0-9a-f]{16})") + r"\s*$", card)
    return mark is None or mark[1] != _fingerprint(card[: mark.start()])


def read_evaluation(folder: Path) -> dict[str, list[dict]]:
    """The means of each benchmark in the folder: {"render": rows, "depth": rows}, whichever are there.

    ValueError if there is none.
    """
    return {name: content["summary"] for name, content in _results(folder).items()}


def measured_weights(folder: Path) -> set[str]:
    """The fingerprints of the weights that the benchmarks in the folder are of, where they say so. Errors as above."""
    return {content["weights"] for content in _results(folder).values() if content.get("weights")}


def _results(folder: Path) -> dict[str, dict]:
    files = {name: Path(folder) / f"{name}.json" for name in EVALUATIONS}
    read = {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.is_file()}
    found = {name: content for name, content in read.items() if content["summary"]}
    if not found:
        raise ValueError(f"evaluation must be a folder that `deeplens evaluate --out` wrote; {folder} holds no result")
    return found


def _render_table(summary: list[dict]) -> dict:
    """Columns a kind and focus, a line a renderer, cells "overall / near edges"; gains over the unlearned slabs."""
    by_name: dict[str, dict[str, dict]] = {}
    for row in summary:
        by_name.setdefault(row["renderer"], {})[f"{row['kind']}, {row['focus']}"] = row
    columns = list(next(iter(by_name.values())))
    lines = [
        {"name": f"**{name}**" if name == OURS else name, "cells": [_pair(rows.get(column)) for column in columns]}
        for name, rows in by_name.items()
    ]
    ours, plain = by_name.get(OURS, {}), by_name.get(PLAIN, {})
    gains = [
        (column, ours[column]["psnr"] - plain[column]["psnr"])
        for column in columns
        if column in ours and column in plain
    ]
    return {"columns": columns, "lines": lines, "gains": gains}


def _pair(row: dict | None) -> str:
    values = [None, None] if row is None else [row["psnr"], row["psnr_edges"]]
    return " / ".join("–" if value is None else f"{value:.2f}" for value in values)


def _depth_table(summary: list[dict]) -> dict[str, dict[str, dict]]:
    """Rows by set and predictor."""
    table: dict[str, dict[str, dict]] = {}
    for row in summary:
        table.setdefault(row["set"], {})[row["predictor"]] = row
    return table


def _eval_results(measured: dict[str, list[dict]]) -> list[EvalResult]:
    """This model's own figures, as the Hub's model-index wants them."""
    results = []
    for benchmark, rows in measured.items():
        for row in rows:
            if row.get("renderer", row.get("predictor")) != OURS:
                continue
            name = f"{row['kind']}, focus {row['focus']}" if benchmark == "render" else row["set"]
            results += [
                EvalResult(
                    task_type="image-to-image" if benchmark == "render" else "depth-estimation",
                    dataset_type=f"deeplens-{benchmark}-truth",
                    dataset_name=name,
                    dataset_config=name,  # the Hub would otherwise put all of a benchmark's sets under the first name
                    metric_type=kind,
                    metric_name=told,
                    metric_value=round(row[field], 4),
                )
                for field, (kind, told) in METRICS.items()
                if row.get(field) is not None
            ]
    return results


def _fingerprint(text: str) -> str:
    return sha256(" ".join(text.split()).encode()).hexdigest()[:16]
