"""The command `deeplens push`: weights, with what was measured of them and pictures made by them, to the Hub."""

import argparse
import sys
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ..sharing.weights import CHECKOUT_WEIGHTS

if TYPE_CHECKING:
    from ..model import DeepLens
    from ..photo import Photo

HEIGHT, GAP = 300, 8  # pixels, of a preview
SHOWN = ("astronaut", "chelsea", "coffee", "night_bridge")  # the examples that may be shown without a credit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `deeplens push`, those that choose the model apart."""
    parser.add_argument("repo_id", metavar="OWNER/NAME", help="repository on the Hub; made if there is none")
    parser.add_argument(
        "--evaluation", metavar="DIR", type=Path,
        help="what `deeplens evaluate --out DIR` wrote (default for a checkout's own weights: its benchmarks)",
    )  # fmt: skip
    parser.add_argument(
        "--photos", metavar="PHOTO", type=Path, nargs="*",
        help="shown in the card, refocused by these weights (default for a checkout's own: four of its examples)",
    )  # fmt: skip
    parser.add_argument(
        "--base-model", metavar="ID", help="what the weights were fine-tuned from (default: as recorded)"
    )
    parser.add_argument("--dataset", metavar="ID", nargs="*", default=[], help="data sets on the Hub that taught them")
    parser.add_argument("--license", metavar="NAME", help="of the weights, as the Hub calls it (default: the base's)")
    visible = parser.add_mutually_exclusive_group()
    visible.add_argument("--private", action="store_true", default=None, help="make a private repository")
    visible.add_argument("--public", dest="private", action="store_false", help="make a public repository")
    parser.add_argument("--branch", metavar="B", help="push to this branch (default: main)")
    parser.add_argument("--pr", action="store_true", help="open a pull request instead of pushing")
    parser.add_argument("--message", default="Push weights of deeplens_hf", help="of the commit")
    parser.add_argument("--overwrite-card", action="store_true", help="even if the card was edited by hand on the Hub")
    parser.add_argument(
        "--dry-run", metavar="DIR", type=Path, help="write into this folder what would be pushed; no network"
    )


def push(model: "DeepLens", args: argparse.Namespace) -> str:
    """Push, or write what would be pushed; returns the address of the commit or pull request, or the folder."""
    from ..sharing.release import check_release

    checkout = model.source == str(CHECKOUT_WEIGHTS)
    evaluation, photos = args.evaluation, args.photos
    if evaluation is None and checkout:
        evaluation = CHECKOUT_WEIGHTS.with_name("benchmarks")
    if photos is None:
        shown = [CHECKOUT_WEIGHTS.with_name("examples") / f"{name}.jpg" for name in SHOWN] if checkout else []
        photos = [photo for photo in shown if photo.exists()]
    if args.dry_run and args.dry_run.exists() and any(args.dry_run.iterdir()):
        raise ValueError(f"--dry-run must name a new or empty folder; {args.dry_run} is not")
    check_release(args.repo_id, evaluation, model)  # before the previews, which take their time
    with TemporaryDirectory() as folder:
        previews = []
        for number, photo in enumerate(photos):
            previews.append(Path(folder, str(number), f"{photo.stem}.jpg"))  # photos of one name do not meet
            previews[-1].parent.mkdir()
            preview(model.open(photo)).save(previews[-1], quality=88)
        release = {
            "evaluation": evaluation,
            "previews": previews,
            "base_model": args.base_model,
            "datasets": args.dataset,
            "license": args.license,
        }
        if args.dry_run:
            model.save_release(args.dry_run, args.repo_id, **release)
            return str(args.dry_run)
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: print(f"deeplens: {message}", file=sys.stderr)
            return model.push_to_hub(
                args.repo_id,
                private=args.private,
                branch=args.branch,
                create_pr=args.pr,
                commit_message=args.message,
                overwrite_card=args.overwrite_card,
                **release,
            )


def preview(photo: "Photo"):
    """The photo, its predicted depth and the photo refocused on its subject, side by side: a PIL image."""
    from PIL import Image, ImageOps

    from ..files.pictures import in_srgb
    from ..files.writing import colour_disparity

    pictures = [photo.picture, colour_disparity(photo.disparity), photo.refocus(aperture=10)]
    pictures = [in_srgb(picture, picture.info.get("icc_profile")) for picture in pictures]  # the sheet has no profile
    pictures = [ImageOps.contain(picture, (4 * HEIGHT, HEIGHT)) for picture in pictures]
    width, height = pictures[0].size
    sheet = Image.new("RGB", (3 * width + 2 * GAP, height), "white")
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (i * (width + GAP), 0))
    return sheet
