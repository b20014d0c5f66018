"""The `deeplens` command. Each command imports what it works with, so that --help answers at once.

Exit status: 0 done, 1 some of many photos failed, 2 the user can mend it (one line on stderr says how),
130 interrupted.
"""

import argparse
import re
import sys
import warnings
from pathlib import Path
from typing import NoReturn

from .commands import arguments, opening, refocus, share
from .commands.interrupts import noting_ctrl_c
from .version import __version__

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
        if getattr(stream, "errors", "") == "strict" and hasattr(stream, "reconfigure"):
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

    command = commands.add_parser("refocus", help="blur a photo as a lens would", description=refocus.run.__doc__)
    refocus.add_arguments(command)
    opening.add_model(command, refocus.run)

    command = commands.add_parser("depth", help="predict a photo's disparity", description=depth.__doc__)
    command.add_argument("photo", metavar="PHOTO", type=Path)
    command.add_argument("-o", "--out", metavar="OUT", type=Path, required=True, help=".png (16-bit) or .npy (float32)")
    command.add_argument("--preview", metavar="OUT2", type=Path, help="a coloured picture of it as well")
    opening.add_own_depth(command)
    opening.add_model(command, depth)

    command = commands.add_parser("demo", help="the page in the browser", description=demo.__doc__)
    command.add_argument("--host", help="address to listen on (default: $GRADIO_SERVER_NAME, else 127.0.0.1)")
    command.add_argument("--port", type=int, help="default: $GRADIO_SERVER_PORT, else 7860 or the next that is free")
    opening.add_model(command, demo)

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
    opening.add_model(command, evaluate)

    command = commands.add_parser("push", help="share weights on the Hub", description=push.__doc__)
    share.add_arguments(command)
    opening.add_model(command, push)

    command = commands.add_parser("export", help="graphs for ONNX and torch.export", description=export.__doc__)
    command.add_argument("out", metavar="DIR", type=Path, help="depth, render and upsampling go there, and export.json")
    command.add_argument("--format", choices=("onnx", "torch"), default="onnx", help="default: onnx")
    command.add_argument(
        "--size", metavar="WxH", type=arguments.size, default=(512, 384),
        help="pixels that the render graph works at, multiples of 16, 64 to 1024 (default: 512x384)",
    )  # fmt: skip
    command.add_argument("--max-aperture", metavar="A", type=float, default=16.0, help="widest it is for (default: 16)")
    opening.add_model(command, export)
    return parser


def depth(args: argparse.Namespace) -> None:
    """Predict a photo's disparity (relative inverse depth in [0, 1], 1 = nearest); prints the files written."""
    from .files import writing

    writing.check_target(args.out, writing.DISPARITY_SUFFIXES)
    opening.check_sources_stay("-o", args.out, args.photo, args.depth)
    if args.preview:
        writing.check_target(args.preview, writing.FORMATS)
        opening.check_sources_stay("--preview", args.preview, args.photo, args.depth)
        if args.preview.resolve() == args.out.resolve():
            raise ValueError(f"--preview must be another file than -o, got {args.preview} for both")
    photo = opening.open_photo(args, args.photo)
    disparity = photo.disparity
    writing.save_disparity(disparity, args.out, photo.dioptres)
    print(args.out)
    if args.preview:
        writing.save_picture(writing.colour_disparity(disparity), args.preview)
        print(args.preview)


def demo(args: argparse.Namespace) -> None:
    """Start the page and stay until Ctrl-C."""
    from .demo import LAUNCH, own_page

    if args.port is not None and not 1 <= args.port <= 65535:
        raise ValueError(f"--port must be from 1 to 65535, got {args.port}")
    page = own_page(opening.load_model(args))
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
    print(commands.run(args.what, opening.load_model(args), args.data, args.out, args.beside))


def push(args: argparse.Namespace) -> None:
    """Push weights to the Hub: configuration, card, evaluation, training record and previews; prints the address."""
    print(share.push(opening.load_model(args), args))


def export(args: argparse.Namespace) -> None:
    """Write the modules as graphs of fixed size and compare them with the model; prints the greatest differences."""
    from .commands.export import export

    width, height = args.size
    differences = export(opening.load_model(args), args.out, args.format, (height, width), args.max_aperture)
    for name, difference in differences.items():
        print(f"{args.out / name}: at most {difference:.1e} from the model")
