"""From one process to two: photos refocused, and samples trained on, a second. Writes scaling.json beside itself.

    python benchmarks/scaling.py [CORES]

One thread a process, 1 to CORES (2) processes. Beside the clock, which other programs on the machine disturb, stand the
processor seconds that a photo or sample takes: what they grow by from one process to two is what sharing costs.
"""

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve()
WEIGHTS = HERE.parent.parent / "weights"
PHOTO = HERE.parent.parent / "examples" / "chelsea.jpg"
EACH, STEPS, BATCH, SIZE = 6, 10, 4, 256  # photos and steps a process, beyond the first, which warms up


def processor_seconds(pids: list[int]) -> float:
    """Used so far by these processes."""
    stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(stat[11]) + int(stat[12]) for stat in stats) / os.sysconf("SC_CLK_TCK")


def refocus(processes: int) -> dict[str, float]:
    """Photos of 1280 x 960 through `deeplens_hf.commands.workers`."""
    from PIL import Image

    from deeplens_hf.commands.workers import Task, run_tasks

    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder, "photo.jpg")
        Image.open(PHOTO).resize((1280, 960)).save(photo, quality=95)
        count = processes * (EACH + 1)
        tasks = [Task(str(i), photo, Path(folder, f"{i}.jpg")) for i in range(count)]
        done = run_tasks(tasks, [("cpu", 1)] * processes, str(WEIGHTS), {"aperture": 8.0})
        for number, (_, error) in enumerate(done, 1):
            assert error is None, error
            if number == processes:
                pids = [child.pid for child in multiprocessing.active_children()]
                began, used = time.monotonic(), processor_seconds(pids)
            elif number == count - processes + 1:  # from here on a worker may have ended
                seconds, used = time.monotonic() - began, processor_seconds(pids) - used
                return {"a second": (number - processes) / seconds, "processor seconds": used / (number - processes)}


def train(processes: int) -> dict[str, float]:
    """Depth steps of 4 samples a process, DistributedDataParallel over gloo."""
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, *launcher, str(HERE), "--train", folder]
        subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
        told = [json.loads(file.read_text()) for file in Path(folder).glob("*.json")]
    samples = STEPS * BATCH * processes
    seconds, used = max(each["seconds"] for each in told), sum(each["processor"] for each in told)
    return {"a second": samples / seconds, "processor seconds": used / samples}


def train_worker(folder: Path) -> None:
    """One process of `train`."""
    import torch
    from torch.utils.data import Dataset

    from deeplens_hf import DeepLens
    from deeplens_hf.training.loop import Run, fit, launch
    from deeplens_hf.training.stages import stage_parts

    class Noise(Dataset):
        def __getitem__(self, position: int) -> dict[str, torch.Tensor]:
            maps = torch.rand(1, SIZE, SIZE)
            sample = {"image": torch.rand(3, SIZE, SIZE), "disparity": maps, "foreground": maps.round()}
            return sample | {"has_disparity": torch.tensor(1.0), "has_foreground": torch.tensor(1.0)}

    accelerator, times = launch(), []
    stage = stage_parts("depth", DeepLens.from_pretrained(WEIGHTS))

    def loss(batch, step):
        times.append((time.monotonic(), time.process_time()))
        return stage.loss(batch, step)

    run = Run(folder, STEPS + 2, BATCH, 1e-5, workers=0, save_every=1000)  # the first step warms up, the last saves
    fit(stage.modules, loss, Noise(), run, accelerator)
    (began, used), (ended, in_all) = times[1], times[-1]
    told = {"seconds": ended - began, "processor": in_all - used}
    (folder / f"{accelerator.process_index}.json").write_text(json.dumps(told))
    accelerator.end_training()


def main() -> None:
    cores = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    before = os.getloadavg()[0]
    rows: dict[str, object] = {"load before": round(before, 2)}
    for measure in (refocus, train):
        for processes in (1, cores):
            figures = measure(processes)
            rows[f"{measure.__name__}, {processes} processes"] = {name: round(f, 4) for name, f in figures.items()}
    (HERE.parent / "scaling.json").write_text(json.dumps(rows, indent=2) + "\n")
    print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--train"]:
        train_worker(Path(sys.argv[2]))
    else:
        main()
