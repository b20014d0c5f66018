"""Seconds that people wait, on this machine: medians of several runs. python benchmarks/speed.py [--out FOLDER]

--device cuda measures a GPU, for which there are no aims; imports are not its affair.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image

from deeplens_hf import DeepLens
from deeplens_hf.depth import resized
from deeplens_hf.sharing.weights import choose_weights
from deeplens_hf.training.data import to_tensor

PHOTO = Path(__file__).resolve().parent.parent / "examples" / "astronaut.jpg"
AIMS = {  # seconds, two processor cores
    "import deeplens_hf": 2.0,
    "import of the model, torch with it": None,
    "depth pass at its working size, all looks": 0.25,
    "... of what is not clearly upright": None,
    "open 12 megapixels, depth included": 1.5,
    "refocus 1280 x 960": 0.6,
    "render 768 x 512, aperture 2": 0.35,
    "render 768 x 512, aperture 16": 0.35,
    "refocus 12 megapixels": 4.0,
}


def median(run: Callable[[], object], times: int) -> float:
    """Median seconds of `times` runs after one that warms up."""
    run()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def measure(model: DeepLens, times: int, folder: Path) -> dict[str, float]:
    """Seconds for each of AIMS, until the result is there: on a GPU too, where calls return before it is."""
    ready = torch.cuda.synchronize if model.device.type == "cuda" else lambda: None
    picture = Image.open(PHOTO).convert("RGB")
    large = folder / "large.jpg"
    picture.resize((4000, 3000), Image.Resampling.BICUBIC).save(large, quality=92)
    screen = picture.resize((1280, 960), Image.Resampling.BICUBIC)
    middling = model.open(screen)
    huge = model.open(large)
    image = torch.rand(1, 3, 512, 768, generator=torch.Generator().manual_seed(0))
    disparity = torch.linspace(0, 1, 512).view(1, 1, 512, 1).expand(1, 1, 512, 768).contiguous()
    disparity[..., 100:400, 200:500] = 0.9
    small = resized(to_tensor(screen)[None], model.config.depth_size)
    noise = torch.rand(small.shape, generator=torch.Generator().manual_seed(0))  # looked at from all sides
    image, disparity, small, noise = (each.to(model.device) for each in (image, disparity, small, noise))
    _ = middling.disparity, huge.disparity  # the pass through depth prediction is not part of refocus

    def looked(small: torch.Tensor) -> object:
        with torch.inference_mode():
            return model.predict_turned(small, model.ways(small)[0]), ready()

    def opened() -> object:
        return model.open(large).disparity

    def started(statement: str) -> object:
        return subprocess.run([sys.executable, "-c", statement], check=True)

    def rendered(aperture: float) -> object:
        with torch.inference_mode():
            return model.render(image, disparity, 0.5, aperture), ready()

    runs = {
        "import deeplens_hf": lambda: started("import deeplens_hf"),
        "import of the model, torch with it": lambda: started("from deeplens_hf import DeepLens"),
        "depth pass at its working size, all looks": lambda: looked(small),
        "... of what is not clearly upright": lambda: looked(noise),
        "open 12 megapixels, depth included": opened,
        "refocus 1280 x 960": lambda: middling.refocus(aperture=8),
        "render 768 x 512, aperture 2": lambda: rendered(2.0),
        "render 768 x 512, aperture 16": lambda: rendered(16.0),
        "refocus 12 megapixels": lambda: huge.refocus(aperture=8),
    }
    if model.device.type != "cpu":
        runs = {name: run for name, run in runs.items() if "import" not in name}
    return {name: round(median(run, times), 4) for name, run in runs.items()}


def main() -> None:
    """Print the table; with --out, write speed.json and speed.md there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="folder or Hub id (default: as everywhere)")
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    model = DeepLens.from_pretrained(choose_weights(args.model)).to(args.device)
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure(model, args.times, Path(folder))
    processor = f"{platform.machine()}, {torch.get_num_threads()} threads"
    on_cpu = model.device.type == "cpu"
    machine = f"{processor if on_cpu else torch.cuda.get_device_name(model.device)}, torch {torch.__version__}"
    digits, name, aims = (2, "speed", AIMS) if on_cpu else (3, f"speed-{model.device.type}", {})
    lines = [
        f"# Speed ({machine})\n",
        f"Median seconds of {args.times} runs.\n",
        "| what | seconds | aim | |",
        "| --- | ---: | ---: | --- |",
    ]
    lines += [
        f"| {what} | {taken:.{digits}f} | {aim or '–'} | {'missed' if aim and taken > aim else ''} |"
        for (what, taken), aim in zip(seconds.items(), map(aims.get, seconds), strict=True)
    ]
    print("\n".join(lines))
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / f"{name}.md").write_text("\n".join(lines) + "\n")
        (args.out / f"{name}.json").write_text(json.dumps({"machine": machine, "seconds": seconds}, indent=2) + "\n")


if __name__ == "__main__":
    main()
