"""`deeplens train STAGE`: one seeded, resumable command a stage, and the record of what it did."""

import argparse
import copy
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import Dataset

from ..model import DeepLens, DeepLensConfig
from .arguments import DEFAULTS, check
from .data import PhotoRecord, has_manifest, labelled_photos
from .ensemble import EnsembledLabels
from .flawed import FlawedScenes
from .hdr import ClippedScenes
from .hidden_scenes import HiddenScenes
from .large import LargeDepth
from .large_stage import train_large
from .loop import Run, fit, launch
from .mixture import DepthMixture, Sources
from .pretrained import load_imagenet
from .record import keep, of_format, origin, read_record, save_weights
from .rendered import RenderedScenes
from .stages import stage_parts
from .transplant import with_encoder
from .turned import TurnedPhotos

if TYPE_CHECKING:
    from .photo_sets import PhotoSet

FORMATS = {"highlights": 4, "orientation": 6, "mending": 7, "hidden": 8}  # the first with all that a stage teaches


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
    if model.config.format_version < FORMATS.get(args.stage, 0):
        model = of_format(model, FORMATS[args.stage])
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

    samples = plan.samples(accelerator.num_processes)  # a step
    cache = args.cache or args.out / "scenes"
    workers_ahead = 0 if accelerator.device.type == "cpu" else args.workers  # that make what a GPU would wait for

    def drawn(kind: type[RenderedScenes]) -> RenderedScenes:
        scenes = kind(
            records, cache, args.scenes, steps * samples, args.seed, args.size,
            str(accelerator.device),
        )  # fmt: skip
        if workers_ahead:
            with accelerator.main_process_first():
                scenes.draw_ahead(workers_ahead)
        return scenes

    if args.stage in ("render", "mending", "hidden", "all"):
        scenes = drawn({"mending": FlawedScenes, "hidden": HiddenScenes}.get(args.stage, RenderedScenes))
        entry["scenes"] = args.scenes
    if args.stage == "render" and layers_teach(model):
        dataset: Dataset = InTurns(scenes, drawn(HiddenScenes), samples)
    elif args.stage in ("render", "mending", "hidden"):
        dataset = scenes
    elif args.stage == "orientation":
        if not bool(model.orientation.write.weight.any()):  # untrained
            model.orientation.encoder.load_state_dict(model.depth.encoder.state_dict())
        eyes = copy.deepcopy(model.orientation.encoder).cpu()
        dataset = TurnedPhotos(records, eyes, steps * samples, args.seed)
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
                    looks = DeepLens.from_pretrained(args.ensemble)
                    labels = EnsembledLabels(looks.depth, cache, large, looks.mending, str(accelerator.device))
                    if workers_ahead:
                        with accelerator.main_process_first():
                            labels.look_ahead(records, workers_ahead)
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
            alone = Sources(photos=1, collage=0, tabletop=0, layered=0)
            photos = DepthMixture(records, cache, 0, 0, steps * samples, samples, args.seed, alone)
            dataset = Together(scenes, photos)
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


def freeze(model: DeepLens, names: list[str]) -> None:
    """Keep these modules of the model, such as "depth.encoder", as they are. ValueError for one that it has not."""
    modules = dict(model.named_modules())
    for name in names:
        if not name or name not in modules:
            known = ", ".join(each for each in modules if each and each.count(".") < 2)
            raise ValueError(f"freeze must name modules of the model ({known}, or parts of them); got {name!r}")
        modules[name].requires_grad_(False)


def layers_teach(model: DeepLens) -> bool:
    """Whether the renderer has one network for what edges hide, and that is to learn."""
    one = model.config.lens_blur == "slabs" and model.config.format_version >= FORMATS["hidden"]
    return one and any(p.requires_grad for p in model.lens_blur.surfaces.parameters())


class InTurns(Dataset):
    """Traced scenes for three steps, then scenes in layers for one: what the render stage reads."""

    def __init__(self, traced: RenderedScenes, layers: RenderedScenes, samples: int):
        self.traced, self.layers, self.samples = traced, layers, samples  # of a step

    def __len__(self) -> int:
        return len(self.traced)

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        return (self.layers if position // self.samples % 4 == 3 else self.traced)[position]


class Together(Dataset):
    """A traced scene and a labelled photo at each position: what end-to-end training reads."""

    def __init__(self, scenes: RenderedScenes, photos: DepthMixture):
        self.scenes, self.photos = scenes, photos

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        photo = {f"photo_{name}": value for name, value in self.photos[position].items()}
        return self.scenes[position] | photo
