"""The page, here and as a Space: `python app.py`.

DEEPLENS_MODEL: a Hub id or folder of weights, in place of weights/. DEEPLENS_DEPTH_MODELS: ids of depth-estimation
models that visitors may choose, with commas between. GRADIO_SERVER_NAME and GRADIO_SERVER_PORT: where it listens.
"""

try:
    import spaces  # noqa: F401  on ZeroGPU it has to come before torch
except ImportError:
    pass

import torch

from deeplens_hf import DeepLens
from deeplens_hf.demo import LAUNCH, own_page
from deeplens_hf.sharing.weights import choose_weights, describe_weights

print(describe_weights())
device = "cuda" if torch.cuda.is_available() else "cpu"
model = DeepLens.from_pretrained(choose_weights()).to(device).eval()
page = own_page(model)

if __name__ == "__main__":
    page.launch(**LAUNCH)
