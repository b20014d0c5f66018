"""A larger network that knows depth only from exact scenes, and says of photos what is near and what is far.

DINOv2-S (Oquab et al., TMLR 2024), frozen, under a small decoder: 22 million parameters, too many to ship or to run at
a click. What it has seen of the world lets it carry over to photos what scenes taught it; for the broad shape of depth
it is the better teacher, while edges are better told by who was shown photos (`ensemble`).
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import Dinov2Config, Dinov2Model

from ..layers.encoders import IMAGE_MEAN, IMAGE_STD

PATCH, CHANNELS = 14, 384
LONG_SIDE = 392  # pixels: 28 patches
LAYERS = (3, 6, 9, 12)  # whose tokens the decoder reads
FILE = "large.safetensors"


def dinov2_small() -> Dinov2Model:
    """The network without its weights."""
    config = Dinov2Config(
        hidden_size=CHANNELS, num_hidden_layers=12, num_attention_heads=6, image_size=37 * PATCH, patch_size=PATCH
    )
    return Dinov2Model(config)


def published(name: str) -> str:
    """A tensor's name as DINOv2 was published with; some versions of transformers have names of their own."""
    for own, theirs in (("q", "query"), ("k", "key"), ("v", "value")):
        name = name.replace(f"attention.{own}_proj", f"attention.attention.{theirs}")
    return name.replace("attention.o_proj", "attention.output.dense")


class Residual(nn.Module):
    """x + two convolutions of it, normalised."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(F.relu(self.norm(x)))))


class Decoder(nn.Module):
    """Tokens of four layers and the picture -> disparity, four pixels to a patch's side."""

    def __init__(self, width: int = 128):
        super().__init__()
        self.drop = nn.Dropout2d(0.2)  # 1,000 scenes are few
        self.read = nn.Conv2d(len(LAYERS) * CHANNELS, width, 1)
        self.patches = nn.Sequential(Residual(width), Residual(width))
        self.halves = nn.Sequential(nn.Conv2d(width, width // 2, 3, padding=1), Residual(width // 2))
        self.picture = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()
        )
        self.quarters = nn.Sequential(nn.Conv2d(width // 2 + 16, width // 4, 3, padding=1), Residual(width // 4))
        self.write = nn.Conv2d(width // 4, 1, 3, padding=1)

    def forward(self, tokens: Tensor, image: Tensor) -> Tensor:
        """tokens (B, 4 * 384, h, w), image (B, 3, 4h, 4w) -> (B, 1, 4h, 4w)."""
        x = self.patches(self.read(self.drop(tokens)))
        x = self.halves(F.interpolate(x, scale_factor=2, mode="bilinear"))
        x = torch.cat([F.interpolate(x, scale_factor=2, mode="bilinear"), self.picture(image - 0.5)], 1)
        return self.write(F.relu(self.quarters(x)))


class LargeDepth(nn.Module):
    """Picture (B, 3, H, W) in [0, 1] -> disparity (B, 1, h, w) up to scale and shift, of some 112 pixels' long side."""

    def __init__(self, backbone: Dinov2Model):
        super().__init__()
        self.backbone = backbone.eval().requires_grad_(False)  # `train large --tune` lets it learn, slowly
        self.decoder = Decoder()
        self.register_buffer("mean", torch.tensor(IMAGE_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGE_STD).view(3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> "LargeDepth":
        super().train(mode)
        self.backbone.eval()  # nothing in it is dropped
        return self

    def forward(self, image: Tensor) -> Tensor:
        scale = LONG_SIDE / max(image.shape[-2:]) / PATCH
        h, w = (max(2, round(side * scale)) for side in image.shape[-2:])  # patches
        x = F.interpolate(image, (h * PATCH, w * PATCH), mode="bilinear", antialias=True)
        tokens, each = [], self.backbone.embeddings((x - self.mean) / self.std)  # (B, 1 + hw, 384)
        for number, layer in enumerate(self.backbone.encoder.layer, 1):
            each = layer(each)
            if number in LAYERS:
                tokens.append(self.backbone.layernorm(each)[:, 1:].transpose(1, 2).unflatten(2, (h, w)))
        return self.decoder(torch.cat(tokens, 1), F.interpolate(x, (4 * h, 4 * w), mode="bilinear", antialias=True))

    def save(self, folder: Path) -> None:
        """Write large.safetensors, fp16: all of it, the frozen part too."""
        folder.mkdir(parents=True, exist_ok=True)
        own = self.state_dict().items()
        tensors = {published(name): value.detach().half().cpu().contiguous() for name, value in own}
        save_file(tensors, folder / FILE)

    @classmethod
    def load(cls, folder: Path) -> "LargeDepth":
        """Raises FileNotFoundError: no such weights in the folder."""
        large = cls(dinov2_small())
        tensors = {published(name): value for name, value in load_file(folder / FILE).items()}
        large.load_state_dict({name: tensors[published(name)] for name in large.state_dict()})
        return large.eval()
