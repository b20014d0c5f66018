"""`deeplens train STAGE`: one seeded, resumable command a stage, and the record of what it did."""

import argparse
import copy
import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import Dataset

from ..encoders import ENCODERS
from ..hub import HUB_NAME
from ..model import DeepLens, DeepLensConfig
from ..repository import FORMAT_VERSION
from .data import DepthPhotos, PhotoRecord, has_manifest, labelled_photos
from .ensemble import EnsembledLabels
from .flawed import FlawedScenes
from .hdr import ClippedScenes
from .hidden_scenes import HiddenScenes
from .large import LargeDepth
from .large_stage import train_large
from .loop import Run, fit, launch
from .mixture import DepthMixture, Sources
from .pretrained import load_imagenet
from .record import keep, of_todays_format, origin, read_record, save_weights
from .rendered import RenderedScenes
from .stages import stage_parts
from .transplant import with_encoder
from .turned import TurnedPhotos

if TYPE_CHECKING:
    from .photo_sets import PhotoSet

DEFAULTS = {  # steps, batch size, peak learning rate: what made the shipped weights
    "depth": (1500, 12, 4e-4),
    "large": (700, 8, 1e-3),
    "orientation": (3000, 128, 1e-3),
    "highlights": (600, 8, 2e-3),
    "mending": (6000, 8, 2e-3),
    "hidden": (9000, 4, 1.5e-3),
    "render": (1600, 4, 1e-3),
    "all": (200, 4, 5e-5),
}
MIX = (
    "what the depth stage learns from: parts of photos, collage, tabletop, layered, plane, lit, standing; "
    "of photos: people, sharpened"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `deeplens train`."""
    parser.add_argument(
        "stage",
        choices=list(DEFAULTS),
        help="depth; a larger network to teach it; which way is up; lamps at night; edges of disparity; "
        "colour behind edges; lens blur and upsampling; depth and blur",
    )
    parser.add_argument(
        "--data", help="folder of pictures, or a data set's id on the Hub; the render stage also does without"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoint, curve and the trained weights")
    parser.add_argument("--from", dest="start", metavar="MODEL", help="weights to start from: a folder or a Hub id")
    parser.add_argument("--depth-from", metavar="MODEL", help="take the depth module from these weights")
    parser.add_argument("--steps", type=int, help="optimiser steps (default: those of the shipped weights)")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--lr", type=float, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=256, help="pixels of a traced scene's side (render, all)")
    parser.add_argument("--scenes", type=int, default=800, help="how many different scenes to trace")
    parser.add_argument("--tabletops", type=int, default=160, help="how many different table-tops to draw (depth)")
    parser.add_argument("--cache", type=Path, help="folder for traced scenes (default: OUT/scenes)")
    parser.add_argument(
        "--lit",
        type=Path,
        help="folder of scenes that training/blender.py (highlights) or blender_depth.py (depth) lit",
    )
    parser.add_argument("--sources", default="", metavar="NAME=PART,...", help=MIX)
    parser.add_argument(
        "--ensemble",
        metavar="MODEL",
        help="photos' disparity from several looks of these weights (depth): those started from, or better ones",
    )
    parser.add_argument(
        "--large", type=Path, metavar="FOLDER", help="of train large: has a say in the labels of --ensemble (depth)"
    )
    parser.add_argument("--outline-weight", type=float, default=0.5, help="of the mask's outline in the depth loss")
    parser.add_argument(
        "--encoder",
        choices=list(ENCODERS),
        help="of a new model (default: mobilenet_v2), or one to set in place of that of --from (depth)",
    )
    parser.add_argument("--lens-blur", default="slabs", help="of a new model: slabs or convolutional")
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare data")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--split", default="train", help="of a data set (default: train)")
    parser.add_argument(
        "--columns", metavar="ROLE=NAME", nargs="+", default=[], help="of a data set, roles: image, depth, mask"
    )
    parser.add_argument(
        "--depth-is", choices=("disparity", "depth"), default="disparity", help="what depth columns hold"
    )
    parser.add_argument(
        "--labels", metavar="MODEL", help="depth for photos without: of this depth model, or 'embedded' by a phone"
    )
    parser.add_argument("--streaming", action="store_true", help="read the data set as it is needed, without a copy")
    parser.add_argument("--freeze", metavar="MODULE", nargs="+", default=[], help="keep as they are: depth.encoder ...")
    parser.add_argument("--accumulate", type=int, default=1, help="batches a step, one after the other")
    parser.add_argument("--precision", choices=("no", "bf16", "fp16"), default="no", help="no: float32 throughout")
    parser.add_argument("--ema", type=float, default=Run.ema, help="decay of the averaged weights that are kept")
    parser.add_argument(
        "--keep", type=float, default=0.0, metavar="SHARE", help="of the weights started from, mixed into the result"
    )
    parser.add_argument("--save-every", type=int, default=Run.save_every, help="steps between checkpoints")
    parser.add_argument("--samples-every", type=int, default=250, help="steps between sample pictures; 0: none")
    parser.add_argument("--push-to", metavar="OWNER/NAME", help="share the weights on the Hub when done")
    parser.add_argument("--private", action="store_true", help="... in a repository that only you see")


def run(args: argparse.Namespace) -> Path:
    """Train one stage; returns the folder that holds the weights (OUT/weights).

    Raises:
        ValueError: a stage that needs labelled photos without --data, or an argument out of range.
    """
    check(args)
    steps, batch_size, lr = (
        given if given is not None else default
        for given, default in zip((args.steps, args.batch_size, args.lr), DEFAULTS[args.stage], strict=True)
    )
    accelerator = launch(args.device, args.precision, args.accumulate)
    torch.manual_seed(args.seed)
    photos = args.stage in ("depth", "large", "orientation")
    plan = Run(
        args.out, steps, batch_size, lr, args.seed,
        ema=args.ema,
        # scenes are traced on the GPU where there is one, and a worker process cannot share it
        workers=0 if not photos and accelerator.device.type != "cpu" else args.workers,
        save_every=args.save_every,
        accumulate=args.accumulate,
        samples_every=args.samples_every,
    )  # fmt: skip
    if args.stage == "large":
        return train_large(args, find_photos(args, accelerator), plan, accelerator)
    record: list[dict] = []
    entry = {"stage": args.stage, "steps": steps, "batch_size": batch_size, "lr": lr, "seed": args.seed}
    if args.start:
        model = DeepLens.from_pretrained(args.start)
        record = read_record(args.start)
        entry["from"] = origin(args.start, record)
    else:
        model = DeepLens(DeepLensConfig(encoder=args.encoder or "mobilenet_v2", lens_blur=args.lens_blur))
    if args.stage in ("highlights", "hidden") and model.config.lens_blur != "slabs":
        raise ValueError(f"train {args.stage} needs a model with lens_blur slabs; got {model.config.lens_blur}")
    alone = args.stage in ("mending", "orientation", "highlights", "hidden")  # a module that older weights may lack
    if alone and model.config.format_version < FORMAT_VERSION:
        model = of_todays_format(model)
    if args.depth_from:
        model.depth.load_state_dict(DeepLens.from_pretrained(args.depth_from).depth.state_dict())
        record = read_record(args.depth_from) + record
    records = [] if args.streaming and args.stage == "depth" else find_photos(args, accelerator)
    if args.stage == "depth" and not args.start:
        entry["encoder_from"] = load_imagenet(model.depth.encoder)
    elif args.encoder and args.encoder != model.config.encoder:
        model, entry["encoder_from"] = with_encoder(model, args.encoder, records)
    freeze(model, args.freeze)
    model.to(accelerator.device)

    samples = batch_size * args.accumulate * accelerator.num_processes  # a step
    cache = args.cache or args.out / "scenes"
    if args.stage in ("render", "mending", "hidden", "all"):
        scenes = {"mending": FlawedScenes, "hidden": HiddenScenes}.get(args.stage, RenderedScenes)(
            records, cache, args.scenes, steps * samples, args.seed, args.size,
            str(accelerator.device),
        )  # fmt: skip
        entry["scenes"] = args.scenes
    if args.stage in ("render", "mending", "hidden"):
        dataset: Dataset = scenes
    elif args.stage == "orientation":
        dataset = TurnedPhotos(records, copy.deepcopy(model.depth).cpu(), steps * samples, args.seed)
    elif args.stage == "highlights":
        dataset = ClippedScenes(records, cache, args.scenes, steps * samples, args.seed, args.size, args.lit)
        entry |= {"scenes": args.scenes} | ({"lit": len(dataset.lit)} if args.lit else {})
    else:
        if args.stage == "depth":
            sources = Sources.parse(args.sources)
            if args.streaming:
                from .photo_sets import StreamedPhotos

                dataset = StreamedPhotos(photo_set(args), steps * samples, samples, args.seed)
            else:
                labels = None
                if args.ensemble:
                    large = LargeDepth.load(args.large) if args.large else None
                    labels = EnsembledLabels(DeepLens.from_pretrained(args.ensemble).depth, cache, large)
                dataset = DepthMixture(
                    records, cache, args.tabletops, args.scenes, steps * samples, samples, args.seed, sources, labels,
                    args.lit,
                )  # fmt: skip
            entry |= {
                "scenes": args.scenes,
                "tabletops": args.tabletops,
                "sources": asdict(sources),
                "outline_weight": args.outline_weight,
            }
            entry |= {"labels": "ensembled with large" if args.large else "ensembled"} if args.ensemble else {}
            entry |= {"lit": len(dataset.exact.files)} if args.lit else {}
        else:
            dataset = Together(scenes, DepthPhotos(records, (256, 256), 0, steps * samples, args.seed))
    parts = stage_parts(args.stage, model, args.outline_weight)
    start = copy.deepcopy(model.state_dict()) if args.keep else {}
    seconds = fit(parts.modules, parts.loss, dataset, plan, accelerator, parts.picture)
    keep(model, start, args.keep)

    spread = {"accumulate": args.accumulate, "processes": accelerator.num_processes}
    entry |= {name: count for name, count in spread.items() if count > 1}
    entry |= {"freeze": args.freeze} if args.freeze else {}
    entry |= {"keep": args.keep} if args.keep else {}
    entry |= {"precision": args.precision} if args.precision != "no" else {}
    entry |= {"photos": len(records), "minutes": round(seconds / 60, 1), "device": accelerator.device.type}
    weights = args.out / "weights"
    if accelerator.is_main_process:
        save_weights(model, weights, [*record, entry])
        print(f"weights: {weights}")
        if args.push_to:
            push(weights, args)
    accelerator.end_training()
    return weights


def find_photos(args: argparse.Namespace, accelerator: Accelerator) -> list[PhotoRecord]:
    """The labelled photos of --data: as they lie in a folder with a manifest, else unpacked into OUT/photos."""
    if args.data is None:
        return []
    if has_manifest(Path(args.data)):
        return labelled_photos(Path(args.data), "train")
    from .photo_sets import MATERIAL, unpack

    most = MATERIAL if args.streaming else None
    with accelerator.main_process_first():
        return unpack(
            photo_set(args), args.out / "photos", args.stage in ("depth", "all"), most, device=str(accelerator.device)
        )


def photo_set(args: argparse.Namespace) -> "PhotoSet":
    """What --data and the options beside it name."""
    from .photo_sets import PhotoSet

    columns = tuple(tuple(each.split("=", 1)) for each in args.columns)
    return PhotoSet(args.data, args.split, columns, args.depth_is, args.labels)


def push(weights: Path, args: argparse.Namespace) -> None:
    """Share what was trained; the card names what it was trained from and on. Prints the address."""
    datasets = [args.data] if args.data and not os.path.exists(args.data) else []
    model = DeepLens.from_pretrained(weights)
    print(model.push_to_hub(args.push_to, private=args.private or None, datasets=datasets))


def check(args: argparse.Namespace) -> None:
    """Raise ValueError for an argument out of range."""
    for name in ("steps", "batch_size", "scenes", "tabletops", "accumulate", "save_every"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise ValueError(f"{name} must be at least 1; got {getattr(args, name)}")
    if args.samples_every < 0:
        raise ValueError(f"samples_every must be 0 or more; got {args.samples_every}")
    if not 0 <= args.ema < 1:
        raise ValueError(f"ema must be from 0 to below 1; got {args.ema}")
    for each in args.columns:
        if "=" not in each:
            raise ValueError(f"columns must be ROLE=NAME, such as depth=disparity; got {each!r}")
    if args.data and args.out.resolve().is_relative_to(Path(args.data).resolve()) and not has_manifest(Path(args.data)):
        raise ValueError(f"out must lie outside the data folder {args.data}; got {args.out}")
    if not 0 <= args.keep < 1 or (args.keep and args.start is None):
        raise ValueError(f"keep must be from 0 to below 1, of the weights that --from names; got {args.keep}")
    if args.push_to and not re.fullmatch(HUB_NAME, args.push_to):
        raise ValueError(f"push_to must be owner/name; got {args.push_to!r}")
    if args.streaming and (args.data is None or has_manifest(Path(args.data))):
        raise ValueError("streaming needs --data with a data set or an image folder, without a manifest.jsonl")
    if args.start and args.encoder and (args.stage != "depth" or args.streaming):
        raise ValueError("encoder beside --from is for train depth, without streaming: a new one has to be learned")
    if args.ensemble and (args.stage != "depth" or args.streaming):
        raise ValueError("ensemble is for train depth, without streaming")
    if args.large and not args.ensemble:
        raise ValueError("large has a say in the labels of --ensemble: give both")
    if args.stage == "large" and (args.start or args.freeze or args.keep or args.push_to):
        raise ValueError("from, freeze, keep and push_to are for the stages that train the model itself")
    if args.data is None and args.stage in ("depth", "large", "orientation", "all"):
        raise ValueError(f"train {args.stage} needs --data: a folder with labelled photos")


def freeze(model: DeepLens, names: list[str]) -> None:
    """Keep these modules of the model, such as "depth.encoder", as they are. ValueError for one that it has not."""
    modules = dict(model.named_modules())
    for name in names:
        if not name or name not in modules:
            known = ", ".join(each for each in modules if each and each.count(".") < 2)
            raise ValueError(f"freeze must name modules of the model ({known}, or parts of them); got {name!r}")
        modules[name].requires_grad_(False)


class Together(Dataset):
    """A traced scene and a labelled photo at each position: what end-to-end training reads."""

    def __init__(self, scenes: RenderedScenes, photos: DepthPhotos):
        self.scenes, self.photos = scenes, photos

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        photo = {f"photo_{name}": value for name, value in self.photos[position].items()}
        return self.scenes[position] | photo
