"""The page, here and as a Space: `python app.py`. GRADIO_SERVER_NAME and GRADIO_SERVER_PORT say where it listens."""

try:
    import spaces  # noqa: F401  on ZeroGPU it has to come before torch
except ImportError:
    pass

from pathlib import Path

import torch

from deeplens_hf import DeepLens
from deeplens_hf.demo import LOOK, build_demo
from deeplens_hf.weights import choose_weights, describe_weights

print(describe_weights())
device = "cuda" if torch.cuda.is_available() else "cpu"
model = DeepLens.from_pretrained(choose_weights()).to(device).eval()
page = build_demo(model, examples=sorted(Path(__file__).with_name("examples").glob("*.jpg")))

if __name__ == "__main__":
    page.launch(**LOOK)
