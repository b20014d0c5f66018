"""The training loop: seeded, resumable, on one process or many, with a curve, sample pictures and checkpoints."""

import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing import get_start_method
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, default_collate
from tqdm import tqdm

from ..inputs import usable_device
from .journal import Journal

Batch = dict[str, Tensor]
Loss = Callable[[Batch, int], dict[str, Tensor]]  # a batch and its step -> named parts; "loss" is minimised
STATE = {"modules", "optimiser", "average", "step", "seconds"}  # what every checkpoint has
SHAPING = ("lr", "seed", "weight_decay", "ema", "slow")  # of a run: what must be as it was when it goes on


@dataclass(frozen=True)
class Run:
    """How long and how hard: AdamW at a warmed-up, cosine-decayed `lr`.

    A step takes `batch_size * accumulate` samples on each process, so as many times more on many of them.
    """

    out: Path
    steps: int
    batch_size: int
    lr: float
    seed: int = 0
    weight_decay: float = 1e-2
    ema: float = 0.995  # decay of the averaged weights, which are the ones kept
    workers: int = 1
    save_every: int = 100
    accumulate: int = 1  # batches a step, one after the other
    samples_every: int = 0  # steps between sample pictures; 0 = none
    slow: dict[str, float] = field(default_factory=dict)  # modules by name: the share of `lr` that each learns at
    options: dict[str, Any] = field(default_factory=dict)  # what else makes it this run, by name: plain values

    def samples(self, processes: int) -> int:
        """A step, all processes together."""
        return self.batch_size * self.accumulate * processes


class Stage(nn.Module):
    """The trained modules under one roof, with the loss as `forward`: the form that data parallelism can wrap."""

    def __init__(self, modules: dict[str, nn.Module], loss: Loss):
        super().__init__()
        self.trained = nn.ModuleDict(modules)
        self.loss = loss

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        return self.loss(batch, step)


def launch(device: str = "cpu", precision: str = "no", accumulate: int = 1, partial: bool = False) -> Accelerator:
    """This process among those that `torchrun` or `accelerate launch` started, or alone.

    Args:
        device: "cpu", "cuda", or "cuda:1" for a process that is alone; of many, each takes the GPU of its local rank.
        precision: "no" (float32), "bf16" or "fp16": what the networks compute in; weights stay float32.
        accumulate: batches a step.
        partial: there are steps that train a part of the modules alone.

    Raises:
        ValueError: a device that this machine has not, or a precision that the device cannot do.
    """
    usable_device(device)
    if device.startswith("cuda:"):
        torch.cuda.set_device(device)
    AcceleratorState._reset_state()  # a run before this one in the same program may have had another precision
    return Accelerator(
        cpu=device == "cpu",
        mixed_precision=precision,
        gradient_accumulation_steps=accumulate,
        kwargs_handlers=[
            InitProcessGroupKwargs(timeout=timedelta(hours=2)),  # while one unpacks a data set, the others wait
            DistributedDataParallelKwargs(find_unused_parameters=partial),
        ],
    )


def learning_rate(run: Run, step: int) -> float:
    """Linear warm-up over 3 % of the steps (at least 10), then half a cosine down to 2 % of the peak."""
    warm_up = max(10, run.steps * 3 // 100)
    decay = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / run.steps)))
    return run.lr * min(1.0, (step + 1) / warm_up) * decay


def groups(modules: dict[str, nn.Module], run: Run) -> list[dict]:
    """What AdamW is given: matrices and filters, which decay, apart from offsets; each module's share of the rate."""
    found = []
    for name, module in modules.items():
        learned = [p for p in module.parameters() if p.requires_grad]
        for params, decay in (
            ([p for p in learned if p.ndim > 1], run.weight_decay),
            ([p for p in learned if p.ndim <= 1], 0.0),
        ):
            found.append({"params": params, "weight_decay": decay, "share": run.slow.get(name, 1.0)})
    return [group for group in found if group["params"]]


def positions(run: Run, start: int, process: int, processes: int) -> list[range]:
    """Which samples this process takes from step `start` on, a range a batch: together the processes take them all."""
    size = run.batch_size
    numbers = range(start * run.accumulate, run.steps * run.accumulate)
    return [range((n * processes + process) * size, (n * processes + process + 1) * size) for n in numbers]


def fit(
    modules: dict[str, nn.Module],
    loss: Loss,
    dataset: Dataset,
    run: Run,
    accelerator: Accelerator,
    picture: Callable[[Batch], Tensor] | None = None,
) -> float:
    """Train `modules` in place and leave their averaged weights in them; returns seconds spent, all told.

    Args:
        modules: by name; those of their parameters that require a gradient are trained.
        loss: (batch, step) -> parts. Samples may hold marks `has_NAME` () in {0, 1}, for parts that average over the
            marked samples alone: the batch then has `has_NAME_mean` (), the marks in the mean batch of this step, to
            divide by. So a step comes to the same however it is spread over batches and processes.
        dataset: position in the run -> sample; a pure function of the position, long enough for all steps.
        run: its folder `out` gets checkpoint.pt and what `Journal` writes; a checkpoint found there is resumed, with as
            many `steps` as are done or more.
        accelerator: from `launch`.
        picture: batch -> (3, H, W) in [0, 1]: what to show of the sample at position 0.

    Raises:
        ValueError: nothing to train, or the checkpoint is broken, of another run, or of more steps; a loss or weights
            that are not finite, before they get into the checkpoint.
    """
    run.out.mkdir(parents=True, exist_ok=True)
    checkpoint, main = run.out / "checkpoint.pt", accelerator.is_main_process
    stage = Stage(modules, loss)
    names = [name for name, p in stage.named_parameters() if p.requires_grad]
    parameters = [p for p in stage.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("freeze must leave something to train")
    optimiser = torch.optim.AdamW(groups(modules, run), lr=run.lr)
    plan = {"samples a step": run.samples(accelerator.num_processes), "trained": names}
    plan |= {name: getattr(run, name) for name in SHAPING} | run.options
    average = [p.detach().clone() for p in parameters]
    prepared, optimiser = accelerator.prepare(stage, optimiser)
    start, spent = 0, 0.0
    if checkpoint.exists():
        broken = f"out: {checkpoint} is no whole checkpoint; delete it to begin anew"
        try:
            state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        except Exception as error:  # unpickling what is no pickle raises nearly anything
            raise ValueError(broken) from error
        if not isinstance(state, dict) or not STATE <= state.keys():
            raise ValueError(broken)
        before = plan | state.get("plan", {})
        if other := ", ".join(name for name, value in plan.items() if value != before[name]):
            raise ValueError(f"out: {run.out} has a run with other {other}; choose another --out or that run's options")
        if run.steps < state["step"]:
            raise ValueError(f"steps must be at least the {state['step']} that are done in {run.out}; got {run.steps}")
        for name, module in modules.items():
            module.load_state_dict(state["modules"][name])
        optimiser.load_state_dict(state["optimiser"])
        if accelerator.scaler is not None and state.get("scaler"):
            accelerator.scaler.load_state_dict(state["scaler"])
        average = [value.to(accelerator.device) for value in state["average"]]
        start, spent = state["step"], state["seconds"]

    def save(step: int, seconds: float) -> None:
        part = checkpoint.with_suffix(".part")
        state = {
            "modules": {name: module.state_dict() for name, module in modules.items()},
            "optimiser": optimiser.state_dict(),
            "scaler": None if accelerator.scaler is None else accelerator.scaler.state_dict(),
            "average": average,
            "step": step,
            "seconds": seconds,
            "plan": plan,
        }
        try:
            torch.save(state, part)
        except (OSError, RuntimeError) as error:  # torch tells a full disk as the latter
            part.unlink(missing_ok=True)
            raise OSError(f"out: {checkpoint} could not be written, is the disk full? {error}") from error
        os.replace(part, checkpoint)  # a run killed while saving still has its last checkpoint

    accelerator.wait_for_everyone()  # all have read the checkpoint before anybody writes another
    # a forkserver, which Python 3.14 has by itself, is sent 250 tensors at most: a network has more
    context = "spawn" if run.workers and get_start_method() == "forkserver" else None
    loader = DataLoader(
        dataset,
        batch_sampler=positions(run, start, accelerator.process_index, accelerator.num_processes),
        num_workers=run.workers,
        multiprocessing_context=context,
        pin_memory=accelerator.device.type == "cuda" and run.workers > 0,  # else samples may lie on the GPU already
    )
    shown = default_collate([dataset[0]]) if main and picture and run.samples_every and start < run.steps else None
    journal = Journal(run.out, start) if main else None
    if main and start == run.steps:
        print(f"deeplens: {run.out} has all of its {start} steps: nothing is trained anew", file=sys.stderr)
    stage.train()
    began = time.monotonic()
    bar = tqdm(range(start, run.steps), initial=start, total=run.steps, unit="step", mininterval=5, disable=not main)
    batches = iter(loader)
    for step in bar:
        for group in optimiser.param_groups:
            group["lr"] = group["share"] * learning_rate(run, step)
        totals: dict[str, Tensor] = {}
        for batch in whole_step([_next(batches) for _ in range(run.accumulate)], accelerator):
            with accelerator.accumulate(prepared):
                parts = prepared(_to(batch, accelerator.device), step)
                accelerator.backward(parts["loss"])
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(parameters, 1.0)
                optimiser.step()
                optimiser.zero_grad(set_to_none=True)
            for name, value in parts.items():
                totals[name] = totals.get(name, 0) + value.detach().float() / run.accumulate
        keep = min(run.ema, (step + 1) / (step + 10))
        torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - keep)
        means = accelerator.reduce(torch.stack([*totals.values()]), reduction="mean").tolist()
        due = (step + 1) % run.save_every == 0 or step + 1 == run.steps
        finite = all(map(math.isfinite, means))
        if not finite or (due and not all(bool(value.isfinite().all()) for value in average)):
            what = "weights are" if finite else "loss is"  # on all processes: they have the same means and weights
            kept = f"; {checkpoint} is of before it" if checkpoint.exists() else ""
            raise ValueError(f"{what} not finite at step {step}: try a lower lr, with another --out{kept}")
        if journal is None:
            continue
        values = dict(zip(totals, means, strict=True))
        journal.log(step, values)
        bar.set_postfix(loss=f"{values['loss']:.4f}", refresh=False)
        if shown is not None and ((step + 1) % run.samples_every == 0 or step + 1 == run.steps):
            with exchanged(parameters, average), torch.no_grad():
                journal.show(step + 1, picture(_to(shown, accelerator.device)))
        if due:
            journal.flush()
            save(step + 1, spent + time.monotonic() - began)
    if journal is not None:
        journal.close()
    with torch.no_grad():
        for parameter, value in zip(parameters, average, strict=True):
            parameter.copy_(value)
    stage.eval()
    accelerator.wait_for_everyone()
    return spent + time.monotonic() - began


def whole_step(batches: list[Batch], accelerator: Accelerator) -> list[Batch]:
    """The batches of one step, each told the mean count of its marks over them all and over all processes."""
    for name in [name for name in batches[0] if "has_" in name]:
        mean = sum(batch[name].float().sum() for batch in batches) / len(batches)  # ()
        mean = accelerator.reduce(mean.to(accelerator.device), reduction="mean")
        for batch in batches:
            batch[f"{name}_mean"] = mean
    return batches


@contextmanager
def exchanged(parameters: list[nn.Parameter], values: list[Tensor]) -> Iterator[None]:
    """The modules with these values for their parameters, for a while."""
    own = [p.detach().clone() for p in parameters]
    with torch.no_grad():
        torch._foreach_copy_(parameters, values)
    try:
        yield
    finally:
        with torch.no_grad():
            torch._foreach_copy_(parameters, own)


def _next(batches: Iterator[Batch]) -> Batch:
    """The next one; what is wrong with the data is told as the data set told it, without the worker's traceback."""
    try:
        return next(batches)
    except (ValueError, OSError) as error:
        if not str(error).startswith("Caught"):  # there is no worker
            raise
        *_, told = re.split(rf"^[\w.]*{type(error).__name__}: ", str(error).rstrip(), flags=re.MULTILINE)
        raise ValueError(told) from error


def _to(batch: Batch, device: torch.device) -> Batch:
    return {name: value.to(device, non_blocking=True) for name, value in batch.items()}
