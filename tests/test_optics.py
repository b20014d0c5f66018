"""The formulas that everything else relies on."""

import math

import pytest
import torch

from deeplens_hf.optics import disc, linear_to_srgb, pixels_per_disparity, signed_defocus, srgb_to_linear


def test_srgb_curve_at_known_values_and_back():
    known = {0.0: 0.0, 0.04045: 0.0031308, 0.5: 0.2140411, 1.0: 1.0}  # IEC 61966-2-1
    for encoded, light in known.items():
        assert float(srgb_to_linear(torch.tensor(encoded))) == pytest.approx(light, abs=1e-6)
    values = torch.linspace(0, 1, 256)
    torch.testing.assert_close(linear_to_srgb(srgb_to_linear(values)), values, atol=1e-5, rtol=0)
    assert float(linear_to_srgb(torch.tensor(40.0))) == pytest.approx(1, abs=1e-6), "as in a camera, it clips"


def test_the_curve_has_a_gradient_everywhere():
    values = torch.tensor([0.0, 0.001, 0.04045, 0.5, 1.0], requires_grad=True)
    linear_to_srgb(srgb_to_linear(values)).sum().backward()
    assert torch.isfinite(values.grad).all() and (values.grad > 0.5).all()


def test_defocus_is_linear_in_disparity_signed_and_scale_free():
    disparity = torch.tensor([0.0, 0.25, 1.0]).view(1, 1, 1, 3).expand(2, 1, 240, 3)
    disparity = torch.nn.functional.interpolate(disparity, (240, 320), mode="nearest")
    defocus = signed_defocus(disparity, torch.tensor([0.25, 1.0]), torch.tensor([8.0, 4.0]))
    assert defocus[0, 0, 0, [0, 160, 319]].tolist() == pytest.approx([-2, 0, 6])  # > 0: in front of the focal plane
    assert defocus[1, 0, 0, [0, 160, 319]].tolist() == pytest.approx([-4, -3, 0])
    assert pixels_per_disparity(8.0, (3000, 4000)) == pytest.approx(100)
    assert pixels_per_disparity(8.0, (4000, 3000)) == pytest.approx(100)


def test_a_focal_range_is_sharp_and_blur_grows_from_its_ends():
    disparity = torch.tensor([0.0, 0.2, 0.3, 0.5, 0.9]).view(1, 1, 1, 5)
    for ends in ([0.2, 0.5], [0.5, 0.2]):
        defocus = signed_defocus(disparity, torch.tensor([ends]), torch.tensor([640.0]))
        assert defocus.flatten().tolist() == pytest.approx([-2, 0, 0, 0, 4])
    one = signed_defocus(disparity, torch.tensor([[0.3, 0.3]]), torch.tensor([640.0]))
    torch.testing.assert_close(one, signed_defocus(disparity, torch.tensor([0.3]), torch.tensor([640.0])))


@pytest.mark.parametrize("radius", [0.0, 0.4, 1.0, 2.5, 7.0, 20.0])
def test_disc_sums_to_one_and_has_its_radius(radius):
    kernel = disc(radius)
    assert kernel.shape[0] == kernel.shape[1] and kernel.shape[0] % 2 == 1
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-5)
    if radius >= 2:
        assert 1 / float(kernel.max()) == pytest.approx(math.pi * radius**2, rel=0.05)  # its area, in pixels
        assert (kernel > 0).float().sum().sqrt() / math.sqrt(math.pi) == pytest.approx(radius, abs=0.8)
