"""The training loop: one seeded, resumable run with a progress bar, a logged curve and checkpoints."""

import csv
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm


@dataclass(frozen=True)
class Run:
    """How long and how hard: `steps` of `batch_size` samples, AdamW at a warmed-up, cosine-decayed `lr`."""

    out: Path
    steps: int
    batch_size: int
    lr: float
    seed: int = 0
    weight_decay: float = 1e-2
    ema: float = 0.995  # decay of the averaged weights, which are the ones kept
    workers: int = 1
    save_every: int = 100
    device: str = "cpu"


def learning_rate(run: Run, step: int) -> float:
    """Linear warm-up over 3 % of the steps (at least 10), then half a cosine down to 2 % of the peak."""
    warm_up = max(10, run.steps * 3 // 100)
    decay = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / run.steps)))
    return run.lr * min(1.0, (step + 1) / warm_up) * decay


def fit(
    modules: dict[str, nn.Module],
    loss: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    dataset: Dataset,
    run: Run,
) -> float:
    """Train `modules` in place and leave their averaged weights in them; returns seconds spent, all told.

    Args:
        modules: by name; all their parameters are trained.
        loss: batch -> named parts, of which "loss" is minimised.
        dataset: position in the run -> sample, at least steps * batch_size long; a pure function of the position.
        run: its folder `out` gets checkpoint.pt and curve.csv; a checkpoint found there is resumed.
    """
    run.out.mkdir(parents=True, exist_ok=True)
    checkpoint, curve = run.out / "checkpoint.pt", run.out / "curve.csv"
    parameters = [p for module in modules.values() for p in module.parameters()]
    decayed = [p for p in parameters if p.ndim > 1]
    plain = [p for p in parameters if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": run.weight_decay}, {"params": plain, "weight_decay": 0.0}], lr=run.lr
    )
    average = [p.detach().clone() for p in parameters]
    start, spent = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=run.device, weights_only=True)
        for name, module in modules.items():
            module.load_state_dict(state["modules"][name])
        optimiser.load_state_dict(state["optimiser"])
        average, start, spent = state["average"], state["step"], state["seconds"]

    def save(step: int, seconds: float) -> None:
        part = checkpoint.with_suffix(".part")
        torch.save(
            {
                "modules": {name: module.state_dict() for name, module in modules.items()},
                "optimiser": optimiser.state_dict(),
                "average": average,
                "step": step,
                "seconds": seconds,
            },
            part,
        )
        os.replace(part, checkpoint)  # a run killed while saving still has its last checkpoint

    positions = Subset(dataset, range(start * run.batch_size, run.steps * run.batch_size))
    loader = DataLoader(positions, run.batch_size, num_workers=run.workers, persistent_workers=False)
    for module in modules.values():
        module.train()
    began = time.monotonic()
    with open(curve, "a", newline="") as log:
        rows = csv.writer(log)
        bar = tqdm(enumerate(loader, start), initial=start, total=run.steps, unit="step", mininterval=5)
        for step, batch in bar:
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(run, step)
            parts = loss({name: value.to(run.device) for name, value in batch.items()})
            optimiser.zero_grad(set_to_none=True)
            parts["loss"].backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            keep = min(run.ema, (step + 1) / (step + 10))
            torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - keep)
            values = {name: float(value.detach()) for name, value in parts.items()}
            if step == 0:
                rows.writerow(["step", *values])
            rows.writerow([step, *(f"{value:.5f}" for value in values.values())])
            bar.set_postfix(loss=f"{values['loss']:.4f}", refresh=False)
            if (step + 1) % run.save_every == 0 or step + 1 == run.steps:
                save(step + 1, spent + time.monotonic() - began)
                log.flush()
    with torch.no_grad():
        for parameter, value in zip(parameters, average, strict=True):
            parameter.copy_(value)
    for module in modules.values():
        module.eval()
    return spent + time.monotonic() - began
