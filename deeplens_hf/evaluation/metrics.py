"""The figures of the benchmarks: how alike two pictures, two disparity maps, two masks are.

Everything takes tensors (B, C, H, W) and returns one float; masks are boolean (B, 1, H, W).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

EDGE_THRESHOLDS = tuple(0.01 * 1.25**step for step in range(18))  # 0.01 to 0.44 of the range, for the best F-score


def psnr(a: Tensor, b: Tensor, mask: Tensor | None = None) -> float:
    """Peak signal-to-noise ratio in dB of two images (B, 3, H, W) in [0, 1]; inf where they are equal.

    With a `mask` (B, 1, H, W), over the marked pixels alone; nan if there are none.
    """
    _same_shape(a, b)
    error = (a - b).double().square()
    mean = (error if mask is None else error[mask.expand_as(error)]).mean().item()
    return math.inf if mean == 0 else -10 * math.log10(mean)


def ssim(a: Tensor, b: Tensor) -> float:
    """Structural similarity of two images (B, C, H, W) in [0, 1], H and W at least 11: mean over channels and windows.

    Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004, Eq. 13: gaussian
    window of 11 taps, sigma 1.5, K1 = 0.01, K2 = 0.03, windows wholly inside the image.
    """
    _same_shape(a, b)
    if min(a.shape[-2:]) < 11:
        raise ValueError(f"images for ssim must be at least 11 x 11 pixels, got {tuple(a.shape[-2:])}")
    window = [math.exp(-(at**2) / (2 * 1.5**2)) for at in range(-5, 6)]

    def mean(x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H - 10, W - 10)
        for dim in (-2, -1):  # shifted sums: several times faster on a CPU than a convolution of one channel
            x = sum(tap / sum(window) * x.narrow(dim, at, x.shape[dim] - 10) for at, tap in enumerate(window))
        return x

    mean_a, mean_b = mean(a), mean(b)
    variance_a, variance_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    covariance = mean(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
    structure = (2 * covariance + 0.03**2) / (variance_a + variance_b + 0.03**2)
    return (luminance * structure).mean().item()


def edge_band(disparity: Tensor, jump: float = 0.1, distance: int = 12) -> Tensor:
    """Where renderers differ: the pixels within `distance` (along either axis) of a disparity jump.

    A jump is a difference of more than `jump` between two neighbours in a row or column; both are its edge.
    (B, 1, H, W) -> boolean (B, 1, H, W).
    """
    return _dilate(_jumps(disparity, jump), distance)


def order_accuracy(
    pred: Tensor, truth: Tensor, valid: Tensor | None = None, gap: float = 0.05, pairs: int = 100_000, seed: int = 0
) -> float:
    """Share of random pixel pairs that `pred` puts in the true order of depth; a tie in `pred` is wrong.

    Counted are pairs whose truth differs by more than `gap` of the true range; nan if there are none.
    pred, truth (1, 1, H, W), any scale, larger = nearer; valid: boolean, where the truth is known. After Chen et al.,
    "Single-image depth perception in the wild", 2016.
    """
    p, t = _known(pred, truth, valid)  # (N,), (N,)
    draw = torch.Generator().manual_seed(seed)
    first, second = torch.randint(t.numel(), (2, pairs), generator=draw)
    step = t[first] - t[second]
    counted = step.abs() > gap * (t.max() - t.min())
    right = (p[first] - p[second]) * step.sign() > 0
    return right[counted].double().mean().item()


def aligned_error(pred: Tensor, truth: Tensor, valid: Tensor | None = None) -> float:
    """Mean absolute error left after the least-squares scale and shift of `pred` onto `truth`, in the truth's unit.

    pred, truth (1, 1, H, W); valid: boolean, where the truth is known. The alignment is that of Ranftl et al., "Towards
    robust monocular depth estimation" (MiDaS), 2020, Eq. 4.
    """
    p, t = _known(pred, truth, valid)
    p, t = p - p.mean(), t - t.mean()
    scale = (p @ t) / (p @ p).clamp(min=1e-12)
    return (scale * p - t).abs().mean().item()


def edge_f_score(
    pred: Tensor, truth: Tensor, valid: Tensor | None = None, jump: float = 0.06, tolerance: int = 3
) -> float:
    """F-score of disparity edges, [0, 1], at the threshold on `pred` that suits it best; nan if the truth has no edge.

    True edges: neighbours that differ by more than `jump` of the true range. Predicted edges: neighbours that differ by
    more than one of EDGE_THRESHOLDS of the predicted range. Each matches within `tolerance` pixels.
    pred, truth (1, 1, H, W); valid: boolean, where the truth is known; edges that touch the unknown are not counted.
    """
    p, t = _known(pred, truth, valid)
    known = torch.ones_like(truth, dtype=torch.bool) if valid is None else valid
    clear = ~_dilate(~known, 1)
    true_edge = _jumps(truth, jump * (t.max() - t.min()).item()) & clear
    if not true_edge.any():
        return math.nan
    span = (p.max() - p.min()).item()
    return max(_match(_jumps(pred, share * span) & clear, true_edge, tolerance) for share in EDGE_THRESHOLDS)


def iou(pred: Tensor, truth: Tensor) -> float:
    """Intersection over union of two masks (1, 1, H, W) in [0, 1], cut at one half; 1 if both are empty."""
    _same_shape(pred, truth)
    p, t = pred >= 0.5, truth >= 0.5
    union = (p | t).sum().item()
    return (p & t).sum().item() / union if union else 1.0


def boundary_f(pred: Tensor, truth: Tensor, tolerance: float = 0.008) -> float:
    """F-score of the outlines of two masks (1, 1, H, W) in [0, 1], cut at one half; 1 if neither has an outline.

    Outlines match within `tolerance` of the image's diagonal, rounded up to pixels, as in Perazzi et al., "A benchmark
    dataset and evaluation methodology for video object segmentation" (DAVIS), 2016, section 5.1.
    """
    _same_shape(pred, truth)
    p, t = (_jumps((mask >= 0.5).float(), 0.5) for mask in (pred, truth))
    if not p.any() and not t.any():
        return 1.0
    return _match(p, t, math.ceil(tolerance * math.hypot(*truth.shape[-2:])))


def hover(pred: Tensor, mask: Tensor) -> float:
    """Step of depth from a person's feet to the ground beside them, as a share of the predicted range: 0 = they stand.

    pred (1, 1, H, W), any scale; mask (1, 1, H, W) in [0, 1]: the person. nan where the frame cuts the feet off, or
    nothing is seen beside them.
    """
    _same_shape(pred, mask)
    person, (height, width) = mask[0, 0] >= 0.5, mask.shape[-2:]
    rows, columns = person.nonzero(as_tuple=True)
    if not len(rows) or rows.max() >= 0.97 * height:
        return math.nan
    lowest, below = int(rows.max()), rows > rows.max() - 0.05 * height
    clear = ~_dilate(mask >= 0.5, 3)[0, 0]  # what is not mixed with the person
    about = torch.zeros_like(person)
    across, down = round(0.08 * width), round(0.03 * height)
    left, right = max(0, int(columns[below].min()) - across), int(columns[below].max()) + across + 1
    about[max(0, lowest - down) : lowest + down + 1, left:right] = True
    if not (about & clear).any():
        return math.nan
    feet, ground = (pred[0, 0][where].median() for where in ((rows[below], columns[below]), about & clear))
    return ((feet - ground).abs() / (pred.max() - pred.min()).clamp(min=1e-6)).item()


def adrift(pred: Tensor, mask: Tensor, far: float = 0.1) -> float:
    """Share of a person that lies farther than `far` of the predicted range from the person's median disparity.

    pred (1, 1, H, W), any scale; mask (1, 1, H, W) in [0, 1], of which two pixels at its outline do not count; nan
    for an empty one.
    """
    _same_shape(pred, mask)
    values = pred[~_dilate(mask < 0.5, 2)]
    if not len(values):
        return math.nan
    return ((values - values.median()).abs() > far * (pred.max() - pred.min())).float().mean().item()


def _match(pred: Tensor, truth: Tensor, tolerance: int) -> float:
    """F-score of two boolean edge maps (B, 1, H, W), each pixel matched within `tolerance`."""
    if not pred.any() or not truth.any():
        return 0.0
    precision = _dilate(truth, tolerance)[pred].float().mean().item()
    recall = _dilate(pred, tolerance)[truth].float().mean().item()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _jumps(map: Tensor, jump: float) -> Tensor:
    """Pixels that differ by more than `jump` from the neighbour right, left, below or above: boolean (B, 1, H, W)."""
    across = map.diff(dim=-1).abs() > jump  # (B, 1, H, W - 1)
    down = map.diff(dim=-2).abs() > jump  # (B, 1, H - 1, W)
    return F.pad(across, (0, 1)) | F.pad(across, (1, 0)) | F.pad(down, (0, 0, 0, 1)) | F.pad(down, (0, 0, 1, 0))


def _dilate(mask: Tensor, distance: int) -> Tensor:
    """Grow a boolean mask (B, 1, H, W) by `distance` pixels along both axes (a square, not a disc)."""
    return F.max_pool2d(mask.float(), 2 * distance + 1, stride=1, padding=distance) > 0.5


def _known(pred: Tensor, truth: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Both maps where the truth is known, flat and double: (N,), (N,)."""
    _same_shape(pred, truth)
    if valid is None:
        valid = torch.ones_like(truth, dtype=torch.bool)
    if not valid.any():
        raise ValueError("valid must mark at least one pixel")
    return pred[valid].double(), truth[valid].double()


def _same_shape(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape:
        raise ValueError(f"both must have one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
