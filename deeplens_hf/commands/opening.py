"""What every command names: the model with its device, and the photo with depth of one's own."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..model import DeepLens
    from ..photo import Photo


def add_model(command: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int | None]) -> None:
    """The arguments that choose the model; `run` is what the command does."""
    command.add_argument(
        "--model", metavar="M", help="Hub id or folder (default: $DEEPLENS_MODEL, else the checkout's, else the Hub's)"
    )
    command.add_argument("--device", metavar="D", help="cpu, cuda, cuda:1 ... (default: cuda where there is one)")
    command.set_defaults(run=run)


def add_own_depth(command: argparse.ArgumentParser) -> None:
    """The arguments for depth of one's own."""
    command.add_argument(
        "--depth", metavar="D",
        help="your own: a .npy or grey picture (white = near), 'embedded' (in the phone's photo), or a depth model",
    )  # fmt: skip
    command.add_argument(
        "--depth-is", choices=("disparity", "depth", "inverted"), help="what it counts in (default: as it tells)"
    )


def check_sources_stay(option: str, target: Path, *sources: str | Path | None) -> None:
    """ValueError where the file that `option` names is one that it would be made from: the photo, or a map of it."""
    for source in sources:
        if source and target.exists() and Path(source).exists() and target.samefile(source):
            raise ValueError(f"{option} must not be {source}, which it would replace")


def open_photo(args: argparse.Namespace, source: str | Path) -> "Photo":
    """The photo with its depth; both are read before the weights, so that a bad file costs no waiting."""
    from ..disparity import own_depth
    from ..files import pictures
    from ..inputs import check_point

    if args.depth_is and args.depth is None:
        raise ValueError("--depth-is goes with --depth")
    picture, own = pictures.read_photo(source), ()
    if getattr(args, "point", None):
        check_point(args.point, picture.size)
    if args.depth is not None:
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        own = own_depth.read_own_depth(args.depth, picture, source, args.depth_is, args.device or "cpu")
    from ..photo import Photo

    return Photo(load_model(args), picture, *own)


def load_model(args: argparse.Namespace) -> "DeepLens":
    """The model on its device, ready to use; says on stderr which weights they are."""
    from huggingface_hub.utils import logging

    from ..inputs import usable_device
    from ..model import DeepLens
    from ..sharing.weights import choose_weights, describe_weights

    device = usable_device(args.device)
    logging.set_verbosity_error()  # what matters of its warnings comes back as an error, in one line
    print(describe_weights(args.model), file=sys.stderr)
    return DeepLens.from_pretrained(choose_weights(args.model)).to(device)
