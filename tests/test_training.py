"""Training as users run it: each stage from the command line's own function, resumed, recorded, learning something."""

import argparse
import csv
import json
import math
import multiprocessing
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset

from deeplens_hf import DeepLens, DeepLensConfig
from deeplens_hf.files.pictures import PhotoError
from deeplens_hf.training import stages
from deeplens_hf.training.arguments import add_arguments, check
from deeplens_hf.training.commands import run
from deeplens_hf.training.data import labelled_photos
from deeplens_hf.training.loop import Run, fit, groups, launch, learning_rate, whole_step
from deeplens_hf.training.losses import render_loss
from deeplens_hf.training.record import read_record
from deeplens_hf.training.scenes.hidden_scenes import HiddenScenes
from deeplens_hf.training.scenes.rendered import RenderedScenes
from deeplens_hf.training.stage_data import Course, InTurns


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Four labelled photos in the format of the manifest; the last one is held out."""
    root = tmp_path_factory.mktemp("data")
    (root / "photos" / "train").mkdir(parents=True)
    rng, lines = np.random.default_rng(0), []
    for i in range(4):
        base = root / "photos" / "train" / f"{i:05d}"
        Image.fromarray(rng.integers(0, 255, (90, 120, 3), dtype=np.uint8)).save(f"{base}.jpg")
        ramp = np.linspace(0, 255, 60).astype(np.uint8)[:, None].repeat(80, 1)
        Image.fromarray(ramp).save(f"{base}.disparity.png")
        mask = np.zeros((60, 80), np.uint8)
        mask[20:50, 30:60] = 255
        Image.fromarray(mask).save(f"{base}.foreground.png")
        line = {"id": base.name, "group": "toy", "foreground": "annotated" if i % 2 else None}
        lines.append(line | {"split": "val" if i == 3 else "train"})
    (root / "photos" / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return root


def arguments(*words):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([*map(str, words)])


def train(*words):
    return run(arguments(*words, "--workers", "0", "--device", "cpu"))


class Numbers(Dataset):
    """Position -> (x, 3 x): a line to be learned."""

    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, position):
        x = torch.rand(1, generator=torch.Generator().manual_seed(position))
        return {"x": x, "y": 3 * x}


def fit_line(out, steps, stop=None, batch_size=8, seconds=0.0, precision="no", **options):
    torch.manual_seed(0)
    line = nn.Linear(1, 1)

    def loss(batch, step):
        if stop is not None and step == stop:
            raise KeyboardInterrupt
        time.sleep(seconds)
        return {"loss": (line(batch["x"]).float() - batch["y"]).square().mean()}

    accelerator = launch(precision=precision, accumulate=options.get("accumulate", 1))
    run = Run(out, steps, batch_size, 0.1, **{"workers": 0, "save_every": 10} | options)
    fit({"line": line}, loss, Numbers(steps * 8), run, accelerator)
    return line


def fit_slowly(out):
    """For a process of its own, to be killed."""
    torch.set_num_threads(1)
    line = fit_line(out, 60, seconds=0.02, save_every=3, samples_every=0)  # longer than four late kills
    torch.save(line.state_dict(), out / "line.pt")


def test_the_loop_learns_and_logs_a_curve(tmp_path):
    line = fit_line(tmp_path, 200)
    assert float(line.weight.detach()) == pytest.approx(3, abs=0.3)
    rows = list(csv.DictReader((tmp_path / "curve.csv").open()))
    assert [int(row["step"]) for row in rows] == list(range(200))
    assert float(rows[-1]["loss"]) < 0.05 * float(rows[0]["loss"])


@pytest.mark.parametrize("options", [{}, {"batch_size": 2, "accumulate": 4}], ids=["one batch", "four batches"])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(options, tmp_path):
    whole = fit_line(tmp_path / "whole", 40, **options)
    with pytest.raises(KeyboardInterrupt):
        fit_line(tmp_path / "parts", 40, stop=25, **options)
    resumed = fit_line(tmp_path / "parts", 40, **options)
    assert torch.equal(whole.weight, resumed.weight) and torch.equal(whole.bias, resumed.bias)


def test_a_run_killed_again_and_again_ends_as_one_that_was_not(tmp_path):
    """kill -9 at four random moments after the first checkpoint; the weights are the same, bit for bit."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["deeplens_hf.training.commands"])
    draw = random.Random(0)

    def run(out, kill=False):
        before = checkpoint_time(out)
        process = server.Process(target=fit_slowly, args=(out,))
        process.start()
        while kill and process.is_alive() and checkpoint_time(out) == before:
            time.sleep(0.001)
        if kill:
            time.sleep(draw.uniform(0, 0.1))
            process.kill()
        process.join(120)
        assert process.exitcode == (-signal.SIGKILL if kill else 0)

    def checkpoint_time(out):
        return (out / "checkpoint.pt").stat().st_mtime_ns if (out / "checkpoint.pt").exists() else None

    run(tmp_path / "whole")
    for _ in range(4):
        run(tmp_path / "killed", kill=True)
    assert not (tmp_path / "killed" / "line.pt").exists()
    run(tmp_path / "killed")
    whole, killed = (torch.load(tmp_path / name / "line.pt", weights_only=True) for name in ("whole", "killed"))
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
    assert (tmp_path / "whole" / "curve.csv").read_text() == (tmp_path / "killed" / "curve.csv").read_text()


def test_accumulated_batches_are_one_large_batch(tmp_path):
    large = fit_line(tmp_path / "large", 30)
    parts = fit_line(tmp_path / "parts", 30, batch_size=2, accumulate=4)
    assert torch.allclose(large.weight, parts.weight, atol=1e-5) and torch.allclose(large.bias, parts.bias, atol=1e-5)
    curves = [list(csv.DictReader((tmp_path / name / "curve.csv").open())) for name in ("large", "parts")]
    one, other = ([float(row["loss"]) for row in rows] for rows in curves)
    assert other == pytest.approx(one, abs=2e-5), "a row is the mean of its step"


def test_a_command_that_accumulates_learns_as_with_one_large_batch(tmp_path):
    torch.manual_seed(0)
    DeepLens(DeepLensConfig(depth_width=32, blur_width=8)).save_pretrained(tmp_path / "old")
    common = ("mending", "--from", tmp_path / "old", "--steps", 3, "--scenes", 4, "--size", 64)
    large = train(*common, "--out", tmp_path / "large", "--batch-size", 2)
    parts = train(*common, "--out", tmp_path / "parts", "--batch-size", 1, "--accumulate", 2)
    one, other = (
        [float(row["loss"]) for row in csv.DictReader((weights.parent / "curve.csv").open())]
        for weights in (large, parts)
    )
    assert len(one) == 3 and other == pytest.approx(one, rel=1e-3, abs=2e-5)
    assert json.loads((parts / "training.json").read_text())[-1]["accumulate"] == 2


def test_marks_count_over_the_whole_step():
    """A part of the loss that averages over the marked samples weighs the same however they fall into batches."""
    batches = [{"has_mask": torch.tensor([1.0, 1.0, 1.0])}, {"has_mask": torch.tensor([0.0, 0.0, 1.0])}]
    values = torch.tensor([[3.0, 5.0, 7.0], [0.0, 0.0, 9.0]])
    told = whole_step(batches, launch())
    parts = [(v * b["has_mask"]).sum() / b["has_mask_mean"] for v, b in zip(values, told, strict=True)]
    assert float(sum(parts) / 2) == pytest.approx((3 + 5 + 7 + 9) / 4)


def test_averaged_weights_lag_behind(tmp_path):
    last, slow = fit_line(tmp_path / "last", 15, ema=0.0), fit_line(tmp_path / "slow", 15, ema=0.99)
    assert slow.weight.item() < last.weight.item() - 0.01, "still on the way up to 3"


def test_lower_precision_keeps_weights_in_float32(tmp_path):
    exact, rough = fit_line(tmp_path / "no", 40), fit_line(tmp_path / "bf16", 40, precision="bf16")
    assert rough.weight.dtype == torch.float32
    assert not torch.equal(exact.weight, rough.weight) and torch.allclose(exact.weight, rough.weight, atol=0.1)


def test_a_slow_module_learns_at_its_share_of_the_rate(tmp_path):
    whole, slow = fit_line(tmp_path / "whole", 15), fit_line(tmp_path / "slow", 15, slow={"line": 0.1})
    torch.manual_seed(0)
    start = nn.Linear(1, 1).weight.item()
    assert 0 < slow.weight.item() - start < 0.3 * (whole.weight.item() - start)


def test_the_loss_of_depth_is_taken_in_float32(model, monkeypatch):
    """A GPU refuses cross-entropy in bfloat16; a CPU takes it and says nothing."""
    seen = []
    monkeypatch.setattr(stages, "depth_loss", lambda *maps, **_: seen.append(torch.is_autocast_enabled("cpu")))
    batch = dict.fromkeys(("disparity", "foreground", "has_foreground_mean", "has_disparity_mean"))
    batch |= {"image": torch.rand(1, 3, 32, 32), "has_foreground": None, "has_disparity": None}
    with torch.autocast("cpu", torch.bfloat16):
        stages.depth_stage(model, batch, 0)
    assert seen == [False]


@torch.no_grad()
def test_each_part_of_depth_is_shared_among_the_samples_that_have_it(model):
    image, maps = torch.rand(2, 4, 64, 64, generator=torch.Generator().manual_seed(0)).split((3, 1), 1)
    batch = {"image": image, "disparity": maps, "foreground": maps.round()}
    for name in ("has_disparity", "has_foreground"):
        batch |= {name: torch.ones(2), f"{name}_mean": torch.tensor(2.0)}
    alone = stages.depth_stage(model, batch, 0)
    for name, parts in (("has_disparity", {"disparity", "gradient"}), ("has_foreground", {"foreground", "outline"})):
        among = stages.depth_stage(model, batch | {f"{name}_mean": torch.tensor(4.0)}, 0)
        fewer = {
            part for part in alone if part != "loss" and float(among[part]) == pytest.approx(float(alone[part]) / 2)
        }
        assert fewer == parts


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    fit_line(tmp_path, 20)
    with pytest.raises(ValueError, match="has a run with other samples a step; choose another --out"):
        fit_line(tmp_path, 20, batch_size=4)
    with pytest.raises(ValueError, match="has a run with other samples a step; choose another --out"):
        fit_line(tmp_path, 20, accumulate=2)
    old = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    names = ("modules", "optimiser", "average", "step", "seconds")
    torch.save({name: old[name] for name in names}, tmp_path / "checkpoint.pt")
    fit_line(tmp_path, 30)  # as runs of version 0.1.0 left them
    assert len((tmp_path / "curve.csv").read_text().splitlines()) == 31


def test_a_broken_folder_of_a_run_says_how_to_go_on(tmp_path):
    fit_line(tmp_path, 20)
    (tmp_path / "curve.csv").write_text("")
    fit_line(tmp_path, 30)
    assert len((tmp_path / "curve.csv").read_text().splitlines()) == 11, "an empty curve is none"
    whole = (tmp_path / "checkpoint.pt").read_bytes()
    for name, other in (("weights", {"weight": torch.ones(1)}), ("tensor", torch.ones(1))):
        torch.save(other, tmp_path / name)
    others = [(tmp_path / name).read_bytes() for name in ("weights", "tensor")]
    for broken in (whole[:1000], whole[:-1000], b"", b"no checkpoint", b"hello world\n", *others):
        (tmp_path / "checkpoint.pt").write_bytes(broken)
        with pytest.raises(ValueError, match=r"checkpoint.pt is no whole checkpoint; delete it to begin anew"):
            fit_line(tmp_path, 40)


@pytest.mark.parametrize(
    "spoil, told",
    [
        (lambda weight: weight.sum() * math.nan, "loss is"),
        (lambda weight: (0 * weight).sqrt().sum(), "weights are"),  # 0, of an infinite slope
    ],
)
def test_a_run_that_diverges_stops_and_keeps_its_last_checkpoint(spoil, told, tmp_path):
    line = nn.Linear(1, 1)

    def loss(batch, step):
        error = (line(batch["x"]) - batch["y"]).square().mean()
        return {"loss": error + spoil(line.weight) if step == 19 else error}

    plan = Run(tmp_path, 40, 8, 0.1, workers=0, save_every=10)
    with pytest.raises(
        ValueError,
        match=f"^{told} not finite at step 19: try a lower lr, with another --out; .*checkpoint.pt is of before it$",
    ):
        fit({"line": line}, loss, Numbers(320), plan, launch())
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["step"] == 10 and all(value.isfinite().all() for value in state["average"])


def test_a_finished_run_says_that_it_learns_nothing_more(tmp_path, capsys):
    fit_line(tmp_path, 20)
    assert "nothing is trained anew" not in capsys.readouterr().err
    fit_line(tmp_path, 20)
    assert f"{tmp_path} has all of its 20 steps: nothing is trained anew" in capsys.readouterr().err


def test_the_time_of_a_run_in_parts_is_that_of_all_parts(tmp_path):
    first, second = nn.Linear(1, 1), nn.Linear(1, 1)

    def spend(line, steps, pause):
        def loss(batch, step):
            time.sleep(pause)
            return {"loss": (line(batch["x"]) - batch["y"]).square().mean()}

        return fit({"line": line}, loss, Numbers(80), Run(tmp_path, steps, 8, 0.1, workers=0, save_every=5), launch())

    before = spend(first, 5, 0.2)
    assert before >= 1
    assert spend(second, 10, 0) > before
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["seconds"] > before
    assert spend(second, 10, 0) > before, "nothing is trained anew"


def test_filters_decay_offsets_do_not_and_a_slow_module_learns_at_its_share_of_the_rate(tmp_path):
    modules = {"quick": nn.Linear(3, 2), "slow": nn.Conv2d(1, 2, 3)}
    told = groups(modules, Run(tmp_path, 1, 1, 0.1, weight_decay=0.05, slow={"slow": 0.2}))
    found = {id(each): (group["weight_decay"], group["share"]) for group in told for each in group["params"]}
    for name, share in (("quick", 1.0), ("slow", 0.2)):
        assert found[id(modules[name].weight)] == (0.05, share) and found[id(modules[name].bias)] == (0.0, share)


class Modes(nn.Module):
    """Notes in which mode it is asked."""

    def __init__(self):
        super().__init__()
        self.line, self.seen = nn.Linear(1, 1), set()

    def forward(self, x):
        self.seen.add(self.training)
        return self.line(x)


def test_modules_learn_in_the_mode_of_training_and_are_left_in_that_of_use(tmp_path):
    module = Modes().eval()  # as `from_pretrained` leaves them

    def loss(batch, step):
        return {"loss": (module(batch["x"]) - batch["y"]).square().mean()}

    fit({"line": module}, loss, Numbers(16), Run(tmp_path, 2, 8, 0.1, workers=0), launch())
    assert module.seen == {True} and not module.training


def test_a_full_disk_is_told_and_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    fit_line(tmp_path, 10)

    def full(state, file):
        file.write_bytes(b"half of it")
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match=r"checkpoint.pt could not be written, is the disk full\?"):
        fit_line(tmp_path, 20)
    monkeypatch.undo()
    assert not (tmp_path / "checkpoint.part").exists()
    fit_line(tmp_path, 20)


class Broken(Numbers):
    """As a data set of which a file is gone."""

    def __getitem__(self, position):
        raise PhotoError(f"photo {position}: depth must be there")


@pytest.mark.parametrize("workers", [0, 1])
def test_what_is_wrong_with_data_is_one_sentence(tmp_path, workers):
    line = nn.Linear(1, 1)
    plan = Run(tmp_path, 1, 8, 0.1, workers=workers)
    with pytest.raises(ValueError, match="^photo 0: depth must be there$"):
        fit({"line": line}, lambda batch, step: {"loss": line(batch["x"]).mean()}, Broken(8), plan, launch())


class ManyTensors(Numbers):
    """As a network that looks at what it is given."""

    def __init__(self, length):
        super().__init__(length)
        self.tensors = [torch.zeros(1) for _ in range(300)]


def test_a_forkserver_is_not_asked_to_send_a_network(tmp_path, monkeypatch):
    """Python 3.14's own way to start workers; it takes 250 tensors at most."""
    default = multiprocessing.context._default_context
    monkeypatch.setattr(default, "_actual_context", multiprocessing.get_context("forkserver"))
    line = nn.Linear(1, 1)
    plan = Run(tmp_path, 1, 8, 0.1, workers=1)
    fit({"line": line}, lambda batch, step: {"loss": line(batch["x"]).mean()}, ManyTensors(8), plan, launch())
    assert len((tmp_path / "curve.csv").read_text().splitlines()) == 2


def test_sample_pictures_show_the_averaged_weights(tmp_path):
    line, shown = nn.Linear(1, 1), []

    def picture(batch):
        assert not torch.is_autocast_enabled("cpu"), "light is mixed in float32"
        shown.append(line.weight.item())
        return torch.full((3, 8, 8), 0.5)

    def loss(batch, step):
        return {"loss": (line(batch["x"]).float() - batch["y"]).square().mean()}

    run = Run(tmp_path, 20, 8, 0.1, workers=0, samples_every=10)
    fit({"line": line}, loss, Numbers(160), run, launch(precision="bf16"), picture)
    assert sorted(file.name for file in (tmp_path / "samples").iterdir()) == ["step-000010.png", "step-000020.png"]
    assert Image.open(tmp_path / "samples" / "step-000010.png").getpixel((0, 0)) == (128, 128, 128)
    assert shown[-1] == line.weight.item(), "those that are kept in the end"
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert len(events.Scalars("loss")) == 20 and len(events.Images("sample")) == 2


def test_the_learning_rate_warms_up_and_decays(tmp_path):
    plan = Run(tmp_path, 1000, 1, 1.0)
    rates = [learning_rate(plan, step) for step in range(1000)]
    assert rates[0] < 0.05 and max(rates) == pytest.approx(1, abs=0.01) and rates[-1] < 0.03
    assert rates.index(max(rates)) == pytest.approx(30, abs=2)


def test_a_manifest_is_read_by_split(data):
    records = labelled_photos(data, "train")
    assert len(records) == 3 and len(labelled_photos(data, "val")) == 1
    with pytest.raises(ValueError, match="no manifest.jsonl"):
        labelled_photos(data / "photos" / "train", "train")


@pytest.mark.parametrize(
    "line, message",
    [
        ('{"id": "0", "foreground": null, "split": "train"}', "must have the field group"),
        ("id: 0", "must be an object of JSON"),
        ("[0]", "must be an object of JSON"),
        ('{"id": "9", "group": "toy", "foreground": null, "split": "train"}', "must have a file .*9.jpg"),
        ('{"id": "0", "group": "toy", "foreground": "given", "split": "train"}', "must have a file .*0.foreground.png"),
    ],
)
def test_a_manifest_is_told_by_line_what_it_lacks(tmp_path, line, message):
    (tmp_path / "train").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "train" / "0.jpg")
    whole = '{"id": "0", "group": "toy", "foreground": null, "split": "train"}\n\n'
    (tmp_path / "manifest.jsonl").write_text(whole)
    assert len(labelled_photos(tmp_path, "train")) == 1, "a blank line is none"
    (tmp_path / "manifest.jsonl").write_text(whole + line)
    with pytest.raises(ValueError, match=f"manifest.jsonl, line 3, {message}"):
        labelled_photos(tmp_path, "train")


def test_scenes_are_traced_once_and_shown_in_many_ways(tmp_path):
    scenes = RenderedScenes([], tmp_path, scenes=1, length=9, seed=0, size=64)
    samples = [scenes[i] for i in range(9)]
    files = list(tmp_path.iterdir())
    assert len(files) == 1
    assert len({tuple(s["image"].flatten()[:300].tolist()) for s in samples}) > 3
    assert all(torch.equal(scenes[4][name], samples[4][name]) for name in samples[4])


def test_each_machine_draws_ahead_on_its_own_gpus_and_begins_elsewhere(tmp_path, monkeypatch):
    """A machine's first process draws, into a cache of its own as into one that all share; by the GPU's number, since
    the processes that draw for it count from the first one."""
    drawn = []
    monkeypatch.setattr("deeplens_hf.training.scenes.drawn.ProcessPoolExecutor", ThreadPoolExecutor)  # same arguments
    monkeypatch.setattr(RenderedScenes, "keep", lambda scenes, index: drawn.append((scenes.device, index)))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    args = arguments("mending", "--out", tmp_path, "--scenes", 8, "--workers", 1)
    for first, order in ((0, [0, 1, 2, 3, 4, 5, 6, 7]), (2, [4, 5, 6, 7, 0, 1, 2, 3])):  # of two GPUs a machine
        process = {"device": torch.device("cuda"), "process_index": first, "num_processes": 4}
        accelerator = SimpleNamespace(**process, local_main_process_first=nullcontext)
        drawn.clear()
        assert Course(args, None, [], accelerator, 1, 1).scenes().device == "cuda:1"
        assert drawn == [("cuda:1", index) for index in order]


def test_rendering_learns_from_traced_scenes_and_from_layers_in_turns(tmp_path):
    traced, layers = (
        kind([], tmp_path, scenes=2, length=16, seed=0, size=64) for kind in (RenderedScenes, HiddenScenes)
    )
    samples = InTurns(traced, layers, samples=2)  # a step
    assert len(samples) == 16
    assert [step for step in range(8) if "target" in samples[2 * step]] == [0, 1, 2, 4, 5, 6]
    assert [stages.halvings(step) for step in range(8) if "target" in samples[2 * step]] == [0, 1, 0, 0, 2, 0]

    torch.manual_seed(0)
    model = DeepLens(DeepLensConfig(depth_width=32, blur_width=8))
    parts = [stages.render_stage(model, {k: v[None] for k, v in samples[2 * step].items()}, step) for step in (2, 3)]
    assert parts[0].keys() == parts[1].keys(), "one curve shows both"
    parts[1]["loss"].backward()
    learned = {name.split(".")[1] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert learned == {"surfaces"}, "layers teach what edges hide"


def test_scenes_are_rendered_through_their_own_lens():
    disparity = torch.tensor([0.2, 0.5, 0.8]).view(1, 1, 1, 3)
    batch = {"image": torch.rand(1, 3, 1, 3), "disparity": disparity, "foreground": (disparity > 0.6).float()}
    batch |= {"focus": torch.tensor([0.5]), "radius": torch.tensor([10.0])}
    model = SimpleNamespace(render_defocus=lambda *given: given)
    image, defocus, foreground, halvings = stages.render_scenes(model, batch, 2)
    assert defocus.flatten().tolist() == pytest.approx([-3, 0, 3], abs=1e-5), "pixels, what is nearer above 0"
    assert image is batch["image"] and foreground is batch["foreground"] and halvings == 2


def test_light_that_nobody_knows_teaches_nothing():
    shown = torch.full((1, 3, 32, 32), 0.5)
    light = stages.srgb_to_linear(shown)
    light[..., 8:16, 8:16] = 4
    model = SimpleNamespace(lens_blur=SimpleNamespace(recovered=lambda light: 2 * light))
    batch = {"image": shown, "light": light}
    unknown, known = (
        stages.highlights_stage(model, batch | {"known": torch.full((1, 1, 32, 32), all_of_it)}, 0)["loss"]
        for all_of_it in (False, True)
    )
    assert float(unknown) < 0.01 < 0.1 < float(known)


def test_end_to_end_depth_is_learned_from_photos_too_and_fitted_to_the_scene(tmp_path, monkeypatch):
    torch.manual_seed(0)
    model = DeepLens(DeepLensConfig(depth_width=32, blur_width=8)).eval()
    scene = {name: value[None] for name, value in RenderedScenes([], tmp_path, 1, 1, 0, 64)[0].items()}
    photo = {"image": torch.rand(1, 3, 64, 64), "disparity": torch.rand(1, 1, 64, 64)}
    photo |= {"foreground": photo["disparity"].round()}
    photo |= {f"has_{name}{of}": torch.ones(1) for name in ("disparity", "foreground") for of in ("", "_mean")}
    batch = scene | {f"photo_{name}": value for name, value in photo.items()}
    affine = SimpleNamespace(disparity=0.2 + 0.3 * scene["disparity"], foreground=scene["foreground"])
    monkeypatch.setattr(model, "predict_depth", lambda image: affine)
    with torch.no_grad():
        parts, wanted = stages.end_to_end(model, batch, 0), stages.render_stage(model, scene, 0)
    for name in ("colour", "gradient", "noise"):
        assert float(parts[name]) == pytest.approx(float(wanted[name]), rel=0.01), (
            "the scale is not the model's to know"
        )
    assert float(parts["depth"]) > 0.5
    assert float(parts["loss"]) == pytest.approx(float(wanted["loss"] + 0.1 * parts["depth"]), rel=0.01)


def test_a_frozen_lens_blur_learns_nothing_from_layers(tmp_path):
    torch.manual_seed(0)
    DeepLens(DeepLensConfig(depth_width=32, blur_width=8)).save_pretrained(tmp_path / "old")
    arguments = ("--from", tmp_path / "old", "--steps", 4, "--batch-size", 1, "--scenes", 2, "--size", 64)
    after = train("render", "--out", tmp_path, *arguments, "--freeze", "lens_blur")
    old, new = (DeepLens.from_pretrained(folder).state_dict() for folder in (tmp_path / "old", after))
    changed = {name.split(".")[0] for name in new if not torch.equal(old[name].half(), new[name].half())}
    assert changed == {"upsampling", "mending"}


@pytest.mark.slow
def test_every_stage_trains_resumes_and_keeps_its_record(data, tmp_path):
    common = ("--data", data, "--seed", 4, "--batch-size", 1)
    render = train("render", *common, "--out", tmp_path / "render", "--steps", 4, "--size", 64, "--scenes", 2)
    again = train("render", *common, "--out", tmp_path / "render", "--steps", 4, "--size", 64, "--scenes", 2)
    first, second = (DeepLens.from_pretrained(folder).state_dict() for folder in (render, again))
    assert all(torch.equal(first[name], second[name]) for name in first), "a finished run changes nothing"

    started = ("--from", render, "--steps", 2)
    depth = train("depth", *common, *started, "--out", tmp_path / "depth")
    trained = DeepLens.from_pretrained(depth).state_dict()
    changed = {name.split(".")[0] for name in trained if not torch.equal(trained[name], first[name])}
    assert changed == {"depth"}, "each stage trains its own modules"

    end = ("--from", depth, "--steps", 3, "--size", 64, "--scenes", 2, "--cache", tmp_path / "render" / "scenes")
    whole = train("all", *common, *end, "--out", tmp_path / "all")
    final = DeepLens.from_pretrained(whole).state_dict()
    changed = {name.split(".")[0] for name in final if not torch.equal(final[name], trained[name])}
    assert changed == {"depth", "mending", "lens_blur", "upsampling"}
    assert [entry["stage"] for entry in json.loads((whole / "training.json").read_text())] == ["render", "depth", "all"]


def test_a_run_given_again_with_other_options_is_refused_and_keeps_its_record(data, tmp_path):
    for name in ("old", "other"):
        DeepLens(DeepLensConfig(depth_width=32, blur_width=8)).save_pretrained(tmp_path / name)
    common = ("mending", "--out", tmp_path, "--batch-size", 1, "--scenes", 2, "--size", 64)
    start = ("--from", tmp_path / "old", "--steps", 2)
    record = train(*common, *start) / "training.json"
    told = record.read_text()
    for name, *other in (
        ("lr", "--lr", 0.5),
        ("seed", "--seed", 1),
        ("scenes", "--scenes", 3),
        ("precision", "--precision", "bf16"),
        ("photos", "--data", data),
        ("weights to start from", "--from", tmp_path / "other"),
        ("lr, ema", "--lr", 0.5, "--ema", 0.9),
    ):
        with pytest.raises(
            ValueError, match=f"has a run with other {name}; choose another --out or that run's options"
        ):
            train(*common, *start, *other)
    with pytest.raises(ValueError, match="steps must be at least the 2 that are done in .*; got 1"):
        train(*common, *start, "--steps", 1)
    assert record.read_text() == told
    train(*common, *start, "--steps", 3)
    assert json.loads(record.read_text())[-1]["steps"] == 3, "a run may go on"


def test_orientation_trains_alone_and_gives_old_weights_what_they_lack(data, tmp_path):
    torch.manual_seed(0)
    old = DeepLens(DeepLensConfig(depth_width=32, blur_width=8, format_version=2))
    old.save_pretrained(tmp_path / "old")
    start = ("--data", data, "--from", tmp_path / "old")
    newer = DeepLens.from_pretrained(train("orientation", *start, "--out", tmp_path, "--steps", 3, "--batch-size", 4))
    weights = newer.state_dict()
    assert all(torch.equal(value.half(), weights[name].half()) for name, value in old.state_dict().items())
    assert float(newer.orientation.write.weight.detach().abs().max()) > 0, "it starts at zero"
    with pytest.raises(ValueError, match="train orientation needs --data"):
        train("orientation", "--out", tmp_path / "none")


def test_mending_trains_alone_and_gives_old_weights_what_they_lack(tmp_path):
    torch.manual_seed(0)
    old = DeepLens(DeepLensConfig(depth_width=32, blur_width=8, format_version=1))
    old.save_pretrained(tmp_path / "old")
    arguments = ("--out", tmp_path, "--steps", 2, "--batch-size", 2, "--scenes", 3, "--size", 64)
    newer = DeepLens.from_pretrained(train("mending", "--from", tmp_path / "old", *arguments))
    assert newer.config.format_version == 7, "as much as mending asks for"
    weights = newer.state_dict()
    assert all(torch.equal(value.half(), weights[name].half()) for name, value in old.state_dict().items())
    assert float(newer.mending.write.bias.detach().abs().max()) > 0, "it starts at zero"
    assert sorted(file.name.split("-")[0] for file in (tmp_path / "scenes").iterdir()) == ["flawed"] * 3


@pytest.mark.slow
def test_highlights_train_alone_and_need_slabs(tmp_path):
    lit = tmp_path / "lit"
    lit.mkdir()
    gleam = torch.full((3, 64, 64), 0.3)
    gleam[:, 20:30, 20:30] = 6.0
    np.save(lit / "day-0-64-00000.npy", gleam.half().numpy())
    small = ("--steps", 2, "--batch-size", 6, "--scenes", 3, "--size", 64)
    arguments = ("highlights", "--out", tmp_path, "--lit", lit, *small)
    before = DeepLens.from_pretrained(train("render", "--out", tmp_path / "start", "--steps", 1, "--batch-size", 1,
                                            "--scenes", 1, "--size", 64))  # fmt: skip
    after = DeepLens.from_pretrained(train(*arguments, "--from", tmp_path / "start" / "weights", "--ema", 0))
    moved = {
        name.split(".")[1]
        for (name, old), new in zip(before.named_parameters(), after.parameters(), strict=True)
        if not torch.equal(old, new)
    }
    assert moved == {"highlights", "gleams"}
    record = json.loads((tmp_path / "weights" / "training.json").read_text())
    assert [entry["stage"] for entry in record] == ["render", "highlights"] and record[1]["lit"] == 1
    with pytest.raises(ValueError, match="lens_blur slabs"):
        train(*arguments, "--lens-blur", "convolutional")


@pytest.mark.parametrize("other", [{"depth_width": 64}, {"depth_width": 32, "encoder": "efficientnet-lite2"}])
def test_depth_is_taken_from_weights_with_the_same_network_alone(other, tmp_path):
    DeepLens(DeepLensConfig(depth_width=32, blur_width=8)).save_pretrained(tmp_path / "own")
    DeepLens(DeepLensConfig(blur_width=8, **other)).save_pretrained(tmp_path / "donor")
    told = (
        "depth_from must have the model's depth network, encoder mobilenet_v2, depth_width 32; .*donor has encoder .*"
    )
    words = ("render", "--from", tmp_path / "own", "--depth-from", tmp_path / "donor", "--out", tmp_path / "out")
    with pytest.raises(ValueError, match=f"^{told}$"):
        train(*words)


def test_depth_taken_from_other_weights_is_theirs_and_so_is_its_record(tmp_path):
    for seed, (name, stage) in enumerate((("own", "render"), ("donor", "depth"))):
        torch.manual_seed(seed)
        DeepLens(DeepLensConfig(depth_width=32, blur_width=8)).save_pretrained(tmp_path / name)
        (tmp_path / name / "training.json").write_text(json.dumps([{"stage": stage}]))
    start = ("--from", tmp_path / "own", "--depth-from", tmp_path / "donor")
    after = train("mending", *start, "--out", tmp_path, "--steps", 1, "--batch-size", 1, "--scenes", 1, "--size", 64)
    own, donor, new = (
        DeepLens.from_pretrained(each).state_dict() for each in (*map(tmp_path.joinpath, ("own", "donor")), after)
    )
    for name, value in new.items():
        if not name.startswith("mending."):
            assert torch.equal(value.half(), (donor if name.startswith("depth.") else own)[name].half()), name
    assert [entry["stage"] for entry in json.loads((after / "training.json").read_text())] == [
        "depth",
        "render",
        "mending",
    ]


def test_a_share_of_the_weights_started_from_is_kept(tmp_path):
    torch.manual_seed(0)
    DeepLens(DeepLensConfig(depth_width=32, blur_width=8)).save_pretrained(tmp_path / "old")
    common = ("--from", tmp_path / "old", "--steps", 2, "--batch-size", 1, "--scenes", 2, "--size", 64, "--ema", 0)
    all_new, half_new = (train("mending", *common, "--out", tmp_path / str(keep), "--keep", keep) for keep in (0, 0.5))
    old, new, between = (
        DeepLens.from_pretrained(each).mending.state_dict() for each in (tmp_path / "old", all_new, half_new)
    )
    assert float((new["write.bias"] - old["write.bias"]).abs().max()) > 1e-4
    for name, value in between.items():
        torch.testing.assert_close(value, (old[name] + new[name]) / 2, atol=1e-4, rtol=2e-3)
    assert json.loads((half_new / "training.json").read_text())[-1]["keep"] == 0.5


def test_a_record_that_cannot_be_had_offline_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repo, commit = tmp_path / "models--lab--lens", 40 * "a"
    for folder in ("refs", f"snapshots/{commit}", f".no_exist/{commit}"):
        (repo / folder).mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    assert read_record("lab/lens") == []
    told = capsys.readouterr().err
    assert told.startswith("deeplens: lab/lens: training.json is not in the cache") and told.count("\n") == 1
    (repo / ".no_exist" / commit / "training.json").touch()
    assert read_record("lab/lens") == [] and capsys.readouterr().err == "", "known to have none"
    (repo / "snapshots" / commit / "training.json").write_text('[{"stage": "depth"}]')
    assert read_record("lab/lens") == [{"stage": "depth"}] and capsys.readouterr().err == ""


def test_the_2018_variant_trains_without_any_data(tmp_path):
    weights = train(
        "render", "--out", tmp_path, "--lens-blur", "convolutional", "--steps", 2, "--batch-size", 1,
        "--size", 64, "--scenes", 2,
    )  # fmt: skip
    assert DeepLens.from_pretrained(weights).config.lens_blur == "convolutional"


def test_a_new_model_is_that_of_its_seed(tmp_path):
    common = ("render", "--lens-blur", "convolutional", "--steps", 1, "--batch-size", 1, "--size", 64, "--scenes", 1)
    heads = []
    for number, seed in enumerate((3, 3, 4)):
        torch.manual_seed(number)  # whatever the program did before
        weights = train(*common, "--seed", seed, "--out", tmp_path / str(number), "--cache", tmp_path / "scenes")
        heads.append(DeepLens.from_pretrained(weights).depth.disparity_head.state_dict())
    one, again, other = ([value for value in head.values() if value.ndim > 1] for head in heads)
    assert all(map(torch.equal, one, again)) and not any(map(torch.equal, one, other))


def test_the_outline_counts_in_the_loss_of_depth_as_much_as_is_asked_for(data, tmp_path):
    torch.manual_seed(0)
    DeepLens(DeepLensConfig(depth_width=32, blur_width=8)).save_pretrained(tmp_path / "old")
    words = ("depth", "--data", data, "--from", tmp_path / "old", "--out", tmp_path, "--steps", 1, "--batch-size", 1)
    train(*words, "--sources", "photos=0,collage=1,tabletop=0,layered=0", "--outline-weight", 3)
    (row,) = csv.DictReader((tmp_path / "curve.csv").open())
    parts = {name: float(value) for name, value in row.items()}
    assert parts["outline"] > 0.1 and parts["disparity"] == parts["gradient"] == 0
    assert parts["loss"] == pytest.approx(parts["foreground"] + 3 * parts["outline"], rel=1e-3)


@pytest.mark.slow
def test_frozen_modules_stay_as_they_are(data, model_folder, tmp_path):
    common = ("depth", "--data", data, "--from", model_folder, "--steps", 1, "--batch-size", 1, "--precision", "bf16")
    frozen = ("--freeze", "depth.encoder", "depth.pyramid")
    after = DeepLens.from_pretrained(train(*common, "--out", tmp_path / "out", *frozen)).state_dict()
    before = DeepLens.from_pretrained(model_folder).state_dict()
    changed = {".".join(name.split(".")[:2]) for name in after if not torch.equal(after[name], before[name])}
    assert "depth.up" in changed and not changed & {"depth.encoder", "depth.pyramid", "lens_blur", "upsampling"}
    with pytest.raises(ValueError, match="freeze must name modules of the model .depth, depth.encoder, .*got 'head'"):
        train(*common, "--out", tmp_path / "out", "--freeze", "head")


def test_a_stage_that_needs_photos_says_so(tmp_path):
    with pytest.raises(ValueError, match="train depth needs --data"):
        train("depth", "--out", tmp_path)
    photos = tmp_path / "photos"
    photos.mkdir()
    with pytest.raises(ValueError, match="out must lie outside the data folder"):
        train("render", "--data", photos, "--out", photos / "run")
    Image.new("RGB", (64, 64)).save(tmp_path / "moth.jpg")
    for option, value, message in (
        ("--data", tmp_path / "moth.jpg", "data must be a folder of pictures .*; got the file .*moth.jpg"),
        ("--data", tmp_path / "nowhere", "data must be a folder of pictures .*; there is no folder .*nowhere"),
        ("--data", "./nowhere", "data must be a folder of pictures .*; there is no folder ./nowhere"),
        ("--out", tmp_path / "moth.jpg", "out must be a folder, made if there is none; got the file .*moth.jpg"),
        ("--data", photos, "data must be a folder of pictures .*; .*photos has no pictures"),
        ("--steps", 0, "steps must be at least 1"),
        ("--accumulate", 0, "accumulate must be at least 1"),
        ("--ema", 1, "ema must be from 0 to below 1"),
        ("--seed", -1, "seed must be 0 or more; got -1"),
        ("--lr", 0, "lr must be a finite number above 0; got 0.0"),
        ("--lr", "nan", "lr must be a finite number above 0; got nan"),
        ("--lr", "inf", "lr must be a finite number above 0; got inf"),
        ("--outline-weight", -1, "outline_weight must be a finite number, 0 or more; got -1"),
        ("--outline-weight", "nan", "outline_weight must be a finite number, 0 or more; got nan"),
        ("--columns", "depth", "columns must be ROLE=NAME"),
        ("--push-to", "me", "push_to must be owner/name"),
    ):
        with pytest.raises(ValueError, match=message):
            train("render", "--out", tmp_path / "run", option, value)
    with pytest.raises(ValueError, match="workers must be 0 or more; got -1"):
        check(arguments("render", "--out", tmp_path, "--workers", -1))
    with pytest.raises(ValueError, match="streaming needs --data"):
        train("render", "--out", tmp_path, "--streaming")


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(ValueError, match=f"device must be a device of this machine, got '{device}'"):
        launch(device)


@pytest.mark.parametrize(
    "command, message",
    [
        ("render --sources photos=1", "sources is for train depth, large; not for train render"),
        (
            "render --lit nowhere --tabletops 5",
            "tabletops is for train depth, large; lit is for .*highlights; not for train render",
        ),
        ("all --outline-weight 9", "outline_weight is for train depth"),
        ("render --data photos --labels foo", "labels is for train depth, .*all; not for train render"),
        ("render --columns image=x", "columns needs --data with a data set or an image folder"),
        ("render --split val", "split needs --data"),
        ("render --private", "private goes with push_to"),
        ("depth --data photos --size 64", "size is for train highlights, .*; not for train depth"),
        ("depth --data photos --streaming --scenes 9", "scenes is for .*; not for train depth --streaming"),
        ("depth --data photos --streaming --ensemble weights", "ensemble is for train depth; not for .*--streaming"),
        (
            "large --data photos --depth-from weights --encoder resnet-50",
            "depth_from is for .*; encoder is for .*large",
        ),
        ("orientation --data photos --cache here", "cache is for .*; not for train orientation"),
        ("render --from weights --lens-blur convolutional", "lens_blur is of a new model"),
    ],
)
def test_no_option_is_ignored_without_a_word(command, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        train(*command.split(), "--out", tmp_path / "out")


def test_an_unknown_lens_blur_is_told_with_those_there_are(tmp_path, capsys):
    with pytest.raises(SystemExit):
        train("depth", "--data", tmp_path, "--out", tmp_path / "out", "--lens-blur", "foo")
    assert "choose from" in capsys.readouterr().err


def test_render_loss_is_nothing_for_the_truth_and_gains_as_much_in_good_pictures_as_in_poor_ones():
    truth = torch.full((1, 3, 16, 16), 0.5)
    assert float(render_loss(truth, truth)["loss"]) == 0
    poor, better, good, best = (render_loss(truth + error, truth)["noise"] for error in (0.2, 0.1, 0.04, 0.02))
    assert float(poor - better) == pytest.approx(6.02, abs=0.01) and float(good - best) == pytest.approx(6.02, abs=0.15)
    stripes = truth + 0.1 * (torch.arange(16) % 2)
    parts = render_loss(stripes, truth)
    assert float(parts["colour"]) == pytest.approx(0.05) and float(parts["gradient"]) == pytest.approx(0.1)
