"""The guided filter against a plain one, and what it is for: edges that follow the photo's."""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from deeplens_hf.disparity import edges
from deeplens_hf.evaluation import edges as edge_benchmark


def rand(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def plain(guide, values, radius, epsilon):
    """He et al., Eqs. 19 to 21, window by window, each counted by its fit: guide (h, w, k), values (h, w) -> (h, w)."""
    h, w = values.shape
    k = guide.shape[-1]
    slopes, offsets, weights = np.zeros((h, w, k)), np.zeros((h, w)), np.zeros((h, w))
    unit = edges.UNEXPLAINED * (values.max() - values.min()) ** 2

    def window(y, x):
        return slice(max(y - radius, 0), y + radius + 1), slice(max(x - radius, 0), x + radius + 1)

    for y in range(h):
        for x in range(w):
            colours, wanted = guide[window(y, x)].reshape(-1, k), values[window(y, x)].ravel()
            mean = colours.mean(0)
            spread = colours.T @ colours / len(colours) - np.outer(mean, mean) + epsilon * np.eye(k)
            together = colours.T @ wanted / len(colours) - mean * wanted.mean()
            slopes[y, x] = np.linalg.solve(spread, together)
            offsets[y, x] = wanted.mean() - slopes[y, x] @ mean
            weights[y, x] = 1 / (wanted.var() - slopes[y, x] @ together + unit)
    out = np.zeros((h, w))
    for y in range(h):
        for x in range(w):
            counts = weights[window(y, x)].ravel() / weights[window(y, x)].sum()
            out[y, x] = counts @ (slopes[window(y, x)].reshape(-1, k) @ guide[y, x] + offsets[window(y, x)].ravel())
    for y in range(h):
        for x in range(w):
            near = values[
                max(y - edges.NEARBY, 0) : y + edges.NEARBY + 1, max(x - edges.NEARBY, 0) : x + edges.NEARBY + 1
            ]
            out[y, x] = out[y, x].clip(near.min(), near.max())
    return out


def test_it_is_the_guided_filter(monkeypatch):
    monkeypatch.setattr(edges, "RADIUS", 3)
    image, maps = rand(1, 3, 22, 27).double(), rand(1, 2, 22, 27, seed=1).double()
    out = edges.refine(maps, image)
    colours, (disparity, foreground) = image[0].permute(1, 2, 0).numpy(), maps[0].numpy()
    refined = plain(colours, foreground, 3, edges.EPSILON)
    np.testing.assert_allclose(out[0, 1].numpy(), refined, atol=1e-8)
    guides = np.concatenate([colours, refined[..., None]], -1)  # the foreground guides the disparity
    np.testing.assert_allclose(out[0, 0].numpy(), plain(guides, disparity, 3, edges.EPSILON), atol=1e-8)


def test_where_the_photo_shows_nothing_the_disparity_follows_the_foreground():
    image = torch.full((1, 3, 240, 320), 0.5)
    foreground = torch.zeros(1, 1, 240, 320)
    foreground[..., 150:] = 1
    soft = F.interpolate(F.avg_pool2d(foreground, 8), (240, 320), mode="bilinear")
    alone, guided = edges.refine(soft, image), edges.refine(torch.cat([soft, foreground], 1), image)[:, :1]
    before, after = (float(x.diff(dim=-1)[0, 0, 120].max()) for x in (alone, guided))
    assert after > 2 * before, "the step is steeper, and where the foreground's is"
    assert int(guided.diff(dim=-1)[0, 0, 120].argmax()) == 149


def test_what_is_printed_on_a_thing_leaves_no_values_that_the_map_has_not_nearby():
    """Stripes beside an edge of the same colours: a window that holds the edge would carry it into the stripes."""
    image = torch.full((1, 3, 240, 320), 0.9)
    image[..., 150:] = 0.1
    stripes = image[..., :130].unflatten(-1, (-1, 10))
    stripes[..., 5:] = 0.1
    near = torch.zeros(1, 1, 240, 320)
    near[..., :150] = 1
    soft = F.interpolate(F.avg_pool2d(near, 4), (240, 320), mode="bilinear")
    torch.testing.assert_close(edges.refine(soft, image)[..., :140], near[..., :140], atol=1e-3, rtol=0)


def test_soft_edges_move_onto_the_photos_edge():
    image = torch.full((1, 3, 240, 320), 0.2)
    image[..., 150:] = 0.7
    true = (image[:, :1] > 0.5).float()
    soft = F.interpolate(F.avg_pool2d(true, 16), (240, 320), mode="bilinear")
    before, after = (x.diff(dim=-1)[0, 0, 120] for x in (soft, edges.refine(soft, image)))
    assert int(after.argmax()) == 149, "the step is where the photo's is"
    assert float(after.max()) > 4 * float(before.max())


def test_a_step_that_the_photo_does_not_show_stays_a_step():
    image = 0.5 + 0.02 * torch.randn(1, 3, 240, 320, generator=torch.Generator().manual_seed(2))
    step = torch.zeros(1, 1, 240, 320)
    step[..., 150:] = 1
    torch.testing.assert_close(edges.refine(step, image), step, atol=0.05, rtol=0)


def test_a_flat_map_stays_flat_whatever_the_photo_shows():
    out = edges.refine(torch.full((2, 1, 20, 30), 0.4), rand(2, 3, 100, 150))
    torch.testing.assert_close(out, torch.full((2, 1, 100, 150), 0.4))


def test_strips_join_without_a_seam(monkeypatch):
    image, maps = rand(1, 3, 150, 90), rand(1, 2, 30, 18, seed=1)
    whole = edges.refine(maps, image)
    monkeypatch.setattr(edges, "STRIP", 32)
    torch.testing.assert_close(edges.refine(maps, image), whole)


def test_the_edge_benchmark_finds_what_a_small_disparity_loses(tmp_path):
    """A near square before a far wall, each of one colour: the photo's edges give back what the small map has lost."""
    folder = tmp_path / "truth" / "layered"
    folder.mkdir(parents=True)
    (tmp_path / "truth" / "traced").mkdir()
    near = np.zeros((80, 120), bool)
    near[21:59, 33:87] = True
    noise = np.random.default_rng(0).integers(0, 40, (80, 120, 1))
    photo = np.where(near[..., None], (150, 110, 60), (40, 90, 160)) + noise
    Image.fromarray(photo.astype(np.uint8)).save(folder / "s0_aif.png")
    Image.fromarray(np.where(near, 60000, 6000).astype(np.uint16)).save(folder / "s0_disp.png")
    shots, subjects = [], []

    def renderer(image, disparity, focus, aperture, foreground):  # the disparity itself: what it loses is all there is
        shots.append(disparity)
        subjects.append(foreground)
        return disparity.expand(-1, 3, -1, -1)

    target = np.where(near, 60000, 6000)[..., None].repeat(3, -1) / 65535 * 255
    for focus in ("mid", "bg", "near"):
        Image.fromarray(target.round().astype(np.uint8)).save(folder / f"s0_gt_{focus}.png")
    subject = torch.from_numpy(near).float()[None, None]
    scaled = 3 + 2 * subject
    rows = edge_benchmark.evaluate_edges(renderer, lambda image: (scaled, subject), tmp_path, 32, progress=False)
    assert len(rows) == 3 * 5
    of = {row["disparity"]: row["psnr_edges"] for row in rows}
    assert of["true"] > of["refined"] + 3 > of["enlarged"] + 4
    np.testing.assert_allclose(shots[3], shots[0], atol=1e-3, err_msg="the prediction is fitted")
    assert subjects[:5] == [None] * 4 + [subject], "only the last is told of the subject"
    assert float(edge_benchmark.fitted(-scaled, shots[0]).std()) < 1e-6, "but never turned upside down"
    edge_benchmark.write_report(rows, tmp_path / "out")
    assert "| layered, refined | 3 |" in (tmp_path / "out" / "edges.md").read_text()


def test_an_edge_costs_what_it_takes_from_the_true_maps_picture():
    row = {"kind": "layered", "scene": "s", "focus": "near"}
    true = row | {"disparity": "true", "psnr": 30.0, "psnr_edges": 20.0}
    predicted = row | {"disparity": "predicted", "psnr": 28.5, "psnr_edges": 17.0}
    lines = edge_benchmark.to_markdown([true, predicted]).splitlines()
    assert "| layered, predicted | 1 | 28.50 | 17.00 | 1.50 | 3.00 |" in lines
