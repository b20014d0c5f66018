"""`deeplens train large`: the larger network's decoder, learned from scenes whose depth is known to the pixel."""

import argparse
from dataclasses import asdict, replace
from pathlib import Path

import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from ..sharing.repository import RECORD, write_record
from .data import PhotoRecord
from .large import FILE, LargeDepth
from .loop import Run, fit
from .losses import gradient_matching, standardise_robustly
from .mixture import DepthMixture, Sources
from .pretrained import DINOV2_PACKAGE, load_dinov2_small
from .record import options, read_record

SCENES = "photos=0,collage=0,tabletop=0.15,layered=0.05,plane=0.12"  # without --sources
LIT = ",lit=0.35,standing=0.33"  # and with --lit


class LargeStage(nn.Module):
    """Eq. 1's disparity and gradient terms; the scenes' masks are not asked for."""

    def __init__(self, large: LargeDepth):
        super().__init__()
        self.large = large

    def forward(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        disparity = self.large(batch["image"]).float()
        truth = F.interpolate(batch["disparity"], disparity.shape[-2:], mode="bilinear", antialias=True)
        difference = standardise_robustly(disparity) - standardise_robustly(truth)
        parts = {"disparity": difference.abs().mean(), "gradient": gradient_matching(difference).mean()}
        return parts | {"loss": parts["disparity"] + 0.5 * parts["gradient"]}


def train_large(args: argparse.Namespace, records: list[PhotoRecord], plan: Run, accelerator: Accelerator) -> Path:
    """Returns the folder with the weights (OUT/weights), to be given to `deeplens train depth --large`.

    Raises:
        ValueError: sources without depth (photos, collage), lit ones without --lit, or --from other weights.
        OSError: DINOv2's weights cannot be had.
    """
    sources = Sources.parse(args.sources or SCENES + LIT * bool(args.lit))
    if sources.photos or sources.collage:
        raise ValueError("sources of train large must be scenes of known depth: give photos=0,collage=0")
    if args.start and not (Path(args.start) / FILE).is_file():
        raise ValueError(f"from must be a folder that train large has written; there is no {FILE} in {args.start}")
    cache, samples = args.cache or args.out / "scenes", plan.samples(accelerator.num_processes)
    dataset = DepthMixture(
        records, cache, args.tabletops, args.scenes, plan.steps * samples, samples, args.seed, sources, lit=args.lit
    )
    large = LargeDepth.load(Path(args.start)).train() if args.start else LargeDepth(load_dinov2_small())
    large.to(accelerator.device)
    modules: dict[str, nn.Module] = {"decoder": large.decoder}
    if args.tune:
        modules["backbone"] = large.backbone.requires_grad_(True)
    told = options(args, records, large if args.start else None)
    plan = replace(plan, slow={"backbone": args.tune}, options=told)
    seconds = fit(modules, LargeStage(large), dataset, plan, accelerator)
    weights = args.out / "weights"
    if accelerator.is_main_process:
        large.save(weights)
        entry = {"stage": "large", "steps": plan.steps, "batch_size": plan.batch_size, "lr": plan.lr, "seed": plan.seed}
        entry |= {"encoder_from": DINOV2_PACKAGE, "sources": asdict(dataset.sources), "lit": len(dataset.exact.files)}
        entry |= {"tune": args.tune} if args.tune else {}
        entry |= {"tabletops": args.tabletops, "scenes": args.scenes, "minutes": round(seconds / 60, 1)}
        before = read_record(args.start) if args.start else []
        write_record(weights / RECORD, [*before, entry])
        print(f"weights: {weights}")
    accelerator.end_training()
    return weights
