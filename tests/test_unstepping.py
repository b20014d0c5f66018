"""Maps of few grey values: slopes again where they had become stairs, and nothing else touched."""

import pytest
import torch
import torch.nn.functional as F

from deeplens_hf.disparity.unstepping import SAME, Plateaus, enlarged, plateaus, unstepped, with_plateaus
from deeplens_hf.evaluation.flaws import stepped
from deeplens_hf.layers.pooling import halve_map

STEP = 1 / 23


def slopes(size=(256, 387)) -> torch.Tensor:
    """A floor that recedes, one that bends, and a board upright before them: (1, 1, H, W)."""
    rows, columns = torch.meshgrid(*(torch.linspace(0, 1, side) for side in size), indexing="ij")
    disparity = 0.05 + 0.35 * rows + 0.1 * columns.square()
    disparity[size[0] // 3 : size[0] * 2 // 3, size[1] // 3 : size[1] // 2] = 20 * STEP
    return disparity[None, None]


def test_stairs_become_the_slopes_that_they_were():
    true = slopes()
    wrong = stepped(true)
    out = unstepped(wrong)
    assert float((out - true).square().mean()) < 0.4 * float((wrong - true).square().mean())  # flat at either end
    assert float((out - wrong).abs().max()) <= STEP / 2 + 1e-6, "no pixel leaves its step"
    board = true == 20 * STEP
    torch.testing.assert_close(out[board], true[board])
    assert float(out.diff(dim=-2)[~board[..., 1:, :] & ~board[..., :-1, :]].abs().max()) < STEP / 2


@pytest.mark.parametrize("scale, offset", [(1.0, 0.0), (37.0, -9.0)])
def test_any_range_is_smoothed_alike(scale, offset):
    wrong = stepped(slopes())
    torch.testing.assert_close(unstepped(wrong * scale + offset), unstepped(wrong) * scale + offset, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    "grey",
    [
        slopes(),
        slopes().mul(255).round() / 255,  # as 8 bits have it
        slopes((48, 64)).mean(-1, keepdim=True).expand(-1, -1, -1, 64),  # few values, but each of one row only
        stepped(slopes()).mul(5).round() / 5,  # so few that each may be a thing of its own
        torch.tensor([0.0, 0.1, 0.13, 0.3, 0.5, 0.52, 0.7, 0.8, 0.94]).repeat_interleave(20).expand(1, 1, 90, 180),
        torch.full((1, 1, 64, 64), 0.4),
        torch.rand(1, 1, 1, 5),
    ],
    ids=["slopes", "8 bits", "small", "planes", "uneven", "flat", "thin"],
)
def test_other_maps_stay_as_they_are(grey):
    assert unstepped(grey) is grey


def test_what_looks_at_its_data_is_not_compiled():
    compiled = []
    torch.compile(lambda map: unstepped(map) + 1, backend=lambda graph, given: compiled.append(graph) or graph)(
        torch.rand(1, 1, 64, 64)
    )
    assert sum(len(graph.graph.nodes) for graph in compiled) <= 6, "the sum alone"


def test_a_compiled_model_sees_stairs_too():
    wrong = stepped(slopes((96, 128)))
    wanted = unstepped(wrong)
    assert wanted is not wrong
    compiled = torch.compile(lambda map: unstepped(map), backend="eager")
    torch.testing.assert_close(compiled(wrong), wanted)


def test_one_map_of_a_batch_may_have_stairs():
    true = slopes()
    out = unstepped(torch.cat([true, stepped(true)]))
    assert torch.equal(out[:1], true)
    torch.testing.assert_close(out[1:], unstepped(stepped(true)))


@pytest.mark.parametrize("size", [(12, 15), (13, 16)])
def test_enlarging_lets_each_surface_have_its_own(size):
    map = torch.rand(1, 1, *size)
    map[..., size[1] // 2 :] += 10  # another surface
    coarse, step = halve_map(map) + 0.2, torch.ones(1, 1, 1, 1)
    out = enlarged(coarse, map, step)
    for row in range(size[0]):
        for column in range(size[1]):
            own, found = float(map[0, 0, row, column]), []
            for y in {row - 1 + row % 2, row + 1 - row % 2}:
                for x in {column - 1 + column % 2, column + 1 - column % 2}:
                    k, j = max((y - 1) // 2, 0), max((x - 1) // 2, 0)
                    if abs(float(coarse[0, 0, k, j]) - own) < SAME:
                        found.append(float(coarse[0, 0, k, j]))
            wanted = min(max(sum(found) / len(found), own - 0.5), own + 0.5) if found else own
            assert float(out[0, 0, row, column]) == pytest.approx(wanted, abs=1e-5), (row, column)


def test_a_photo_with_a_stepped_map_is_rendered_as_with_the_true_one(model):
    torch.manual_seed(0)
    image, true = torch.rand(1, 3, 256, 387), slopes()
    with torch.inference_mode():
        right, wrong = (model.render(image, each, 0.2, 12.0) for each in (true, stepped(true)))
        plain = model.render(image, stepped(true) + 1e-4 * torch.rand_like(true), 0.2, 12.0)  # no scale to be seen
    assert float((wrong - right).square().mean()) < 0.3 * float((plain - right).square().mean())


def test_gradients_reach_the_map():
    map = stepped(slopes((64, 96))).requires_grad_()
    unstepped(map).square().mean().backward()
    assert float(map.grad.abs().sum()) > 0


@pytest.mark.parametrize("by", [-0.4, 0.0, 0.4])
def test_a_flat_thing_whose_step_holds_the_focus_is_sharp(model, by):
    """A board of 20 steps; where it really lies within its step, the map does not say."""
    disparity = stepped(slopes())
    board = disparity == 20 * STEP
    image = torch.rand(1, 3, *disparity.shape[-2:], generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        out = model.render(image, disparity, (20 + by) * STEP, 16.0, highlights=0)
        wide = model.render(image, disparity, ((20 + by) * STEP, 1.0), 16.0, highlights=0)
        blurred = model.render(image, disparity, 21.4 * STEP, 16.0, highlights=0)
    inside = (-F.max_pool2d(-board.float(), 17, 1, 8) == 1).expand_as(image)
    off = [float((each - image)[inside].abs().mean()) for each in (out, wide, blurred)]
    assert max(off[:2]) < 0.002 and off[2] > 0.1, "the last focus is not of its step any more"


def test_focus_is_widened_by_plateaus_alone():
    grey = stepped(slopes())
    (found,) = plateaus(grey, unstepped(grey))
    assert found.step == pytest.approx(STEP) and found.values == pytest.approx((20 * STEP,)), "slopes are none"
    assert plateaus(slopes(), unstepped(slopes())) == [Plateaus()]
    focus = torch.tensor([20.3, 21.0, 5.3]) * STEP
    wider = with_plateaus(focus, [found] * 3) / STEP
    torch.testing.assert_close(wider, torch.tensor([[20, 20.3], [21, 21], [5.3, 5.3]]))
    interval = torch.tensor([[0.5, 0.1], [0.8, 0.85]])
    torch.testing.assert_close(with_plateaus(interval, [found] * 2), torch.tensor([[0.1, 0.5], [0.8, 20 * STEP]]))
    assert with_plateaus(focus, [Plateaus()] * 3) is focus
