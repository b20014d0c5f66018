"""What each stage of `deeplens train` learns from, and what the record says of it."""

import argparse
import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import Dataset

from ..model import DeepLens
from .data import PhotoRecord, has_manifest, labelled_photos
from .ensemble import EnsembledLabels
from .large import LargeDepth
from .mixture import DepthMixture, Sources
from .scenes.flawed import FlawedScenes
from .scenes.hdr import ClippedScenes
from .scenes.hidden_scenes import HiddenScenes
from .scenes.rendered import RenderedScenes
from .subjects import with_subjects
from .turned import TurnedPhotos

if TYPE_CHECKING:
    from .photo_sets import PhotoSet

ONE_NETWORK = 8  # the first format whose renderer has one network for all that edges hide


@dataclass(frozen=True)
class Course:
    """What a stage's data depend on, beside the stage."""

    args: argparse.Namespace
    model: DeepLens
    records: list[PhotoRecord]
    accelerator: Accelerator
    steps: int
    samples: int  # a step

    @property
    def length(self) -> int:
        """Samples in all."""
        return self.steps * self.samples

    @property
    def cache(self) -> Path:
        """Folder for scenes and labels, drawn once."""
        return self.args.cache or self.args.out / "scenes"

    @property
    def ahead(self) -> int:
        """Processes that make, before training, what a GPU would wait for."""
        return 0 if self.accelerator.device.type == "cpu" else self.args.workers

    @property
    def begin(self) -> float:
        """The part of what is made ahead that this machine passes over at first: a shared cache is filled by all."""
        return self.accelerator.process_index / self.accelerator.num_processes

    def scenes(self, kind: type[RenderedScenes] = RenderedScenes) -> RenderedScenes:
        """Traced scenes, on a GPU drawn ahead."""
        args, device = self.args, device_name(self.accelerator)
        scenes = kind(self.records, self.cache, args.scenes, self.length, args.seed, args.size, device)
        if self.ahead:
            with self.accelerator.local_main_process_first():  # each machine may have a cache of its own
                scenes.draw_ahead(self.ahead, self.begin)
        return scenes

    def labels(self) -> EnsembledLabels | None:
        """Photos' disparity from several looks of the weights that --ensemble names, None without it."""
        args = self.args
        if not args.ensemble:
            return None
        large = LargeDepth.load(args.large) if args.large else None
        looks = DeepLens.from_pretrained(args.ensemble)
        labels = EnsembledLabels(looks.depth, self.cache, large, looks.mending, device_name(self.accelerator))
        if self.ahead:
            with self.accelerator.local_main_process_first():
                labels.look_ahead(self.records, self.ahead, self.begin)
        return labels

    def photos(
        self,
        sources: Sources,
        tabletops: int = 0,
        scenes: int = 0,
        labels: EnsembledLabels | None = None,
        lit: Path | None = None,
    ) -> DepthMixture:
        """Labelled photos and scenes of known depth."""
        return DepthMixture(
            self.records, self.cache, tabletops, scenes, self.length, self.samples, self.args.seed, sources, labels, lit
        )


Facts = dict[str, Any]  # for the record


def _depth(course: Course) -> tuple[Dataset, Facts]:
    args = course.args
    facts: Facts = {"outline_weight": args.outline_weight}
    facts |= {"labels": Path(args.labels).name if Path(args.labels).is_dir() else args.labels} if args.labels else {}
    if args.streaming:
        from .photo_sets import StreamedPhotos

        return StreamedPhotos(photo_set(args), course.length, course.samples, args.seed), facts
    sources = Sources.parse(args.sources)
    mixture = course.photos(sources, args.tabletops, args.scenes, course.labels(), args.lit)
    facts |= {"scenes": args.scenes, "tabletops": args.tabletops, "sources": asdict(mixture.sources)}
    facts |= {"labels": "ensembled with large" if args.large else "ensembled"} if args.ensemble else {}
    given = [record for record in course.records if record.foreground and record.foreground.parent == args.subjects]
    facts |= {"subjects": len(given)} if args.subjects else {}
    return mixture, facts | ({"lit": len(mixture.exact.files)} if args.lit else {})


def _orientation(course: Course) -> tuple[Dataset, Facts]:
    orientation = course.model.orientation
    if not bool(orientation.write.weight.any()):  # untrained
        orientation.encoder.load_state_dict(course.model.depth.encoder.state_dict())
    eyes = copy.deepcopy(orientation.encoder).cpu()
    return TurnedPhotos(course.records, eyes, course.length, course.args.seed), {}


def _highlights(course: Course) -> tuple[Dataset, Facts]:
    args = course.args
    scenes = ClippedScenes(course.records, course.cache, args.scenes, course.length, args.seed, args.size, args.lit)
    return scenes, {"scenes": args.scenes} | ({"lit": len(scenes.lit)} if args.lit else {})


def _mending(course: Course) -> tuple[Dataset, Facts]:
    return course.scenes(FlawedScenes), {"scenes": course.args.scenes}


def _hidden(course: Course) -> tuple[Dataset, Facts]:
    return course.scenes(HiddenScenes), {"scenes": course.args.scenes}


def _render(course: Course) -> tuple[Dataset, Facts]:
    scenes: Dataset = course.scenes()
    if layers_teach(course.model):
        scenes = InTurns(scenes, course.scenes(HiddenScenes), course.samples)
    return scenes, {"scenes": course.args.scenes}


def _all(course: Course) -> tuple[Dataset, Facts]:
    photos = course.photos(Sources(photos=1, collage=0, tabletop=0, layered=0))
    return Together(course.scenes(), photos), {"scenes": course.args.scenes}


STAGE_DATA: dict[str, Callable[[Course], tuple[Dataset, Facts]]] = {
    "depth": _depth,
    "orientation": _orientation,
    "highlights": _highlights,
    "mending": _mending,
    "hidden": _hidden,
    "render": _render,
    "all": _all,
}


def find_photos(args: argparse.Namespace, accelerator: Accelerator) -> list[PhotoRecord]:
    """The labelled photos of --data: as they lie in a folder with a manifest, else unpacked into OUT/photos."""
    if args.data is None:
        return []
    if has_manifest(Path(args.data)):
        records = labelled_photos(Path(args.data), "train")
        return with_subjects(records, args.subjects) if args.subjects else records
    if args.subjects:
        raise ValueError("subjects needs --data with a manifest.jsonl, as training/subjects.py does")
    from .photo_sets import MATERIAL, unpack

    most = MATERIAL if args.streaming else None
    with accelerator.main_process_first():
        return unpack(
            photo_set(args), args.out / "photos", args.stage in ("depth", "all"), most, device_name(accelerator)
        )


def device_name(accelerator: Accelerator) -> str:
    """Its device, a GPU by its number: to the processes that make data ahead "cuda" alone would be the first one."""
    device = accelerator.device
    return f"cuda:{torch.cuda.current_device()}" if device.type == "cuda" else str(device)


def photo_set(args: argparse.Namespace) -> "PhotoSet":
    """What --data and the options beside it name."""
    from .photo_sets import PhotoSet

    columns = tuple(tuple(each.split("=", 1)) for each in args.columns)
    return PhotoSet(args.data, args.split, columns, args.depth_is, args.labels)


def layers_teach(model: DeepLens) -> bool:
    """Whether the renderer has one network for what edges hide, and that is to learn."""
    one = model.config.lens_blur == "slabs" and model.config.format_version >= ONE_NETWORK
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
