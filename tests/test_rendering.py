"""What photographers look at first: lamps out of focus, and edges without rims."""

import pytest
import torch

from deeplens_hf.optics import linear_to_srgb, srgb_to_linear


def night(size=160):
    """Two lamps, one in focus and one far behind, in the dark: image, disparity, and where they are."""
    image = torch.full((1, 3, size, size), 0.1)
    disparity = torch.full((1, 1, size, size), 0.2)
    disparity[..., : size // 2] = 0.8
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    lamps = [(40, 80), (120, 80)]  # in focus, out of focus
    for left, top in lamps:
        image[..., torch.hypot(x - left, (y - top).float()) < 3.5] = 1.0
    return image, disparity, lamps


def test_highlights_give_back_light_where_lamps_are_out_of_focus_only(model):
    image, disparity, _ = night()
    with torch.inference_mode():
        off, on, twice = (
            srgb_to_linear(model.render(image, disparity, 0.8, 24.0, highlights=amount)) for amount in (0.0, 1.0, 2.0)
        )
    out_of_focus, in_focus = slice(95, 150), slice(10, 60)
    light = [float(each[..., out_of_focus].sum()) for each in (off, on, twice)]
    assert light[0] < light[1] < light[2]
    torch.testing.assert_close(on[..., in_focus], off[..., in_focus], atol=2e-3, rtol=0)


def test_without_highlights_light_is_neither_made_nor_lost(model):
    image, disparity, _ = night()
    image = image * 0.9  # no lamp is clipped
    with torch.inference_mode():
        out = model.render(image, disparity, 0.8, 12.0, highlights=0.0)
    inside = (..., slice(95, 145))
    assert float(srgb_to_linear(out)[inside].sum()) == pytest.approx(
        float(srgb_to_linear(image)[inside].sum()), rel=0.03
    )


def test_a_sharp_background_shows_through_a_blurred_edge_without_a_rim(model):
    """A dark thing in front of stripes, far out of focus: between the two the light only rises."""
    image = torch.full((1, 3, 160, 240), 0.8)
    image[..., :100] = 0.1
    disparity = torch.zeros(1, 1, 160, 240)
    disparity[..., :100] = 1.0
    with torch.inference_mode():
        out = model.render(image, disparity, 0.0, 20.0)  # 15 pixels of blur
    profile = srgb_to_linear(out)[0, 1, 80]
    dark, light = (float(srgb_to_linear(torch.tensor(value))) for value in (0.1, 0.8))
    rise = profile[70:140]
    assert float((rise[:-1] - rise[1:]).max()) < 0.02 * (light - dark), "no rim"
    assert float(profile[100]) == pytest.approx((dark + light) / 2, abs=0.12 * (light - dark))
    assert float(profile[130]) == pytest.approx(light, abs=0.02) and float(profile[60]) == pytest.approx(dark, abs=0.02)
    assert float(linear_to_srgb(profile.max())) <= 0.81
