"""What the tests of photos share: the model, and a photo with something at every place."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deeplens_hf import DeepLens

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = ROOT / "weights"


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights to load: the shipped ones, or untrained ones where the checkout has none yet."""
    if (WEIGHTS / "config.json").is_file():
        return WEIGHTS
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    DeepLens().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def model(model_folder: Path) -> DeepLens:
    return DeepLens.from_pretrained(model_folder)


@pytest.fixture(scope="session")
def pixels() -> np.ndarray:
    """A photo, (96, 128, 3) uint8: fine texture on broad patches of colour, no two corners alike."""
    rng = np.random.default_rng(0)
    patches = rng.uniform(60, 200, (6, 8, 3)).repeat(16, 0).repeat(16, 1)
    return (patches + rng.normal(0, 25, (96, 128, 3))).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def planes() -> np.ndarray:
    """Disparity (96, 128): the left half far, the right half near."""
    return np.where(np.arange(128) < 64, 0.2, 0.8).astype(np.float32)[None].repeat(96, 0)


@pytest.fixture
def photo_file(tmp_path: Path, pixels: np.ndarray) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="session")
def deeplens() -> Callable[..., subprocess.CompletedProcess]:
    """The real command line, in a process of its own."""

    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "deeplens_hf", *map(str, arguments)],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run
