"""The `deeplens` command. Each command imports what it works with, so that --help answers at once.

Exit status: 0 done, 1 some of many photos failed, 2 the user can mend it (one line on stderr says how),
130 interrupted.
"""

import argparse
import math
import re
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from .commands import arguments, share
from .commands.interrupts import noting_ctrl_c
from .version import __version__

if TYPE_CHECKING:
    from .model import DeepLens
    from .photo import Photo

# what a command needs beyond the plain package; refocus only for data sets
EXTRAS = {"demo": "demo", "train": "train", "evaluate": "train", "refocus": "train", "export": "export"}


class Parser(argparse.ArgumentParser):
    """One line for an error, and a point left of the photo (-5,3) is a value, not an option."""

    def __init__(self, **options):
        super().__init__(**options)
        self._negative_number_matcher = re.compile(r"^-\d")

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"deeplens: error: {message}\n")


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    warnings.filterwarnings("ignore", module="PIL")  # of odd metadata in files that open all the same
    for stream in filter(None, (sys.stdout, sys.stderr)):  # a name that the terminal cannot show is no failure
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    pressed: list[int] = []
    try:
        with noting_ctrl_c(pressed):
            args = build_parser(argv).parse_args(argv)
            return args.run(args) or 0
    except KeyboardInterrupt:
        return 130
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "deeplens_hf" or argv[0] not in EXTRAS:
            raise
        message = f"{argv[0]} needs {error.name}: pip install deeplens_hf[{EXTRAS[argv[0]]}]"
    except (ValueError, OSError) as error:
        if pressed:
            return 130
        message = " ".join(str(error).split())
    print(f"deeplens: error: {message}", file=sys.stderr)
    return 2


def build_parser(argv: list[str]) -> Parser:
    """The whole command line; the options of `train` come with its code, and only where `argv` asks for them."""
    parser = Parser(prog="deeplens", description="One sharp photo in, the same photo through an expensive lens out.")
    parser.add_argument("--version", action="version", version=f"deeplens {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    command = commands.add_parser("refocus", help="blur a photo as a lens would", description=refocus.__doc__)
    command.add_argument("photo", metavar="PHOTO", nargs="+", help="or many: files, folders, patterns, a data set's id")
    sharp = command.add_mutually_exclusive_group()
    sharp.add_argument(
        "--focus", metavar="X,Y", type=arguments.point,
        help="what shall be sharp, in pixels of the upright photo (default: the main subject)",
    )  # fmt: skip
    sharp.add_argument(
        "--range", metavar="FAR,NEAR", type=arguments.interval, help="disparities, 0 to 1, between which all is sharp"
    )
    command.add_argument(
        "--aperture",
        metavar="A",
        type=arguments.aperture,
        default=8.0,
        help="blur from 0, none, to 16, most; or an f-number with its f: f/1.8 (default: 8). 1.8 alone hardly blurs",
    )
    _add_own_depth(command)
    shape = command.add_argument_group("the aperture's shape")
    shape.add_argument("--blades", type=int, default=0, help="5 to 9 (default: 0, round)")
    shape.add_argument("--rotation", metavar="DEGREES", type=float, default=0.0, help="of the blades, clockwise")
    shape.add_argument("--roundness", type=float, default=0.0, help="of the blades: 0, straight, to 1, a disc")
    shape.add_argument("--ring", type=float, default=0.0, help="a mirror lens: its inner radius, 0 to 0.9 of the outer")
    shape.add_argument("--cat-eye", type=float, default=0.0, help="0 to 1: how narrow discs get towards the corners")
    shape.add_argument("--highlights", type=float, default=1.0, help="light given back to lamps: 0 to 2 (default: 1)")
    shape.add_argument(
        "--grain",
        type=float,
        default=0.0,
        help="how much of the photo's own grain what is blurred gets back: 0 to 2 (default: 0)",
    )
    lens = command.add_argument_group("a real lens", "with a known distance in the photo, f/N means what it says")
    lens.add_argument(
        "--reference", metavar="X,Y,METRES", type=arguments.reference, action="append", default=[],
        help="what lies at X,Y is METRES away; once or twice",
    )  # fmt: skip
    lens.add_argument(
        "--farthest",
        metavar="METRES",
        type=float,
        default=math.inf,
        help="how far the farthest thing is, beside a single --reference (default: infinitely)",
    )
    lens.add_argument("--focal-length", metavar="MM", type=float, help="real, not 35 mm equivalent (default: EXIF's)")
    lens.add_argument(
        "--sensor-width",
        metavar="MM",
        type=float,
        help="the sensor's long side (default: by the EXIF)",
    )
    command.add_argument(
        "-o", "--out", metavar="OUT", type=Path, required=True, help=".jpg, .png, .tif or .webp; a folder for many"
    )
    many = command.add_argument_group("many photos")
    many.add_argument("--workers", type=int, help="processes (default: one a GPU, or one for every two CPU cores)")
    many.add_argument("--suffix", help="of the results, such as .png (default: the photo's own, else .jpg)")
    many.add_argument("--overwrite", action="store_true", help="render again what is there (default: skip it)")
    many.add_argument("--shard", metavar="RANK/COUNT", help="a part of the work (default: what torchrun or Slurm say)")
    many.add_argument("--split", help="of a data set (default: train)")
    _add_model(command, refocus)

    command = commands.add_parser("depth", help="predict a photo's disparity", description=depth.__doc__)
    command.add_argument("photo", metavar="PHOTO", type=Path)
    command.add_argument("-o", "--out", metavar="OUT", type=Path, required=True, help=".png (16-bit) or .npy (float32)")
    command.add_argument("--preview", metavar="OUT2", type=Path, help="a coloured picture of it as well")
    _add_own_depth(command)
    _add_model(command, depth)

    command = commands.add_parser("demo", help="the page in the browser", description=demo.__doc__)
    command.add_argument("--host", help="address to listen on (default: $GRADIO_SERVER_NAME, else 127.0.0.1)")
    command.add_argument("--port", type=int, help="default: $GRADIO_SERVER_PORT, else 7860 or the next that is free")
    _add_model(command, demo)

    command = commands.add_parser("train", help="train a part of the model, or all of it")
    if argv[:1] == ["train"]:
        from .training.arguments import add_arguments

        add_arguments(command)
        command.set_defaults(run=train)

    command = commands.add_parser("evaluate", help="measure against truth", description=evaluate.__doc__)
    command.add_argument("what", choices=("render", "depth", "edges"))
    command.add_argument("--data", metavar="DIR", type=Path, required=True, help="folder that holds truth/ and photos/")
    command.add_argument("--out", metavar="FOLDER", type=Path, help="write the report there (default: print it)")
    command.add_argument(
        "--beside", metavar="[NAME=]M", nargs="*", default=[], help="other weights to show in the table of renderers"
    )
    _add_model(command, evaluate)

    command = commands.add_parser("push", help="share weights on the Hub", description=push.__doc__)
    share.add_arguments(command)
    _add_model(command, push)

    command = commands.add_parser("export", help="graphs for ONNX and torch.export", description=export.__doc__)
    command.add_argument("out", metavar="DIR", type=Path, help="depth, render and upsampling go there, and export.json")
    command.add_argument("--format", choices=("onnx", "torch"), default="onnx", help="default: onnx")
    command.add_argument(
        "--size", metavar="WxH", type=arguments.size, default=(512, 384),
        help="pixels that the render graph works at, multiples of 16, 64 to 1024 (default: 512x384)",
    )  # fmt: skip
    command.add_argument("--max-aperture", metavar="A", type=float, default=16.0, help="widest it is for (default: 16)")
    _add_model(command, export)
    return parser


def refocus(args: argparse.Namespace) -> int:
    """Blur a photo as a lens would, or many; prints the file written, or how many."""
    from .commands import batch
    from .commands.workers import calibrate_by_exif
    from .files import pictures
    from .inputs import check_number
    from .model import MAX_HIGHLIGHTS
    from .optics import ApertureShape
    from .photo import WIDEST
    from .rendering.grain import MAX_GRAIN

    for name in ("rotation", "roundness"):
        if getattr(args, name) and not args.blades:
            raise ValueError(f"--{name} goes with --blades")
    shape = ApertureShape(args.blades, args.rotation, args.roundness, args.ring, args.cat_eye)
    if not isinstance(args.aperture, str):
        check_number("aperture", args.aperture, 0, WIDEST)
    check_number("highlights", args.highlights, 0, MAX_HIGHLIGHTS)
    check_number("grain", args.grain, 0, MAX_GRAIN)
    for end in args.range or ():
        check_number("range", end, 0, 1)
    settings = {"point": args.focus, "aperture": args.aperture, "focus": args.range}
    settings |= {"shape": shape, "highlights": args.highlights, "grain": args.grain}
    lens = args.reference or args.focal_length is not None or args.sensor_width is not None
    if batch.is_many(args.photo, args.out):
        if lens or args.farthest != math.inf:  # nan, too
            raise ValueError(
                "--reference, --farthest, --focal-length and --sensor-width go with a single photo and a file as -o"
            )
        return _refocus_many(args, settings)
    # what can be checked is checked before the model takes its time
    pictures.check_target(args.out, pictures.FORMATS)
    _check_sources_stay("-o", args.out, args.photo[0], args.depth)
    for name in ("workers", "suffix", "overwrite", "shard", "split"):
        if getattr(args, name) is not None and getattr(args, name) is not False:
            raise ValueError(f"--{name} goes with many photos")
    if args.farthest != math.inf and not args.reference:
        raise ValueError("--farthest goes with --reference")
    if lens and not isinstance(args.aperture, str):
        raise ValueError("--reference, --focal-length and --sensor-width go with an f-number, such as --aperture f/2")
    if lens and not (args.reference or args.depth):
        raise ValueError("--focal-length and --sensor-width go with --reference X,Y,METRES or a --depth in metres")
    photo = _open(args, args.photo[0])
    if lens:
        photo.calibrate(args.reference, args.focal_length, args.sensor_width, args.farthest)
    elif missing := calibrate_by_exif(photo, args.aperture):
        print(f"deeplens: {missing}", file=sys.stderr)
    pictures.save_picture(photo.refocus(**settings), args.out)
    print(args.out)
    return 0


def _refocus_many(args: argparse.Namespace, settings: dict) -> int:
    from .commands import batch
    from .sharing.weights import choose_weights, describe_weights

    opening = {}
    if args.depth_is and not args.depth:
        raise ValueError("--depth-is goes with --depth")
    if args.depth:
        from .disparity.own_depth import EMBEDDED, is_model

        model = is_model(args.depth) and (not Path(args.depth).is_dir() or Path(args.depth, "config.json").exists())
        if args.depth != EMBEDDED and not model:
            raise ValueError(
                f"--depth must be 'embedded' or a depth model where -o is a folder, for many photos; got {args.depth!r}"
            )
        opening = {"disparity": args.depth, "depth_is": args.depth_is}
    print(describe_weights(args.model), file=sys.stderr)
    report = batch.refocus_many(
        args.photo, args.out, settings, choose_weights(args.model), device=args.device, workers=args.workers,
        shard=batch.Shard.parse(args.shard), suffix=args.suffix, overwrite=args.overwrite, split=args.split or "train",
        opening=opening,
    )  # fmt: skip
    print(report)
    for name, error in report.failed:
        print(f"deeplens: error: {name}: {error}", file=sys.stderr)
    if not report.failed:
        return 0
    return 1 if report.written or report.there else 2


def depth(args: argparse.Namespace) -> None:
    """Predict a photo's disparity (relative inverse depth in [0, 1], 1 = nearest); prints the files written."""
    from .files import pictures

    pictures.check_target(args.out, pictures.DISPARITY_SUFFIXES)
    _check_sources_stay("-o", args.out, args.photo, args.depth)
    if args.preview:
        pictures.check_target(args.preview, pictures.FORMATS)
        _check_sources_stay("--preview", args.preview, args.photo, args.depth)
        if args.preview.resolve() == args.out.resolve():
            raise ValueError(f"--preview must be another file than -o, got {args.preview} for both")
    photo = _open(args, args.photo)
    disparity = photo.disparity
    pictures.save_disparity(disparity, args.out, photo.dioptres)
    print(args.out)
    if args.preview:
        pictures.save_picture(pictures.colour_disparity(disparity), args.preview)
        print(args.preview)


def demo(args: argparse.Namespace) -> None:
    """Start the page and stay until Ctrl-C."""
    from .demo import LAUNCH, build_demo, offered

    if args.port is not None and not 1 <= args.port <= 65535:
        raise ValueError(f"--port must be from 1 to 65535, got {args.port}")
    page = build_demo(_load(args), **offered())
    try:
        page.launch(server_name=args.host, server_port=args.port, **LAUNCH)
    except OSError as error:
        if args.port is None:
            raise
        raise ValueError(f"--port {args.port} cannot be listened on; is it taken? {error}") from None


def train(args: argparse.Namespace) -> None:
    """Train a stage; prints where the weights are."""
    from .training.commands import run

    run(args)


def evaluate(args: argparse.Namespace) -> None:
    """Measure the model against truth, beside what a program without a network reaches; prints the tables."""
    from .evaluation import commands

    if args.beside and args.what != "render":
        raise ValueError(f"--beside goes with evaluate render, not {args.what}")
    print(commands.run(args.what, _load(args), args.data, args.out, args.beside))


def push(args: argparse.Namespace) -> None:
    """Push weights to the Hub: configuration, card, evaluation, training record and previews; prints the address."""
    print(share.push(_load(args), args))


def export(args: argparse.Namespace) -> None:
    """Write the modules as graphs of fixed size and compare them with the model; prints the greatest differences."""
    from .commands.export import export

    width, height = args.size
    differences = export(_load(args), args.out, args.format, (height, width), args.max_aperture)
    for name, difference in differences.items():
        print(f"{args.out / name}: at most {difference:.1e} from the model")


def _add_model(command: argparse.ArgumentParser, run) -> None:
    command.add_argument(
        "--model", metavar="M", help="Hub id or folder (default: $DEEPLENS_MODEL, else the checkout's, else the Hub's)"
    )
    command.add_argument("--device", metavar="D", help="cpu, cuda, cuda:1 ... (default: cuda where there is one)")
    command.set_defaults(run=run)


def _add_own_depth(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--depth", metavar="D",
        help="your own: a .npy or grey picture (white = near), 'embedded' (in the phone's photo), or a depth model",
    )  # fmt: skip
    command.add_argument(
        "--depth-is", choices=("disparity", "depth", "inverted"), help="what it counts in (default: as it tells)"
    )


def _check_sources_stay(option: str, target: Path, *sources: str | Path | None) -> None:
    """ValueError where the file that `option` names is one that it would be made from: the photo, or a map of it."""
    for source in sources:
        if source and target.exists() and Path(source).exists() and target.samefile(source):
            raise ValueError(f"{option} must not be {source}, which it would replace")


def _open(args: argparse.Namespace, source: str | Path) -> "Photo":
    """The photo with its depth; both are read before the weights, so that a bad file costs no waiting."""
    from .disparity import own_depth
    from .files import pictures
    from .inputs import check_point

    if args.depth_is and args.depth is None:
        raise ValueError("--depth-is goes with --depth")
    picture, own = pictures.read_photo(source), ()
    if getattr(args, "focus", None):
        check_point(args.focus, picture.size)
    if args.depth is not None:
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        own = own_depth.read_own_depth(args.depth, picture, source, args.depth_is, args.device or "cpu")
    from .photo import Photo

    return Photo(_load(args), picture, *own)


def _load(args: argparse.Namespace) -> "DeepLens":
    """The model on its device, ready to use; says on stderr which weights they are."""
    from huggingface_hub.utils import logging

    from .inputs import usable_device
    from .model import DeepLens
    from .sharing.weights import choose_weights, describe_weights

    device = usable_device(args.device)
    logging.set_verbosity_error()  # what matters of its warnings comes back as an error, in one line
    print(describe_weights(args.model), file=sys.stderr)
    return DeepLens.from_pretrained(choose_weights(args.model)).to(device).eval()
