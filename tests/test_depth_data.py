"""What depth is learned from: ray-cast scenes whose depth is exact, sharpened labels, collages, and their mixture."""

import argparse
import json
import math
import pickle
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import ExifTags, Image, ImageDraw
from torch import nn

from deeplens_hf import DeepLens
from deeplens_hf.evaluation import truth
from deeplens_hf.files.writing import save_disparity
from deeplens_hf.training.arguments import add_arguments
from deeplens_hf.training.commands import run
from deeplens_hf.training.data import PEOPLE, labelled_photos
from deeplens_hf.training.ensemble import EnsembledLabels
from deeplens_hf.training.labels import sharpen
from deeplens_hf.training.mixture import SHAPES, DepthMixture, Sources
from deeplens_hf.training.scenes.drawn import kept_whole
from deeplens_hf.training.scenes.exact import ExactScenes
from deeplens_hf.training.scenes.hdr import ClippedScenes
from deeplens_hf.training.scenes.hidden_scenes import HiddenScenes
from deeplens_hf.training.scenes.raycast import Camera, Skin, Solid, photograph
from deeplens_hf.training.scenes.rendered import RenderedScenes
from deeplens_hf.training.scenes.tabletop import tabletop_scene, turned
from deeplens_hf.training.transplant import fits
from deeplens_hf.training.turned import TurnedPhotos

LIGHT = np.array([0, 1, 0], np.float32)


def cast(*solids, rotation=None, position=(0, 0, 0), focal=1.0, size=65):
    rotation = turned() if rotation is None else rotation
    camera = Camera(np.array(position, np.float32), rotation, focal)
    sky = np.array([0, 0, 1], np.float32)
    return photograph(np.random.default_rng(0), list(solids), camera, size, LIGHT, 1.0, sky)


def solid(kind, centre, stretch=(1, 1, 1), rotation=None):
    white = Skin.of(np.ones((16, 16, 3), np.float32))
    rotation = turned() if rotation is None else rotation
    return Solid(kind, np.array(centre, np.float32), np.array(stretch, np.float32), rotation, white)


@pytest.mark.parametrize(
    ("kind", "nearest", "reach"),
    [
        ("ball", 4.0, math.tan(math.asin(1 / 5))),
        ("box", 4.0, 1 / 4),
        ("cylinder", 4.0, math.tan(math.asin(1 / 5))),
        ("cone", None, None),
        ("board", 5.0, 1 / 5),
    ],
)
def test_a_solid_is_as_near_and_as_large_as_geometry_says(kind, nearest, reach):
    """Of unit size, 5 m away, seen by a camera of focal length 1: its front, and its half-width on the middle row."""
    picture, disparity = cast(solid(kind, (0, 0, 5)), size=201)
    middle = disparity[100]
    if kind == "cone":  # half as wide at half its height
        nearest, reach = 4.5, math.tan(math.asin(0.5 / 5))
    assert 1 / disparity[100, 100] == pytest.approx(nearest, rel=2e-3)
    assert (middle > 0).sum() / 201 / 2 == pytest.approx(reach, abs=0.01)
    assert (disparity[0] == 0).all() and picture[0, 0].tolist() == [0, 0, 1], "beside it is the sky, infinitely far"


def test_a_floor_comes_nearer_as_the_camera_geometry_says():
    """From height h, level: a point v below the middle of a picture of focal length 1 is at depth h / v."""
    _, disparity = cast(solid("plane", (0, 0, 0), rotation=turned(0, math.pi / 2)), position=(0, 2, 0))
    below = (np.arange(40, 65) + 0.5) / 65 - 0.5
    np.testing.assert_allclose(disparity[40:, 32], below / 2, atol=0.25 / 65)
    assert (disparity[:32] == 0).all()


def test_the_nearer_solid_hides_the_other_and_is_lit():
    near, far = solid("ball", (0, 0, 3)), solid("box", (0, 0, 8), (3, 3, 1))
    for order in ((near, far), (far, near)):
        _, disparity = cast(*order)
        assert 1 / disparity[32, 32] == pytest.approx(2, rel=1e-2)
        assert 1 / disparity[32, 5] == pytest.approx(7, rel=1e-3)


def test_turned_looks_up_with_pitch_and_left_or_right_with_yaw():
    forward = np.array([0, 0, 1])
    assert (turned(pitch=0.3) @ forward)[1] == pytest.approx(math.sin(0.3))
    assert (turned(yaw=0.3) @ forward)[0] == pytest.approx(math.sin(0.3))


def test_table_tops_are_repeatable_and_low_is_not_always_near():
    rows = np.linspace(-1, 1, 48)[:, None]
    slopes = []
    for seed in (2, 3, 4, 7, 9):
        picture, disparity = tabletop_scene(seed, 48)
        assert picture.shape == (48, 48, 3) and 0 <= picture.min() <= picture.max() <= 1
        assert disparity.min() == 0 and disparity.max() == pytest.approx(1)
        slopes.append(float((rows * (disparity - disparity.mean())).mean()))
    again = tabletop_scene(3, 48)
    np.testing.assert_array_equal(again[0], tabletop_scene(3, 48)[0])
    assert min(slopes) < -0.02, "in some scenes the top of the picture is nearer"
    assert max(slopes) > 0.05, "in others the bottom is, as on tables seen from the side"
    with pytest.raises(ValueError, match="size: must be at least 32"):
        tabletop_scene(0, 16)


def test_a_soft_label_steps_where_the_mask_does_and_not_where_a_subject_touches_the_ground():
    mask = torch.zeros(1, 1, 120, 160)
    mask[..., 30:90, 60:110] = 1
    soft = F.avg_pool2d(mask, 13, 1, 6) * 0.6 + 0.2
    grey = torch.full((1, 3, 120, 160), 0.5)  # the photo shows no edge: only the mask tells
    sharp = sharpen(soft, grey, mask)
    assert float((sharp[..., 60, 60] - sharp[..., 60, 59]).abs()) > 0.4 > 5 * float(soft.diff(dim=-1).abs().max())
    ground = torch.linspace(0, 1, 120).view(1, 1, -1, 1).expand(1, 1, 120, 160)
    assert float((sharpen(ground, grey, mask) - ground).abs().max()) < 0.08, "no step where there was none"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Six photos: three of people with masks, one place, two of neither."""
    root = tmp_path_factory.mktemp("depth-data")
    (root / "train").mkdir()
    rng, lines = np.random.default_rng(0), []
    for i, group in enumerate(["ccp_people", "human_seg", "ccp_people", "urban_sun", "animals", "bsds500"]):
        base = root / "train" / f"{i:05d}"
        Image.fromarray(rng.integers(0, 255, (120, 90, 3), dtype=np.uint8)).save(f"{base}.jpg")
        Image.fromarray(np.linspace(0, 255, 60).astype(np.uint8)[:, None].repeat(45, 1)).save(f"{base}.disparity.png")
        mask = Image.new("L", (45, 60))
        ImageDraw.Draw(mask).ellipse((12, 8, 32, 56), fill=255)
        mask.save(f"{base}.foreground.png")
        label = "annotated" if i < 3 else None
        lines.append({"id": base.name, "group": group, "foreground": label, "split": "train"})
    (root / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return root


def mixed(data, tmp_path, **parts):
    return mixture_of(labelled_photos(data, "train"), tmp_path, **parts)


def mixture_of(records, cache, **parts):
    sources = Sources(**dict.fromkeys(("photos", "collage", "tabletop", "layered"), 0.0) | parts)
    return DepthMixture(records, cache, 2, 1, 1000, 4, 0, sources)


def test_a_batch_has_one_shape_and_each_sample_is_repeatable(data, tmp_path):
    photos = mixed(data, tmp_path, photos=1.0)
    shapes = [tuple(photos[i]["image"].shape[-2:]) for i in range(40)]
    assert all(len(set(shapes[i : i + 4])) == 1 for i in range(0, 40, 4))
    assert len(set(shapes)) > 2 and set(shapes) <= set(SHAPES)
    one, again = photos[7], photos[7]
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert 0 <= float(one["image"].min()) and float(one["image"].max()) <= 1


def test_another_seed_is_another_course(data, tmp_path):
    records, sources = labelled_photos(data, "train"), Sources.parse("collage=0,tabletop=0,layered=0")
    one, again, other = (DepthMixture(records, tmp_path, 2, 1, 1000, 4, seed, sources) for seed in (3, 3, 4))
    of_shape = next(i for i in range(100) if one[i]["image"].shape == other[i]["image"].shape)
    assert torch.equal(one[of_shape]["image"], again[of_shape]["image"])
    assert not torch.equal(one[of_shape]["image"], other[of_shape]["image"])


def test_a_mixture_can_be_sent_to_a_worker_that_is_not_forked(data, tmp_path):
    photos = mixed(data, tmp_path, photos=1.0, sharpened=1.0)
    first = photos[0]
    sent = pickle.loads(pickle.dumps(photos))
    assert all(torch.equal(sent[0][name], first[name]) for name in first)
    assert all(torch.equal(sent[5][name], value) for name, value in photos[5].items())


def test_maps_of_16_bits_teach_what_those_of_8_do(data, tmp_path):
    fine = shutil.copytree(data, tmp_path / "fine")
    for file in [*fine.glob("train/*.disparity.png"), *fine.glob("train/*.foreground.png")]:
        save_disparity(np.asarray(Image.open(file)) / 255, file)
    for parts in ({"photos": 1.0, "people": 1.0}, {"photos": 1.0, "sharpened": 1.0}, {"collage": 1.0}):
        one, other = (mixed(folder, tmp_path, **parts)[2] for folder in (data, fine))
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    "drawn",
    [
        lambda records, cache: RenderedScenes(records, cache, 5, 5, 1, 64).scene(4).image.numpy(),
        lambda records, cache: HiddenScenes(records, cache, 5, 5, 1, 64).layers(4)["image"].numpy(),
        lambda records, cache: ClippedScenes(records, cache, 5, 5, 1, 64).light(4),  # no street: they have no photos
        lambda records, cache: ExactScenes(records, cache, 1, 64).tabletop(4)[0],
    ],
    ids=["traced", "layers", "night", "tabletop"],
)
def test_scenes_in_a_shared_cache_are_of_the_photos_of_the_run(drawn, data, tmp_path):
    records = labelled_photos(data, "train")
    runs = ([], records, records[:2], records)
    alone = [drawn(some, tmp_path / str(number)) for number, some in enumerate(runs)]
    for some, picture in zip(runs, alone, strict=True):
        np.testing.assert_array_equal(drawn(some, tmp_path / "shared"), picture)
    assert len(list((tmp_path / "shared").iterdir())) == 3, "each once"
    (name,) = [file.name for file in (tmp_path / "0").iterdir()]
    assert re.fullmatch(r"([a-z]+-)?1-64-00004\.np[yz]", name), "without photos as ever"


def test_what_two_machines_draw_at_once_is_whole(tmp_path):
    """In containers their process ids are often the same."""
    file = tmp_path / "scene.npz"
    with kept_whole(file) as one, kept_whole(file) as other:
        one.write_bytes(b"whole")
        other.write_bytes(b"whole")
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"whole"]


def test_what_is_not_known_is_marked(data, tmp_path):
    def marks(**parts):
        samples = [mixed(data, tmp_path, **parts)[i] for i in range(8)]
        return {tuple(float(s[f"has_{name}"]) for name in ("disparity", "foreground")) for s in samples}, samples

    assert marks(photos=1.0, people=1.0)[0] == {(1, 1)}
    assert marks(tabletop=1.0)[0] == {(1, 0)}
    collages = marks(collage=1.0)
    assert collages[0] == {(0, 1)}
    assert max(float(sample["foreground"].mean()) for sample in collages[1]) > 0.05, "people stand in the places"


def test_collages_are_made_of_your_own_photos_where_these_have_masks(data, tmp_path):
    records = [replace(record, group="my photos") for record in labelled_photos(data, "train")]
    collages = DepthMixture(records, tmp_path, 2, 1, 1000, 4, 0, Sources.parse("photos=0,tabletop=0,layered=0"))
    samples = [collages[i] for i in range(8)]
    assert {(float(each["has_disparity"]), float(each["has_foreground"])) for each in samples} == {(0, 1)}
    assert max(float(each["foreground"].mean()) for each in samples) > 0.05
    bare = [replace(record, foreground=None) for record in records]
    assert DepthMixture(bare, tmp_path, 2, 1, 1000, 4, 0).sources == Sources(collage=0), "what the record says"
    with pytest.raises(ValueError, match="sources: collage needs photos with masks"):
        DepthMixture(bare, tmp_path, 2, 1, 1000, 4, 0, Sources.parse("photos=0,tabletop=0,layered=0"))


def test_other_subjects_have_their_share_of_photos_and_collages(data, tmp_path):
    nobody = tmp_path / "nobody.png"
    Image.new("L", (45, 60)).save(nobody)
    records = [
        replace(record, foreground=nobody if record.group in PEOPLE else None)
        for record in labelled_photos(data, "train")
    ]
    animal = data / "train" / "00004.foreground.png"
    records[4] = replace(records[4], foreground=animal)

    def covered(text, records=records):
        mixture = DepthMixture(records, tmp_path, 2, 1, 1000, 4, 0, Sources.parse(f"tabletop=0,layered=0,{text}"))
        return sum(float(mixture[i]["foreground"].mean()) > 0.05 for i in range(16)), mixture.sources.subjects

    assert covered("photos=1,collage=0,people=0,subjects=1") == (16, 1)
    assert covered("photos=0,collage=1,subjects=1")[0] > 8
    assert covered("photos=1,collage=0,people=1")[0] == covered("photos=0,collage=1")[0] == 0
    assert covered("photos=1,collage=0,subjects=1", records[:4]) == (0, 0), "what the record says"


def files(records):
    return [record.photo for record in records], [record.foreground for record in records if record.foreground]


@pytest.mark.parametrize(
    "seen",
    [
        lambda records, cache: mixture_of(records, cache, photos=1.0)[3]["image"],
        lambda records, cache: mixture_of(records, cache, photos=1.0, sharpened=1.0)[3]["disparity"],
        lambda records, cache: mixture_of(records, cache, collage=1.0)[3]["image"],
        lambda records, cache: torch.from_numpy(tabletop_scene(7, 48, *files(records))[0]),
        lambda records, cache: mixture_of(records, cache, layered=1.0)[1]["image"],
        lambda records, cache: TurnedPhotos(records, nn.Identity(), 1, 0).part(0),
        lambda records, cache: EnsembledLabels(DeepLens().depth, cache)._looked(records[4]),
        lambda records, cache: fits(DeepLens().depth, DeepLens().depth, records, 1)[0],
        lambda records, cache: ClippedScenes(records, cache, 1, 1, 0, 64).photo(np.random.default_rng(0))[0],
        lambda records, cache: [photo.image for photo in truth.labelled_photos(cache, "train")][0],
    ],
    ids=["photo", "sharpened", "collage", "tabletop", "layered", "turned", "label", "encoder", "night", "truth"],
)
def test_a_photo_is_learned_from_as_it_was_taken_however_it_lies_in_its_file(seen, data, tmp_path):
    """Phones store what was held upright on its side, and say so in EXIF."""
    found = []
    for way in ("upright", "on its side"):
        folder = shutil.copytree(data, tmp_path / way / "photos")
        for file in folder.glob("train/*.jpg"):
            photo, told = Image.open(file).convert("RGB"), Image.Exif()
            if way == "on its side":
                photo, told[ExifTags.Base.Orientation] = photo.transpose(Image.Transpose.ROTATE_90), 6
            photo.save(file, "PNG", exif=told)  # exact
        torch.manual_seed(0)
        found.append(seen(labelled_photos(folder, "train"), tmp_path / way))
    assert torch.equal(*found)


def test_subjects_with_thin_parts_are_drawn_more_often(data, tmp_path):
    records = [replace(record, group="animals") for record in labelled_photos(data, "train")[:4]]
    for n, record in enumerate(records):
        mask = np.zeros((120, 160), np.uint8)
        mask[40:100, 30:110] = 255
        mask[10:40, 60:63] = 255 if n == 1 else 0
        Image.fromarray(mask).save(tmp_path / f"{n}.png")
        records[n] = replace(record, foreground=tmp_path / f"{n}.png")
    mixture = DepthMixture(records, tmp_path, 2, 1, 1000, 4, 0, Sources.parse("subjects=1"))
    antlered, *plain = mixture.chances[[1, 0, 2, 3]]
    assert mixture.chances.sum() == pytest.approx(1) and antlered > 2 * max(plain) and min(plain) > 0.125


def test_in_a_collage_the_subject_of_the_place_is_foreground_too(data, tmp_path):
    place = labelled_photos(data, "train")[0]
    collages = DepthMixture([place], tmp_path, 2, 1, 1000, 4, 0)
    own = np.asarray(Image.open(place.foreground).resize((90, 120))) > 200
    for seed in range(4):
        assert (np.asarray(collages.collage(np.random.default_rng(seed)).foreground)[own] > 200).all()


def test_in_a_collage_the_foreground_is_where_people_are(data, tmp_path):
    folder = shutil.copytree(data, tmp_path / "coloured")
    for number in range(6):
        Image.new("RGB", (90, 120), "red" if number < 3 else "blue").save(folder / "train" / f"{number:05d}.jpg")
    collages, shown = mixed(folder, tmp_path, collage=1.0), 0
    for seed in range(6):
        collage = collages.collage(np.random.default_rng(seed))
        red, _, blue = np.moveaxis(np.asarray(collage.image).astype(int), -1, 0)
        people, told = red > blue, np.asarray(collage.foreground) > 127
        assert (people == told).mean() > 0.98
        shown += people.mean() > 0.05
    assert shown > 2


def test_lit_scenes_are_learned_from_as_they_lie_there(data, tmp_path):
    picture = np.zeros((60, 80, 3), np.uint8)
    np.savez(tmp_path / "lit-0-80-00003.npz", image=picture + 90, disparity=picture[..., 0] + 255)
    sources = Sources.parse("photos=0,collage=0,tabletop=0,layered=0,lit=1")
    lit = DepthMixture(labelled_photos(data, "train"), tmp_path, 2, 1, 1000, 4, 0, sources, lit=tmp_path)
    for sample in (lit[0], lit[5]):
        assert float(sample["disparity"].min()) == 1 and float(sample["has_foreground"]) == 0
    with pytest.raises(ValueError, match="no scenes with depth in"):
        DepthMixture([], tmp_path, 2, 1, 1000, 4, 0, sources, lit=data)
    with pytest.raises(ValueError, match="lit and standing need a folder"):
        DepthMixture([], tmp_path, 2, 1, 1000, 4, 0, sources)
    with pytest.raises(ValueError, match="give lit or standing a part"):
        DepthMixture([], tmp_path, 2, 1, 1000, 4, 0, Sources(), lit=tmp_path)


def test_a_flip_turns_photo_and_maps_alike(data, tmp_path):
    """The toy label runs down the picture: whichever way up a sample is, its mask's round head stays with it."""
    for i in range(12):
        sample = mixed(data, tmp_path, photos=1.0, people=1.0, sharpened=0.0)[i]
        slope = sample["disparity"].diff(dim=-2)
        assert bool((slope >= -1e-6).all()) or bool((slope <= 1e-6).all())


@pytest.mark.parametrize(
    "text", ["photos", "photos=two", "paintings=1", "collage=-1", "photos=0,collage=0,tabletop=0,layered=0"]
)
def test_a_mix_that_makes_no_sense_is_refused(text):
    with pytest.raises(ValueError, match="sources must"):
        Sources.parse(text)


def test_training_records_its_mix(data, tmp_path):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    mix = "photos=0.5,collage=0.5,tabletop=0,layered=0"
    arguments = ["depth", "--data", str(data), "--out", str(tmp_path), "--sources", mix, "--from", "weights"]
    run(parser.parse_args([*arguments, "--steps", "1", "--batch-size", "2", "--workers", "0", "--device", "cpu"]))
    entry = json.loads((tmp_path / "weights" / "training.json").read_text())[-1]
    assert (entry["sources"]["collage"], entry["sources"]["tabletop"], entry["outline_weight"]) == (0.5, 0, 0.5)
