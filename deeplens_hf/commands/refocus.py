"""The command `deeplens refocus`: one photo through a lens, or many."""

import argparse
import math
import sys
from pathlib import Path

from . import arguments, opening


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The arguments of `deeplens refocus`, those that choose the model apart."""
    command.add_argument("photo", metavar="PHOTO", nargs="+", help="or many: files, folders, patterns, a data set's id")
    sharp = command.add_mutually_exclusive_group()
    sharp.add_argument(
        "--focus", dest="point", metavar="X,Y", type=arguments.point,
        help="what shall be sharp, in pixels of the upright photo (default: the main subject)",
    )  # fmt: skip
    sharp.add_argument(
        "--range", dest="focus", metavar="FAR,NEAR", type=arguments.interval,
        help="disparities, 0 to 1, between which all is sharp",
    )  # fmt: skip
    command.add_argument(
        "--aperture", metavar="A", type=arguments.aperture, default=8.0,
        help="blur from 0, none, to 16, most; or an f-number with its f: f/1.8 (default: 8). 1.8 alone hardly blurs",
    )  # fmt: skip
    opening.add_own_depth(command)
    shape = command.add_argument_group("the aperture's shape")
    shape.add_argument("--blades", type=int, default=0, help="5 to 9 (default: 0, round)")
    shape.add_argument("--rotation", metavar="DEGREES", type=float, default=0.0, help="of the blades, clockwise")
    shape.add_argument("--roundness", type=float, default=0.0, help="of the blades: 0, straight, to 1, a disc")
    shape.add_argument("--ring", type=float, default=0.0, help="a mirror lens: its inner radius, 0 to 0.9 of the outer")
    shape.add_argument("--cat-eye", type=float, default=0.0, help="0 to 1: how narrow discs get towards the corners")
    shape.add_argument("--highlights", type=float, default=1.0, help="light given back to lamps: 0 to 2 (default: 1)")
    shape.add_argument(
        "--grain", type=float, default=0.0,
        help="how much of the photo's own grain to put back where it is blurred: 0 to 2 (default: 0)",
    )  # fmt: skip
    lens = command.add_argument_group("a real lens", "with a known distance in the photo, f/N means what it says")
    lens.add_argument(
        "--reference", metavar="X,Y,METRES", type=arguments.reference, action="append", default=[],
        help="what lies at X,Y is METRES away; once or twice",
    )  # fmt: skip
    lens.add_argument(
        "--farthest", metavar="METRES", type=float, default=math.inf,
        help="how far the farthest thing is, beside a single --reference (default: infinitely)",
    )  # fmt: skip
    lens.add_argument("--focal-length", metavar="MM", type=float, help="real, not 35 mm equivalent (default: EXIF's)")
    lens.add_argument("--sensor-width", metavar="MM", type=float, help="the sensor's long side (default: by the EXIF)")
    command.add_argument(
        "-o", "--out", metavar="OUT", type=Path, required=True, help=".jpg, .png, .tif or .webp; a folder for many"
    )
    many = command.add_argument_group("many photos")
    many.add_argument("--workers", type=int, help="processes (default: one a GPU, or one for every two CPU cores)")
    many.add_argument("--suffix", help="of the results, such as .png (default: the photo's own, else .jpg)")
    many.add_argument("--overwrite", action="store_true", help="render again what is there (default: skip it)")
    many.add_argument("--shard", metavar="RANK/COUNT", help="a part of the work (default: what torchrun or Slurm say)")
    many.add_argument("--split", help="of a data set (default: train)")


def run(args: argparse.Namespace) -> int:
    """Blur a photo as a lens would, or many; prints the file written, or how many."""
    from ..files import writing
    from ..inputs import check_number
    from ..model import MAX_HIGHLIGHTS
    from ..optics import ApertureShape
    from ..photo import WIDEST
    from ..rendering.grain import MAX_GRAIN
    from . import batch
    from .workers import calibrate_by_exif

    for name in ("rotation", "roundness"):
        if getattr(args, name) and not args.blades:
            raise ValueError(f"--{name} goes with --blades")
    shape = ApertureShape(args.blades, args.rotation, args.roundness, args.ring, args.cat_eye)
    if not isinstance(args.aperture, str):
        check_number("aperture", args.aperture, 0, WIDEST)
    check_number("highlights", args.highlights, 0, MAX_HIGHLIGHTS)
    check_number("grain", args.grain, 0, MAX_GRAIN)
    for end in args.focus or ():
        check_number("range", end, 0, 1)
    settings = {"point": args.point, "aperture": args.aperture, "focus": args.focus}
    settings |= {"shape": shape, "highlights": args.highlights, "grain": args.grain}
    lens = args.reference or args.focal_length is not None or args.sensor_width is not None
    if batch.is_many(args.photo, args.out):
        if lens or args.farthest != math.inf:  # nan, too
            raise ValueError(
                "--reference, --farthest, --focal-length and --sensor-width go with a single photo and a file as -o"
            )
        return _refocus_many(args, settings)
    # what can be checked is checked before the model takes its time
    writing.check_target(args.out, writing.FORMATS)
    opening.check_sources_stay("-o", args.out, args.photo[0], args.depth)
    for name in ("workers", "suffix", "overwrite", "shard", "split"):
        if getattr(args, name) is not None and getattr(args, name) is not False:
            raise ValueError(f"--{name} goes with many photos")
    if args.farthest != math.inf and not args.reference:
        raise ValueError("--farthest goes with --reference")
    if lens and not isinstance(args.aperture, str):
        raise ValueError("--reference, --focal-length and --sensor-width go with an f-number, such as --aperture f/2")
    if lens and not (args.reference or args.depth):
        raise ValueError("--focal-length and --sensor-width go with --reference X,Y,METRES or a --depth in metres")
    photo = opening.open_photo(args, args.photo[0])
    if lens:
        photo.calibrate(args.reference, args.focal_length, args.sensor_width, args.farthest)
    elif missing := calibrate_by_exif(photo, args.aperture):
        print(f"deeplens: {missing}", file=sys.stderr)
    writing.save_picture(photo.refocus(**settings), args.out)
    print(args.out)
    return 0


def _refocus_many(args: argparse.Namespace, settings: dict) -> int:
    from ..sharing.weights import choose_weights, describe_weights
    from . import batch

    own = {}
    if args.depth_is and not args.depth:
        raise ValueError("--depth-is goes with --depth")
    if args.depth:
        from ..disparity.own_depth import EMBEDDED, is_model

        model = is_model(args.depth) and (not Path(args.depth).is_dir() or Path(args.depth, "config.json").exists())
        if args.depth != EMBEDDED and not model:
            raise ValueError(
                f"--depth must be 'embedded' or a depth model where -o is a folder, for many photos; got {args.depth!r}"
            )
        own = {"disparity": args.depth, "depth_is": args.depth_is}
    print(describe_weights(args.model), file=sys.stderr)
    report = batch.refocus_many(
        args.photo, args.out, settings, choose_weights(args.model), device=args.device, workers=args.workers,
        shard=batch.Shard.parse(args.shard), suffix=args.suffix, overwrite=args.overwrite, split=args.split or "train",
        opening=own,
    )  # fmt: skip
    print(report)
    for name, error in report.failed:
        print(f"deeplens: error: {name}: {error}", file=sys.stderr)
    if not report.failed:
        return 0
    return 1 if report.written or report.there else 2
