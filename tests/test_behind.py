"""What lies behind: continued from the next surface beyond, never from the pixel's own."""

import pytest
import torch

from deeplens_hf.optics import srgb_to_linear
from deeplens_hf.rendering.behind import extend_far, hardened, interior_weight, slope, unevenness
from deeplens_hf.rendering.surfaces import between_two

NEAR, MIDDLE, FAR = 0.0, -10.0, -20.0  # pixels of defocus


def three_surfaces(size=(96, 128)):
    """A near thing, half of it over a middle one that is little wider: light (1, 3, H, W), defocus (1, 1, H, W)."""
    light, defocus = torch.full((1, 3, *size), 0.5), torch.full((1, 1, *size), FAR)
    middle, near = (..., slice(24, 72), slice(28, 64)), (..., slice(32, 64), slice(40, 88))
    light[middle], defocus[middle] = torch.tensor([0.8, 0.02, 0.02]).view(3, 1, 1), MIDDLE
    light[near], defocus[near] = 0.1, NEAR
    return light, defocus


def test_behind_a_near_thing_is_the_next_surface_not_the_farthest():
    light, defocus = three_surfaces()
    far_light, far_defocus, _ = extend_far(light, defocus)
    beside_middle, beside_far = (..., slice(36, 60), slice(41, 48)), (..., slice(36, 60), slice(80, 87))
    torch.testing.assert_close(far_defocus[beside_middle], torch.full((1, 1, 24, 7), MIDDLE), atol=2.5, rtol=0)
    torch.testing.assert_close(far_defocus[beside_far], torch.full((1, 1, 24, 7), FAR), atol=2.5, rtol=0)
    assert float(far_light[:, 0][beside_middle].min()) > 0.7 and float(far_light[:, 1][beside_middle].max()) < 0.2
    assert float(far_light[:, 1][beside_far].min()) > 0.45


@pytest.mark.parametrize("shift", [0, 1])  # the edge between blocks of 2 x 2, and within them
def test_at_the_very_edge_the_next_surface_is_not_mixed_with_the_farthest(shift):
    light, defocus = (each.roll((shift, shift), (2, 3)) for each in three_surfaces())
    _, far_defocus, _ = extend_far(light, defocus)
    edge = far_defocus[..., 38 + shift : 58 + shift, 40 + shift]  # the first column of the near thing
    torch.testing.assert_close(edge, torch.full_like(edge, MIDDLE), atol=1.0, rtol=0)


@pytest.mark.parametrize("shift", [0, 1])  # the edge between blocks of 2 x 2, and within them
def test_the_far_surface_goes_on_under_what_hides_it(shift):
    light, defocus = torch.full((1, 3, 64, 96), 0.2), torch.zeros(1, 1, 64, 96)
    light[..., 40 + shift : 56], defocus[..., 40 + shift : 56] = 0.9, 12.0
    far_light, far_defocus, _ = extend_far(light, defocus)
    torch.testing.assert_close(far_defocus, torch.zeros_like(defocus), atol=0.2, rtol=0)
    torch.testing.assert_close(far_light, torch.full_like(light, 0.2), atol=0.03, rtol=0)


def test_the_far_surface_goes_on_under_what_has_a_soft_edge():
    """As predicted maps have them: nine pixels of slope are an edge, not a surface that comes nearer."""
    light, defocus = torch.full((1, 3, 96, 96), 0.2), torch.full((1, 1, 96, 96), 9.0)
    light[..., :40, :], defocus[..., :40, :] = 0.9, 25.0
    defocus[..., 40:49, :] = torch.linspace(24, 10, 9).view(9, 1)
    far_light, far_defocus, _ = extend_far(light, defocus)
    under = (..., slice(8, 36), slice(None))
    torch.testing.assert_close(far_light[under], torch.full_like(light[under], 0.2), atol=0.1, rtol=0)
    assert float(far_defocus[under].max()) < 20


def test_the_far_surface_goes_on_under_a_square():
    light, defocus = torch.full((1, 3, 64, 64), 0.2), torch.zeros(1, 1, 64, 64)
    light[..., 24:40, 24:40], defocus[..., 24:40, 24:40] = 0.9, 12.0
    far_light, far_defocus, _ = extend_far(light, defocus)
    torch.testing.assert_close(far_defocus, torch.zeros_like(defocus), atol=0.2, rtol=0)
    torch.testing.assert_close(far_light, torch.full_like(light, 0.2), atol=0.03, rtol=0)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("most", [9.0, 30.0])
@pytest.mark.parametrize("wall", [0, 40])  # columns of what it ends at
def test_a_slanted_surface_hides_nothing(turned, most, wall):
    light = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(6))
    defocus = torch.linspace(-most, most, 96).view(1, 1, 1, 96).expand(1, 1, 96, 96).contiguous()
    defocus[..., :wall] = defocus[..., wall : wall + 1]
    defocus = defocus.transpose(-1, -2).contiguous() if turned else defocus
    far_light, far_defocus, _ = extend_far(light, defocus)
    torch.testing.assert_close(far_light, light)
    torch.testing.assert_close(far_defocus, defocus)


@pytest.mark.parametrize("edge", [64, 70, 77, 96, 127, 128])
def test_what_is_behind_is_known_as_far_in_as_the_blur_reaches(edge):
    """Wherever the edge lies among the blocks that what is behind is continued by."""
    light, defocus = torch.full((1, 3, 96, 320), 0.8), torch.zeros(1, 1, 96, 320)
    light[..., edge:], defocus[..., edge:] = 0.1, 10.0
    far_light, far_defocus, _ = extend_far(light, defocus)
    assert float(far_defocus[..., edge : edge + 12].max()) < 0.5 and float(far_light[..., edge : edge + 12].min()) > 0.7
    assert torch.equal(far_defocus[..., edge + 24 :], defocus[..., edge + 24 :]), "and no farther than it is needed"


def test_what_lies_behind_is_of_one_surface_or_the_other():
    """Half of what blurs by 30 pixels and half of what blurs by -17 is no thing in focus: dots along heads and ears."""
    share, apart = torch.tensor([0.0, 0.3, 0.6, 1.0]), torch.tensor([1.0, 3.0, 47.0])
    expected = torch.tensor([[0.0, 0.3, 0.6, 1.0], [0.0, 0.15, 0.8, 1.0], [0.0, 0.0, 1.0, 1.0]])
    torch.testing.assert_close(hardened(share.expand(3, 4), apart[:, None]), expected)
    light, defocus = torch.rand(1, 3, 96, 160), torch.full((1, 1, 96, 160), -17.0)
    defocus[..., 60:] = 30 - torch.linspace(0.2, 0.8, 96)[:, None] * torch.arange(100)  # from a thing to a slope
    _, far_defocus, _ = extend_far(light, defocus)
    hidden = (defocus > 0) & (far_defocus < defocus - 4)
    assert int(hidden.sum()) > 300 and float(far_defocus[hidden].max()) < -5  # 22 where a pixel is half of each


def test_without_blur_nothing_lies_behind():
    light, defocus = three_surfaces()
    far_light, far_defocus, _ = extend_far(light, 0 * defocus)
    assert torch.equal(far_light, light) and torch.equal(far_defocus, 0 * defocus)


def test_each_picture_of_a_batch_has_depths_of_its_own():
    light, defocus = three_surfaces()
    pair = torch.cat([defocus, 0.2 * defocus - 30])
    both = extend_far(light.expand(2, -1, -1, -1), pair)
    for index in range(2):
        alone = extend_far(light, pair[index : index + 1])
        for together, each in zip(both, alone, strict=True):
            torch.testing.assert_close(together[index : index + 1], each, atol=1e-4, rtol=1e-4)


def test_an_edge_is_no_slope():
    _, defocus = three_surfaces()
    assert float(slope(defocus, interior_weight(defocus)).max()) == 0
    defocus[..., 64] = (MIDDLE + FAR) / 2  # a mended edge has a pixel between both
    assert float(slope(defocus, interior_weight(defocus)).max()) == 0
    slanted = torch.linspace(0, 9.5, 96).view(1, 1, 1, 96).expand(1, 1, 64, 96)
    found = slope(slanted, interior_weight(slanted))[..., 8:-8, 8:-8]
    torch.testing.assert_close(found, torch.full((1, 1, 48, 80), 0.1), atol=1e-4, rtol=0)


def test_a_soft_edge_is_uneven_and_surfaces_are_not():
    _, defocus = three_surfaces()
    assert float(unevenness(defocus, 1).max()) == 0
    defocus[..., 62:66] = torch.linspace(MIDDLE, FAR, 6)[1:-1]
    uneven = unevenness(defocus, 1)
    assert float(uneven[..., 28:68, 62:66].min()) >= 1.9 and float(uneven[..., 66:].max()) == 0


def test_mixed_colours_of_a_soft_edge_are_not_continued():
    light, defocus = torch.full((1, 3, 64, 96), 0.2), torch.zeros(1, 1, 64, 96)
    light[..., 40:60], defocus[..., 40:60] = 0.9, 12.0
    for column, depth in ((38, 3.0), (39, 7.0), (60, 7.0), (61, 3.0)):  # half the near thing's colour in each
        light[..., column], defocus[..., column] = 0.55, depth
    far_light, _, _ = extend_far(light, defocus)
    under = far_light[..., 41:59]
    torch.testing.assert_close(under, torch.full_like(under, 0.2), atol=0.12, rtol=0)  # 0.35 off if they were


def test_a_middle_surface_beside_a_near_one_is_told_from_a_soft_edge():
    _, defocus = three_surfaces()
    near, far = torch.full_like(defocus, NEAR), torch.full_like(defocus, FAR)
    third = between_two(defocus, near, far)
    beside = (..., slice(34, 62), slice(37, 40))
    assert float(third[beside].min()) == 1 and float(third[..., 33:63, 42:86].max()) == 0
    ramp = torch.linspace(FAR, NEAR, 9)
    soft = torch.cat([ramp[:1].expand(40), ramp, ramp[-1:].expand(47)]).view(1, 1, 1, 96).expand(1, 1, 64, 96)
    assert float(between_two(soft, near[..., :64, :96], far[..., :64, :96])[..., 42:47].max()) == 0


def test_no_sharp_rim_of_a_blurred_middle_surface_about_a_sharp_near_one(model):
    """Stripes of the middle surface are blurred away up to the near thing's very edge."""
    light, defocus = three_surfaces()
    disparity = (defocus - FAR) / (NEAR - FAR)
    stripes = torch.arange(96).view(1, 1, 96, 1) % 4 < 2
    image = torch.where(stripes, 0.9, 0.3) * (disparity < 0.9) + 0.5 * (disparity > 0.9)
    with torch.inference_mode():
        out = model.render(image.repeat(1, 3, 1, 1), disparity, 1.0, 25.0)  # stripes of 2 pixels, 5 of blur
    beside = srgb_to_linear(out)[0, 1, 34:62, 36:40]  # four columns left of the near square, over the middle surface
    contrast = float(beside.amax(0).max() - beside.amin(0).min())
    assert contrast < 0.35, "of 0.72 in the photo"
