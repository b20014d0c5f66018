"""What `deeplens train STAGE` is given, and what it refuses."""

import argparse
import math
import re
from pathlib import Path
from typing import get_args

import torch

from ..disparity.own_depth import Sense
from ..layers.encoders import ENCODERS
from ..lens_blur import LENS_BLURS
from ..sharing.weights import HUB_NAME
from .data import has_manifest
from .loop import Run

DEFAULTS = {  # steps, batch size, peak learning rate: of each stage's first run (training.json has them all)
    "depth": (1500, 12, 4e-4),
    "large": (700, 8, 1e-3),
    "orientation": (3000, 128, 1e-3),
    "highlights": (600, 8, 2e-3),
    "mending": (6000, 8, 2e-3),
    "hidden": (9000, 4, 1.5e-3),
    "render": (1600, 4, 1e-3),
    "all": (200, 4, 5e-5),
}
OF_MODEL = {"depth_from", "encoder", "lens_blur", "freeze", "keep", "push_to", "private"}
OF_DEPTH = {"outline_weight", "labels", "depth_is"}
TRACED = {"scenes", "cache", "size"}
MIXED = {"scenes", "cache", "tabletops", "lit", "sources"}
READ = {  # stage -> which of the options that not all of them read; all read the others
    "depth": OF_MODEL | OF_DEPTH | MIXED | {"ensemble", "large", "subjects"},
    "depth --streaming": OF_MODEL | OF_DEPTH,
    "large": MIXED | {"tune"},
    "orientation": OF_MODEL,
    "highlights": OF_MODEL | TRACED | {"lit"},
    "mending": OF_MODEL | TRACED,
    "hidden": OF_MODEL | TRACED,
    "render": OF_MODEL | TRACED,
    "all": OF_MODEL | TRACED | {"labels", "depth_is"},
}
DATA_SET = re.compile(rf"{HUB_NAME.pattern}|[\w-][\w.-]*")  # old ones have no owner
OF_PHOTO_SETS = ("streaming", "split", "columns", "depth_is", "labels")
MIX = (
    "what the depth stage learns from: parts of photos, collage, tabletop, layered, plane, lit, standing; "
    "of photos: people, sharpened; of the rest of them: subjects"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `deeplens train`."""
    parser.add_argument(
        "stage",
        choices=list(DEFAULTS),
        help="depth; a larger network to teach it; which way is up; lamps and gleams; edges of disparity; "
        "colour behind edges; lens blur and upsampling; depth and blur",
    )
    parser.add_argument(
        "--data", help="folder of pictures, or a data set's id on the Hub; depth, large, orientation and all need it"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoint, curve and the trained weights")
    parser.add_argument("--from", dest="start", metavar="MODEL", help="weights to start from: a folder or a Hub id")
    parser.add_argument("--depth-from", metavar="MODEL", help="take the depth module from these weights")
    parser.add_argument("--steps", type=int, help=f"optimiser steps (default: {_by_stage(0)})")
    parser.add_argument("--batch-size", type=int, help=f"samples a batch (default: {_by_stage(1)})")
    parser.add_argument("--lr", type=float, help=f"peak learning rate (default: {_by_stage(2)})")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=256, help="pixels of a traced scene's side (default: 256)")
    parser.add_argument("--scenes", type=int, default=800, help="how many different scenes to trace (default: 800)")
    parser.add_argument(
        "--tabletops", type=int, default=160, help="how many different table-tops to draw (depth, large; default: 160)"
    )
    parser.add_argument("--cache", type=Path, help="folder for traced scenes (default: OUT/scenes)")
    parser.add_argument(
        "--lit",
        type=Path,
        help="folder of scenes that training/blender.py (highlights) or blender_depth.py (depth, large) lit",
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
    parser.add_argument(
        "--subjects",
        type=Path,
        metavar="FOLDER",
        help="masks by training/subjects.py, for photos without one drawn by hand (depth)",
    )
    parser.add_argument(
        "--tune",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="rate of the larger network's DINOv2 part as a share of --lr (large; default: 0, kept as it is)",
    )
    parser.add_argument("--outline-weight", type=float, default=0.5, help="of the mask's outline in the depth loss")
    parser.add_argument(
        "--encoder",
        choices=list(ENCODERS),
        help="of a new model (default: mobilenet_v2), or one to set in place of that of --from (depth)",
    )
    parser.add_argument(
        "--lens-blur", choices=list(LENS_BLURS), default="slabs", help="of a new model (default: slabs)"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare data (default: 1)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--split", default="train", help="of a data set (default: train)")
    parser.add_argument(
        "--columns", metavar="ROLE=NAME", nargs="+", default=[], help="of a data set, roles: image, depth, mask"
    )
    parser.add_argument("--depth-is", choices=get_args(Sense), default="disparity", help="what depth columns hold")
    parser.add_argument(
        "--labels", metavar="MODEL", help="depth for photos without: of this depth model, or 'embedded' by a phone"
    )
    parser.add_argument("--streaming", action="store_true", help="read the data set as it is needed, without a copy")
    parser.add_argument("--freeze", metavar="MODULE", nargs="+", default=[], help="keep as they are: depth.encoder ...")
    parser.add_argument("--accumulate", type=int, default=1, help="batches a step, one after the other")
    parser.add_argument("--precision", choices=("no", "bf16", "fp16"), default="no", help="no: float32 throughout")
    parser.add_argument(
        "--ema", type=float, default=Run.ema, help=f"decay of the averaged weights, which are kept (default: {Run.ema})"
    )
    parser.add_argument(
        "--keep", type=float, default=0.0, metavar="SHARE", help="of the weights started from, mixed into the result"
    )
    parser.add_argument(
        "--save-every", type=int, default=Run.save_every, help=f"steps between checkpoints (default: {Run.save_every})"
    )
    parser.add_argument(
        "--samples-every", type=int, default=250, help="steps between sample pictures (default: 250); 0: none"
    )
    parser.add_argument("--push-to", metavar="OWNER/NAME", help="share the weights on the Hub when done")
    parser.add_argument("--private", action="store_true", help="... in a repository that only you see")


def _by_stage(which: int) -> str:
    return ", ".join(f"{stage} {values[which]:g}" for stage, values in DEFAULTS.items())


def check(args: argparse.Namespace) -> None:
    """Raise ValueError for an argument out of range, or one that would be ignored."""
    for name in ("steps", "batch_size", "scenes", "tabletops", "accumulate", "save_every"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise ValueError(f"{name} must be at least 1; got {getattr(args, name)}")
    for name in ("samples_every", "seed", "workers"):
        if getattr(args, name) < 0:
            raise ValueError(f"{name} must be 0 or more; got {getattr(args, name)}")
    if args.lr is not None and not 0 < args.lr < math.inf:  # NaN neither
        raise ValueError(f"lr must be a finite number above 0; got {args.lr}")
    if not 0 <= args.outline_weight < math.inf:
        raise ValueError(f"outline_weight must be a finite number, 0 or more; got {args.outline_weight}")
    if not 0 <= args.ema < 1:
        raise ValueError(f"ema must be from 0 to below 1; got {args.ema}")
    for each in args.columns:
        if "=" not in each:
            raise ValueError(f"columns must be ROLE=NAME, such as depth=disparity; got {each!r}")
    if args.data and not Path(args.data).is_dir():
        data = "data must be a folder of pictures or a data set's id on the Hub"
        if Path(args.data).is_file():
            raise ValueError(f"{data}; got the file {args.data}")
        if not DATA_SET.fullmatch(args.data):
            raise ValueError(f"{data}; there is no folder {args.data}")
    if args.out.is_file():
        raise ValueError(f"out must be a folder, made if there is none; got the file {args.out}")
    if args.data and args.out.resolve().is_relative_to(Path(args.data).resolve()) and not has_manifest(Path(args.data)):
        raise ValueError(f"out must lie outside the data folder {args.data}; got {args.out}")
    if not 0 <= args.keep < 1 or (args.keep and args.start is None):
        raise ValueError(f"keep must be from 0 to below 1, of the weights that --from names; got {args.keep}")
    if args.push_to and not HUB_NAME.fullmatch(args.push_to):
        raise ValueError(f"push_to must be owner/name; got {args.push_to!r}")
    given = _given(args)
    if args.data is None or has_manifest(Path(args.data)):
        for name in OF_PHOTO_SETS:
            if name in given:
                raise ValueError(f"{name} needs --data with a data set or an image folder, without a manifest.jsonl")
    if args.start and args.encoder and (args.stage != "depth" or args.streaming):
        raise ValueError("encoder beside --from is for train depth, without streaming: a new one has to be learned")
    if args.start and "lens_blur" in given:
        raise ValueError("lens_blur is of a new model, not of one that --from names: leave one of the two out")
    if args.large and not args.ensemble:
        raise ValueError("large has a say in the labels of --ensemble: give both")
    if args.stage == "large" and (args.freeze or args.keep or args.push_to):
        raise ValueError("freeze, keep and push_to are for the stages that train the model itself")
    if not 0 <= args.tune <= 1 or (args.tune and args.stage != "large"):
        raise ValueError(f"tune must be from 0 to 1, for train large; got {args.tune}")
    stage = "depth --streaming" if args.stage == "depth" and args.streaming else args.stage
    unread = [name for name in given if name in set().union(*READ.values()) - READ[stage]]
    if unread:
        told = (f"{name} is for train {', '.join(s for s, names in READ.items() if name in names)}" for name in unread)
        raise ValueError(f"{'; '.join(told)}; not for train {stage}")
    if args.private and not args.push_to:
        raise ValueError("private goes with push_to")
    if args.data is None and args.stage in ("depth", "large", "orientation", "all"):
        raise ValueError(f"train {args.stage} needs --data: a folder with labelled photos")


def _given(args: argparse.Namespace) -> list[str]:
    """The options that have other values than they have by themselves."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return [name for name, value in vars(args).items() if value != parser.get_default(name)]
