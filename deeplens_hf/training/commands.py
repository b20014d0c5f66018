"""`deeplens train STAGE`: one seeded, resumable command a stage, and the record of what it did."""

import argparse
import copy
import os
from dataclasses import replace
from pathlib import Path

import torch

from ..config import DeepLensConfig
from ..model import DeepLens
from .arguments import DEFAULTS, check
from .large_stage import train_large
from .loop import Run, fit, launch
from .pretrained import load_imagenet
from .record import keep, of_format, options, origin, read_record, save_weights
from .stage_data import ONE_NETWORK, STAGE_DATA, Course, find_photos
from .stages import stage_parts
from .transplant import with_encoder

FORMATS = {"highlights": 4, "orientation": 6, "mending": 7, "hidden": ONE_NETWORK}  # the first with all that it teaches


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
    accelerator = launch(args.device, args.precision, args.accumulate, partial=args.stage == "render")
    torch.manual_seed(args.seed)
    photos = args.stage in ("depth", "large", "orientation")
    plan = Run(
        args.out, steps, batch_size, lr, args.seed,
        ema=args.ema,
        # scenes are traced on the GPU where there is one, drawn ahead, and read from there
        workers=0 if not photos and accelerator.device.type != "cpu" else args.workers,
        save_every=args.save_every,
        accumulate=args.accumulate,
        samples_every=args.samples_every,
    )  # fmt: skip
    if args.stage == "large":
        return train_large(args, find_photos(args, accelerator), plan, accelerator)
    model, record, facts = first_model(args)
    records = [] if args.streaming and args.stage == "depth" else find_photos(args, accelerator)
    plan = replace(plan, options=options(args, records, model if args.start or args.depth_from else None))
    if args.stage == "depth" and not args.start:
        facts["encoder_from"] = load_imagenet(model.depth.encoder)
    elif args.encoder and args.encoder != model.config.encoder:
        model, facts["encoder_from"] = with_encoder(model, args.encoder, records)
    freeze(model, args.freeze)
    model.to(accelerator.device)

    course = Course(args, model, records, accelerator, steps, plan.samples(accelerator.num_processes))
    dataset, read = STAGE_DATA[args.stage](course)
    parts = stage_parts(args.stage, model, args.outline_weight)
    start = copy.deepcopy(model.state_dict()) if args.keep else {}
    seconds = fit(parts.modules, parts.loss, dataset, plan, accelerator, parts.picture)
    keep(model, start, args.keep)

    entry = {"stage": args.stage, "steps": steps, "batch_size": batch_size, "lr": lr, "seed": args.seed} | facts | read
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


def first_model(args: argparse.Namespace) -> tuple[DeepLens, list[dict], dict]:
    """The model that training begins with, the record of what it has learned so far, and what this stage adds to it.

    Raises:
        ValueError: highlights or hidden colour for a model whose lens blur knows neither, or a depth module to take
            that is not as the model's.
    """
    record: list[dict] = []
    facts: dict = {}
    if args.start:
        model = DeepLens.from_pretrained(args.start)
        record = read_record(args.start)
        facts["from"] = origin(args.start, record)
    else:
        model = DeepLens(DeepLensConfig(encoder=args.encoder or "mobilenet_v2", lens_blur=args.lens_blur))
    if args.stage in ("highlights", "hidden") and model.config.lens_blur != "slabs":
        raise ValueError(f"train {args.stage} needs a model with lens_blur slabs; got {model.config.lens_blur}")
    if model.config.format_version < FORMATS.get(args.stage, 0):
        model = of_format(model, FORMATS[args.stage])
    if args.depth_from:
        donor = DeepLens.from_pretrained(args.depth_from)
        wanted, given = (f"encoder {c.encoder}, depth_width {c.depth_width}" for c in (model.config, donor.config))
        if given != wanted:
            raise ValueError(f"depth_from must have the model's depth network, {wanted}; {args.depth_from} has {given}")
        model.depth.load_state_dict(donor.depth.state_dict())
        record = read_record(args.depth_from) + record
    return model, record, facts


def push(weights: Path, args: argparse.Namespace) -> None:
    """Share what was trained; the card names what it was trained from and on. Prints the address."""
    datasets = [args.data] if args.data and not os.path.exists(args.data) else []
    model = DeepLens.from_pretrained(weights)
    print(model.push_to_hub(args.push_to, private=args.private or None, datasets=datasets))


def freeze(model: DeepLens, names: list[str]) -> None:
    """Keep these modules of the model, such as "depth.encoder", as they are. ValueError for one that it has not."""
    modules = dict(model.named_modules())
    for name in names:
        if not name or name not in modules:
            known = ", ".join(each for each in modules if each and each.count(".") < 2)
            raise ValueError(f"freeze must name modules of the model ({known}, or parts of them); got {name!r}")
        modules[name].requires_grad_(False)
