"""What a run leaves to look at: curve.csv, the same curve for TensorBoard, and sample pictures."""

import csv
import os
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter


class Journal:
    """Files under `out`: curve.csv, a row a step; tensorboard/, to look at while it runs; samples/step-NNNNNN.png.

    A run that is resumed at step `start` forgets what a killed one wrote beyond it: every step stands there once.
    """

    def __init__(self, out: Path, start: int):
        self.out, self.curve = out, out / "curve.csv"
        kept = _rows_before(self.curve, start)
        part = self.curve.with_suffix(".part")
        with part.open("w", newline="") as file:
            csv.writer(file).writerows(kept)
        os.replace(part, self.curve)
        self.named = bool(kept)  # the first row names the columns
        self.file = self.curve.open("a", newline="")
        self.rows = csv.writer(self.file)
        self.board = SummaryWriter(str(out / "tensorboard"), purge_step=start)

    def log(self, step: int, values: dict[str, float]) -> None:
        """One step's losses, the same names each time."""
        if not self.named:
            self.rows.writerow(["step", *values])
            self.named = True
        self.rows.writerow([step, *(f"{value:.5f}" for value in values.values())])
        for name, value in values.items():
            self.board.add_scalar(name, value, step)

    def show(self, step: int, picture: Tensor) -> None:
        """A picture (3, H, W) in [0, 1] of what the model does after `step` steps."""
        pixels = (picture.detach().float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()  # (H, W, 3)
        file = self.out / "samples" / f"step-{step:06d}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(np.ascontiguousarray(pixels)).save(file)
        self.board.add_image("sample", pixels, step, dataformats="HWC")

    def flush(self) -> None:
        """On disk before the checkpoint is: what a checkpoint has behind it is in the curve."""
        self.file.flush()
        self.board.flush()

    def close(self) -> None:
        self.file.close()
        self.board.close()


def _rows_before(curve: Path, start: int) -> list[list[str]]:
    """The header and the rows of the steps before `start`; a half-written last row is none of them."""
    if start == 0 or not curve.exists():
        return []
    with curve.open(newline="") as file:
        rows = list(csv.reader(file))
    return rows[:1] + [row for row in rows[1:] if len(row) == len(rows[0]) and int(row[0]) < start]
