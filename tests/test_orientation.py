"""Photos on their side or on their head are understood as if they stood upright; upright ones are left alone."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import default_collate

from deeplens_hf import DeepLens, DeepLensConfig
from deeplens_hf.depth import resized
from deeplens_hf.orientation import Orientation, cells
from deeplens_hf.training.data import PhotoRecord
from deeplens_hf.training.record import of_format
from deeplens_hf.training.stages import stage_parts
from deeplens_hf.training.turned import TurnedPhotos

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.jpg"))


def load(file: Path) -> torch.Tensor:
    """(1, 3, H, W) in [0, 1], at most 320 pixels a side."""
    photo = Image.open(file).convert("RGB")
    photo.thumbnail((320, 320))
    return torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None] / 255


def turns_of(model: DeepLens, photos: torch.Tensor) -> list[int]:
    """By how many quarter turns to the left each was turned, as the model believes; each turn counts alone."""
    ways = model.ways(photos)
    assert ways.shape == (len(photos), 4)
    assert bool((ways.amax(1) == 1).all())
    assert bool((ways.sum(1) == 1).all())
    return ways.argmax(1).tolist()


@pytest.fixture
def turning() -> DeepLens:
    """An untrained model for which up is where a photo is bright."""

    class BrightIsUp(Orientation):
        def look(self, depth: torch.nn.Module, image: torch.Tensor, mirrored: bool = False) -> torch.Tensor:
            sides = [torch.rot90(image, -turns, (2, 3))[..., :8, :].mean((1, 2, 3)) for turns in range(4)]
            return 50.0 * (torch.stack(sides, 1) > image.mean((1, 2, 3))[:, None] + 0.2)

    torch.manual_seed(0)
    model = DeepLens(DeepLensConfig(depth_width=32, blur_width=8, depth_size=96)).eval()
    model.orientation = BrightIsUp(160).eval()
    return model


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_upright_photos_stay_as_they_are(model, file):
    with torch.inference_mode():
        assert turns_of(model, load(file)) == [0]


@pytest.mark.parametrize("name", ["astronaut", "landscape"])
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_photo_has_the_depth_of_the_upright_one(model, name, turns):
    photo = load(next(file for file in EXAMPLES if file.stem == name))
    with torch.inference_mode():
        upright = model.predict_depth(photo)
        turned = model.predict_depth(torch.rot90(photo, turns, (2, 3)))
    for straight, other in zip(upright, turned, strict=True):
        assert other.shape[-2:] == (straight.shape[-2:] if turns == 2 else straight.shape[:-3:-1])
        assert float((torch.rot90(other, -turns, (2, 3)) - straight).abs().mean()) < 0.03


def test_each_photo_of_a_batch_is_turned_by_itself(turning):
    rng = torch.Generator().manual_seed(1)
    shade = torch.linspace(0.9, 0.1, 96).expand(1, 3, 64, 96)
    batch = torch.cat([shade, shade.flip(-1), shade.mean().expand(1, 3, 64, 96)])
    batch = (batch + 0.1 * torch.rand(batch.shape, generator=rng)).clamp(0, 1)
    with torch.inference_mode():
        assert turns_of(turning, batch) == [1, 3, 0]
        together = turning.predict_depth(batch)
        for i, photo in enumerate(batch):
            alone = turning.predict_depth(photo[None])
            torch.testing.assert_close(together.disparity[i : i + 1], alone.disparity, atol=1e-3, rtol=0)
        by_hand = turning.predict_depth(torch.rot90(batch[:1], -1, (2, 3)))
    torch.testing.assert_close(together.foreground[:1], torch.rot90(by_hand.foreground, 1, (2, 3)), atol=0.02, rtol=0)


@pytest.mark.parametrize("name", ["astronaut", "coffee", "landscape"])
def test_a_photo_mirrored_or_turned_further_is_turned_accordingly(model, name):
    """One look is not asked for it: from four sides what is said of one is said of all."""
    photo = torch.rot90(load(next(file for file in EXAMPLES if file.stem == name)), 2, (2, 3))
    with torch.inference_mode():
        seen = model.orientation.look(model.depth, photo)
        in_a_mirror = model.orientation.look(model.depth, photo.flip(-1), mirrored=True)
        torch.testing.assert_close(in_a_mirror, seen[:, [0, 3, 2, 1]])
        assert turns_of(model, photo) == turns_of(model, photo.flip(-1)) == [2]
        assert turns_of(model, torch.rot90(photo, 1, (2, 3))) == [3]
        assert turns_of(model, torch.rot90(photo.flip(-1), -1, (2, 3))) == [1]


def test_a_photo_that_shows_no_up_has_no_low_side_that_is_near(model):
    """A bowl from above: however it lies, all four turns count, and the map turns with it."""
    photo, maps = load(Path(__file__).parent / "pictures" / "bowl_from_above.jpg"), []
    with torch.inference_mode():
        for turns in range(4):
            lying = torch.rot90(photo, turns, (2, 3))
            ways = model.ways(lying)
            assert 0.25 < float(ways.max()) < 0.45
            assert float(ways.sum()) == pytest.approx(1)
            maps.append(torch.rot90(model.predict_depth(lying).disparity, -turns, (2, 3)))
    for other in maps[1:]:
        assert float(torch.corrcoef(torch.stack([maps[0].flatten(), other.flatten()]))[0, 1]) > 0.9


def test_depth_that_learns_on_does_not_forget_which_way_is_up(model):
    """Orientation has an encoder of its own."""
    photo = torch.rot90(load(next(file for file in EXAMPLES if file.stem == "astronaut")), 1, (2, 3))
    model = copy.deepcopy(model)
    with torch.inference_mode():
        for parameter in model.depth.parameters():
            parameter.mul_(-1)
        assert turns_of(model, photo) == [1]


def test_a_model_in_training_whose_depth_is_frozen_looks_and_learns_nothing(model):
    """Only the stage of its own moves what orientation knows, and nothing of it is left to chance."""
    model = copy.deepcopy(model).eval()
    photos = torch.cat([torch.rot90(load(file), 1, (2, 3))[..., :192, :192] for file in EXAMPLES[:2]])
    with torch.inference_mode():
        logits = model.orientation.look(model.depth, photos)
        before = copy.deepcopy(model.state_dict())
        model.train()
        model.depth.eval()
        for _ in range(2):
            torch.testing.assert_close(model.orientation.look(model.depth, photos), logits)
        model.predict_depth(photos)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert not moved


def test_orientation_of_before_format_6_sees_with_the_depth_network():
    torch.manual_seed(0)
    photo = torch.rand(1, 3, 64, 96)
    old = DeepLens(DeepLensConfig(depth_width=32, blur_width=8, format_version=5)).eval()
    assert not any(name.startswith("orientation.encoder.") for name in old.state_dict())
    torch.nn.init.normal_(old.orientation.write.weight)
    with torch.inference_mode():
        seen = old.orientation.look(old.depth, photo)
        torch.testing.assert_close(seen, old.orientation(cells(old.depth.encoder, photo)))
        assert float(seen.std()) > 0.1
    newer = of_format(old).eval()
    assert newer.config.format_version >= 6
    with torch.inference_mode():
        for parameter in newer.depth.parameters():
            parameter.zero_()
        torch.testing.assert_close(newer.orientation.look(newer.depth, photo), seen)


def test_who_is_not_sure_turns_nothing(turning):
    torch.manual_seed(0)
    photos = torch.rand(2, 3, 64, 96)
    untrained = DeepLens(DeepLensConfig(depth_width=32, blur_width=8)).eval()
    assert turns_of(untrained, photos) == [0, 0]
    assert turns_of(DeepLens(DeepLensConfig(depth_width=32, blur_width=8, format_version=2)).eval(), photos) == [0, 0]
    shade = torch.linspace(0.9, 0.1, 96).expand(1, 3, 64, 96)
    turning.train()
    assert turns_of(turning, shade) == [0], "what the networks learn from is taken as it lies"


@pytest.fixture
def slopes(tmp_path: Path) -> list[PhotoRecord]:
    """Photos that are bright above and dark below."""
    rows = np.linspace(255, 0, 90)[:, None, None] * np.array([1, 0.8, 0.6])
    for name in "abcd":
        Image.fromarray(np.broadcast_to(rows, (90, 120, 3)).astype(np.uint8)).save(tmp_path / f"{name}.png")
    return [PhotoRecord(tmp_path / f"{name}.png", tmp_path / "none", None, "") for name in "abcd"]


def test_samples_are_parts_of_photos_seen_four_ways(model, slopes):
    encoder = model.orientation.encoder
    photos = TurnedPhotos(slopes, encoder, length=40, seed=0)
    parts = [photos.part(index) for index in range(4)]
    for part in parts:
        assert part[:, : len(part) // 3].mean() > part[:, -len(part) // 3 :].mean()
        assert 0.6 * 90 - 1 <= part.shape[1] <= 90 and 0.6 * 120 - 1 <= part.shape[2] <= 120
    assert len({part.shape for part in parts}) > 1, "another part of each"
    again = TurnedPhotos(slopes, encoder, length=40, seed=0)
    samples = [photos[position] for position in range(40)]
    for position in (39, 3):
        assert all(torch.equal(value, samples[position][name]) for name, value in again[position].items())
    assert {int(sample["turns"]) for sample in samples} == {0, 1, 2, 3}
    with torch.inference_mode():
        turned = torch.rot90(photos.part(2)[None], 3, (2, 3))
        torch.testing.assert_close(photos.seen[2, 3].float(), cells(encoder, turned)[0], atol=1e-2, rtol=1e-2)


def test_training_learns_the_head_alone(model, slopes):
    torch.manual_seed(0)
    model = copy.deepcopy(model)
    encoder = model.orientation.encoder
    model.orientation = Orientation(encoder.channels[-1], encoder)
    before = copy.deepcopy(model.state_dict())
    parts = stage_parts("orientation", model)
    photos = TurnedPhotos(slopes, encoder, length=64, seed=0)
    batch = default_collate([photos[position] for position in range(64)])
    head = [p for p in parts.modules["orientation"].parameters() if p.requires_grad]
    learned = torch.optim.Adam(head, 1e-3)
    assert list(parts.modules) == ["orientation"]
    for step in range(60):
        loss = parts.loss(batch, step)["loss"]
        learned.zero_grad()
        loss.backward()
        learned.step()
    model.eval()
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    learnt = ("orientation.standardise.", "orientation.read.", "orientation.write.")
    assert moved and all(name.startswith(learnt) for name in moved)
    with torch.inference_mode():
        lying = [torch.rot90(photos.part(0)[None], turns, (2, 3)) for turns in range(4)]
        assert [turns_of(model, each)[0] for each in lying] == [0, 1, 2, 3]


def test_a_photo_is_resized_to_the_strides_multiples():
    assert resized(torch.rand(1, 3, 100, 333), 224).shape == (1, 3, 64, 224)
