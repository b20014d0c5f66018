"""Eq. 3 against a plain loop, and what the masks must keep."""

import pytest
import torch
import torch.nn.functional as F

from deeplens_hf import upsampling as module
from deeplens_hf.layers.pooling import halve
from deeplens_hf.optics import srgb_to_linear
from deeplens_hf.upsampling import GuidedUpsampling, combine, up


def upsampling(seed=0):
    torch.manual_seed(seed)
    network = GuidedUpsampling(4).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return network


def bilinear(low, y, x, size):
    """Sample (h, w) at the centre of pixel (y, x) of a picture of `size`, half-pixel centres, borders repeated."""
    h, w = low.shape
    v = min(max((y + 0.5) * h / size[0] - 0.5, 0), h - 1)
    u = min(max((x + 0.5) * w / size[1] - 0.5, 0), w - 1)
    top, left = int(v), int(u)
    below, right = min(top + 1, h - 1), min(left + 1, w - 1)
    fv, fu = v - top, u - left
    upper = low[top, left] * (1 - fu) + low[top, right] * fu
    return upper * (1 - fv) + (low[below, left] * (1 - fu) + low[below, right] * fu) * fv


def test_equation_3_pixel_by_pixel():
    generator = torch.Generator().manual_seed(1)
    photo, low = torch.rand(2, 3, 8, 10, generator=generator), torch.rand(2, 3, 4, 5, generator=generator)
    share = torch.rand(2, 1, 8, 10, generator=generator)
    out = combine(photo, up(low, 2), share)
    for b in range(2):
        for c in range(3):
            for y in range(8):
                for x in range(10):
                    m = float(share[b, 0, y, x])
                    expected = m * photo[b, c, y, x] + (1 - m) * bilinear(low[b, c], y, x, (8, 10))
                    assert out[b, c, y, x] == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize("size", [(64, 80), (65, 81), (64, 64)])
def test_any_size_and_constant_light(size):
    half = tuple((side + 1) // 2 for side in size)
    photo, low = torch.full((1, 3, *size), 0.3), torch.full((1, 3, *half), 0.3)
    defocus = torch.randn(1, 1, *size, generator=torch.Generator().manual_seed(2)) * 4
    with torch.no_grad():
        out = upsampling()(photo, defocus, low, torch.rand(1, 4, *((side + 1) // 2 for side in half)))
    assert out.shape == photo.shape
    torch.testing.assert_close(out, photo)


def test_nothing_blurred_returns_the_photo():
    photo = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(3))
    out = upsampling()(photo, torch.zeros(1, 1, 32, 48), F.avg_pool2d(photo, 2), torch.rand(1, 4, 16, 24))
    torch.testing.assert_close(out, photo)


@pytest.mark.parametrize("size", [(64, 80), (65, 81)])
@pytest.mark.parametrize("encoded", [False, True])
def test_what_the_blur_has_not_touched_is_the_photo(size, encoded):
    """Also where the picture is blurred elsewhere. Found in photos over 1024 pixels: a twentieth of it was mixed in."""
    photo = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(6))
    light = srgb_to_linear(photo) if encoded else photo
    low, defocus = halve(light), torch.zeros(1, 1, *size)
    low[..., 20:], defocus[..., 40:] = 0.5, 8.0
    with torch.no_grad():
        out = upsampling()(photo, defocus, low, torch.rand(1, 4, *((side + 3) // 4 for side in size)), encoded)
    assert (out - photo)[..., :36].abs().max() < 1e-5
    assert (out - photo)[..., 44:].abs().mean() > 0.1


@pytest.mark.parametrize("lines", [torch.eye(2).repeat(16, 24), torch.tensor([0.0, 1.0]).repeat(32, 24)])
def test_fine_lines_out_of_focus_do_not_come_back(lines):
    """Halved they are flat, so that the blur changes nothing of them there."""
    photo = (0.4 + 0.2 * lines).expand(1, 3, -1, -1)
    with torch.no_grad():
        out = upsampling()(photo, torch.full((1, 1, 32, 48), 8.0), halve(photo), torch.rand(1, 4, 8, 12))
    assert float(out.std()) < 0.2 * float(photo.std())


def test_gradients_stay_small_where_the_blur_begins():
    photo = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(7))
    low = (halve(photo) + 5e-5).requires_grad_()
    upsampling()(photo, torch.ones(1, 1, 32, 48), low, torch.rand(1, 4, 8, 12)).sum().backward()
    assert float(low.grad.abs().max()) < 10


@pytest.mark.parametrize("size", [(150, 60), (151, 61)])
@pytest.mark.parametrize("levels", [0, 1, 3])  # between the photo and the lens blur
def test_strips_join_without_a_seam(monkeypatch, size, levels):
    generator = torch.Generator().manual_seed(5)
    photo, defocus = torch.rand(1, 3, *size, generator=generator), torch.randn(1, 1, *size, generator=generator) * 3
    low = halve(photo).flip(-1) if levels else photo.flip(-1)
    features = photo[:, :1].repeat(1, 4, 1, 1)
    for _ in range(levels + 1):
        features = halve(features)
    with torch.no_grad():
        whole = upsampling()(photo, defocus, low, features)
        monkeypatch.setattr(module, "STRIP", 33 * size[1])  # of an even number of rows all the same
        strips = upsampling()(photo, defocus, low, features)
    torch.testing.assert_close(strips, whole, atol=1e-5, rtol=0)


def test_masks_stay_between_photo_and_blur():
    photo, low = torch.ones(1, 3, 32, 32), torch.zeros(1, 3, 16, 16)
    defocus = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(4)) * 5
    with torch.no_grad():
        out = upsampling()(photo, defocus, low, torch.rand(1, 4, 16, 16))
    assert 0 <= float(out.min()) <= float(out.max()) <= 1
