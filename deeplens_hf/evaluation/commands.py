"""`deeplens evaluate render | depth | edges`: the model beside what programs without a network reach."""

from pathlib import Path

from torch import Tensor

from ..model import DeepLens
from ..optics import signed_defocus
from ..sharing.release import fingerprint
from . import baselines, depth, edges, render


def run(what: str, model: DeepLens, data: Path, out: Path | None = None, beside: list[str] | None = None) -> str:
    """Measure; returns the tables in Markdown, and writes them to the folder `out` as well.

    beside: other weights to show in the table of renderers: MODEL or NAME=MODEL.
    ValueError where `data` lacks the truth.
    """

    def predicted(image: Tensor) -> list[Tensor]:  # (1, 3, H, W) -> disparity, foreground
        return [each.cpu() for each in model.predict_depth(image.to(model.device))]

    if what == "render":
        renderers = {"deeplens": renderer(model)}
        for other in beside or ():
            name, _, source = other.rpartition("=")
            renderers[name or source] = renderer(DeepLens.from_pretrained(source).to(model.device))
        renderers |= {
            "unlearned slabs": baselines.unlearned_slabs,
            "scatter": baselines.scatter,
            "no blur": baselines.no_blur,
        }
        benchmark, rows = render, render.evaluate_render(renderers, data)
    elif what == "edges":
        benchmark = edges
        rows = edges.evaluate_edges(renderer(model), predicted, data)
    else:
        predictors = {"deeplens": predicted, "vertical gradient": depth.vertical_gradient}
        benchmark, rows = depth, depth.evaluate_depth(predictors, data)
    if out:
        benchmark.write_report(rows, out, fingerprint(model))
    return benchmark.to_markdown(rows)


def renderer(model: DeepLens) -> edges.SubjectRenderer:
    """The model as the benchmarks call renderers, without limit on the aperture."""

    def rendered(
        image: Tensor, disparity: Tensor, focus: float, aperture: float, foreground: Tensor | None = None
    ) -> Tensor:
        defocus = signed_defocus(disparity, disparity.new_tensor([focus]), disparity.new_tensor([aperture]))
        given = (each if each is None else each.to(model.device) for each in (image, defocus, foreground))
        return model.render_defocus(*given).cpu()

    return rendered
