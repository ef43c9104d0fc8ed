"""The training of PoseNet: targets, learning, resuming after a kill, and an equivalent export."""

import dataclasses
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from models.conversion.graph import candidate_outputs, image_input, posenet_outputs, prepare, to_graph, unfuse
from models.conversion.tfjs import load_graph_model, read_weights
from models.decoders.posenet import DecodeParams, cell_origin_px, decode_poses
from models.decoders.skeleton import PART_CHAIN
from models.demo_model.accuracy import measure, render_test_set
from models.demo_model.feed import FeedPlan, FrameBatch, FrameFeed, render_batch
from models.demo_model.network import losses, make_targets, run_network
from models.demo_model.params import Stage, TrainingError, TrainParams
from models.demo_model.train import (
    CHECKPOINT_FILE,
    CURVES_FILE,
    LOSSES_FILE,
    Progress,
    Stepper,
    learning_rate,
    load,
    start,
    train,
    trained_variables,
)
from models.demo_model.write_tfjs import WEIGHTS_FILE, write_graph_model, write_posenet
from models.heavy.tensorflow import tf
from models.inference.sizes import InputSize
from models.synthetic.frame import TEST_SET, SceneParams

SCENE = SceneParams(people=(1, 2), height=(0.5, 0.9))
TINY = TrainParams(
    seed=3, steps=50, warmup_steps=4, stages=(Stage(0.5, 48, SCENE, 2, balance=0.0), Stage(1.0, 64, SCENE, 3))
)
EVEN = np.ones(17, np.float32)
RADIUS = 16.0


def empty_batch(plan: FeedPlan) -> FrameBatch:
    return FrameBatch(np.zeros(plan.image_shape, np.uint8), np.zeros(plan.people_shape, np.float32))


def two_people() -> np.ndarray:
    """(1, 3, 17, 3): two people at random places of 96 pixels, a few keypoints outside; the third is nobody."""
    rng = np.random.default_rng(5)
    people = np.zeros((1, 3, 17, 3), np.float32)
    people[0, :2, :, :2] = rng.uniform(0, 96, (2, 17, 2))
    people[0, :2, :, 2] = rng.integers(0, 3, (2, 17))
    return people


def plain_targets(people: np.ndarray, cells: int, origin_px: int) -> dict[str, np.ndarray]:
    """Return the same by plain loops, for this number of cells down and across; NaN = not counted."""
    found = {
        "heatmap": np.zeros((cells, cells, 17)),
        "offset": np.full((cells, cells, 17, 2), np.nan),
        "forward": np.full((cells, cells, 16, 2), np.nan),
        "backward": np.full((cells, cells, 16, 2), np.nan),
    }
    for row in range(cells):
        for column in range(cells):
            at_y, at_x = 16 * row + origin_px, 16 * column + origin_px
            for keypoint in range(17):
                near = [
                    (np.hypot(x - at_x, y - at_y), number)
                    for number, (x, y, flag) in enumerate(people[:, keypoint])
                    if flag > 0 and np.hypot(x - at_x, y - at_y) <= RADIUS
                ]
                if not near:
                    continue
                person = people[min(near)[1]]
                found["heatmap"][row, column, keypoint] = 1
                found["offset"][row, column, keypoint] = person[keypoint, 1::-1] - (at_y, at_x)
                for edge, (parent, child) in enumerate(PART_CHAIN):
                    if keypoint in (parent, child) and person[parent, 2] > 0 and person[child, 2] > 0:
                        along = person[child, 1::-1] - person[parent, 1::-1]
                        way, sign = ("forward", 1) if keypoint == parent else ("backward", -1)
                        found[way][row, column, edge] = sign * along
    return found


def channels(values: tf.Tensor) -> np.ndarray:
    """Targets (n, h, w, k, 2) as a head gives them: (n, h, w, 2 k), y values before x values."""
    return np.moveaxis(values.numpy(), -1, -2).reshape(*values.shape[:3], -1)


@pytest.mark.parametrize(("size_px", "cells", "origin_px"), [(96, 6, 15), (97, 7, 0), (104, 7, 7)])
def test_targets_equal_those_of_a_plain_reference(size_px: int, cells: int, origin_px: int) -> None:
    people = two_people()
    targets = make_targets(tf.constant(people), size_px, RADIUS)
    plain = plain_targets(people[0], cells, origin_px)
    assert np.array_equal(targets.heatmap[0].numpy(), plain["heatmap"])
    for name, mask in (
        ("offset", targets.heatmap),
        ("forward", targets.forward_mask),
        ("backward", targets.backward_mask),
    ):
        counts = mask[0].numpy() > 0
        assert np.array_equal(counts, ~np.isnan(plain[name][..., 0])), name
        np.testing.assert_allclose(getattr(targets, name)[0].numpy()[counts], plain[name][counts], rtol=0, atol=1e-4)


def test_the_decoder_finds_people_in_perfect_outputs() -> None:
    """Targets as outputs: the decoder reads exactly the targets of the training."""
    batch = empty_batch(FeedPlan(8, 6, 224, SceneParams(people=(1, 1), height=(0.4, 0.9), cut=0.0)))
    render_batch(FeedPlan(8, 6, 224, SceneParams(people=(1, 1), height=(0.4, 0.9), cut=0.0)), 0, batch)
    targets = make_targets(tf.constant(batch.people), 224, RADIUS)
    for frame in range(6):
        outputs = {
            "heatmap": 20 * targets.heatmap.numpy()[frame] - 10,
            "offset_2": channels(targets.offset)[frame],
            "displacement_fwd_2": channels(targets.forward)[frame],
            "displacement_bwd_2": channels(targets.backward)[frame],
        }
        poses = decode_poses(outputs, DecodeParams(origin_px=cell_origin_px(224), keypoint_score_threshold=0.0))
        truth = batch.people[frame, 0]
        there = truth[:, 2] > 0
        assert len(poses.scores) >= 1
        np.testing.assert_allclose(poses.keypoints[0][there], truth[there, :2], atol=0.01)


def test_perfect_outputs_have_perfect_figures() -> None:
    """Evaluation and targets use the same cell origin: a wrong one would lose nearly all of AP."""
    plan = FeedPlan(8, 8, 224, SceneParams(people=(1, 1), height=(0.4, 0.9), cut=0.0, hidden=0.0))
    frames = render_test_set(9, plan.batch_size, plan.size, plan.scene)
    people = np.stack([np.dstack([one.keypoints, one.visibility]) for one in frames.people])[:, None, 0]
    targets = make_targets(tf.constant(people), plan.size, RADIUS)

    def infer(images: np.ndarray) -> dict[str, np.ndarray]:
        return {
            "heatmap": 20 * targets.heatmap.numpy() - 10,
            "offset_2": channels(targets.offset),
            "displacement_fwd_2": channels(targets.forward),
            "displacement_bwd_2": channels(targets.backward),
        }

    found = measure(infer, frames, frames)
    assert found.ap > 0.95
    assert found.pck_box > 0.99


def test_perfect_outputs_have_zero_loss() -> None:
    targets = make_targets(tf.constant(two_people()), 96, RADIUS)
    heads = {
        "heatmap_2": 60 * targets.heatmap - 30,
        "offset_2": channels(targets.offset),
        "displacement_fwd_2": channels(targets.forward),
        "displacement_bwd_2": channels(targets.backward),
    }
    assert all(float(value) < 1e-5 for value in losses(heads, targets, RADIUS, EVEN).values())
    heads["offset_2"] += 1.6  # a tenth of the radius, in y and x
    assert float(losses(heads, targets, RADIUS, EVEN)["offset"]) == pytest.approx(0.2, rel=0.05)


def test_the_cell_that_the_decoder_reads_last_has_more_weight() -> None:
    """For the offsets around a keypoint, the same error costs more at the nearest cell than at its neighbour."""
    people = np.zeros((1, 1, 17, 3), np.float32)
    people[0, 0, 0] = (50, 47, 2)  # 3 px right of the cell at column 2, row 2; 13 px left of the next one
    targets = make_targets(tf.constant(people), 96, RADIUS)
    assert targets.heatmap[0, 2, 2, 0] == targets.heatmap[0, 2, 3, 0] == 1

    def cost(row: int, column: int) -> float:
        found = targets.offset.numpy()
        found[0, row, column, 0] += 8
        heads = {
            "heatmap_2": 60 * targets.heatmap - 30,
            "offset_2": channels(tf.constant(found)),
            "displacement_fwd_2": tf.zeros((1, 6, 6, 32)),
            "displacement_bwd_2": tf.zeros((1, 6, 6, 32)),
        }
        return float(losses(heads, targets, RADIUS, EVEN)["offset"])

    assert cost(2, 2) > 2 * cost(2, 3) > 0
    assert cost(5, 5) < 1e-6


def test_balance_gives_the_face_more_weight() -> None:
    even, sharp = (Stage(1, 48, SCENE, balance=balance).keypoint_weights() for balance in (0.0, 1.0))
    assert (even == 1).all()
    assert sharp.mean() == pytest.approx(1)
    assert sharp[1] / sharp[11] == pytest.approx(107 / 25)


@pytest.mark.slow
def test_some_steps_on_the_same_pictures_lower_the_losses() -> None:
    plan = FeedPlan(4, 4, 64, SCENE)
    batch = empty_batch(plan)
    render_batch(plan, 0, batch)
    stepper = Stepper(TINY, start(TINY))
    found = np.array([stepper.step(batch, step, 3e-3).numpy() for step in range(30)])
    assert (found[-3:].mean(axis=0) < 0.75 * found[:3].mean(axis=0)).all(), found[[0, -1]]


@pytest.mark.slow
def test_batches_do_not_depend_on_renderers_or_the_start() -> None:
    plan = FeedPlan(6, 2, 48, SCENE)
    with FrameFeed(plan, 0, 2) as feed:
        whole = [feed.take() for _ in range(5)]
    with FrameFeed(plan, 3, 1) as feed:
        rest = [feed.take() for _ in range(2)]
    for a, b in zip(whole[3:], rest, strict=True):
        assert a.images.tobytes() == b.images.tobytes()
        assert a.people.tobytes() == b.people.tobytes()
    assert whole[0].images.tobytes() != whole[1].images.tobytes()


def take_some(feed: FrameFeed) -> None:
    for _ in range(4):
        feed.take()


def test_a_dead_renderer_is_reported() -> None:
    with FrameFeed(FeedPlan(6, 2, 48, SCENE), 0, 1) as feed:
        feed.take()
        process = feed.lanes[0][3]
        process.kill()
        process.join()
        with pytest.raises(RuntimeError, match="start the training again, which resumes"):
            take_some(feed)


def _train_slowly(folder: str) -> None:
    train(TINY, Path(folder), processes=1, checkpoint_s=0.0)


@pytest.mark.slow
def test_a_killed_training_resumes_and_ends_with_equal_weights(tmp_path: Path) -> None:
    """Send SIGKILL after a checkpoint in the middle; then run the same command again."""
    whole = train(TINY, tmp_path / "whole", processes=1)
    process = multiprocessing.get_context("spawn").Process(target=_train_slowly, args=(str(tmp_path / "killed"),))
    process.start()
    path = tmp_path / "killed" / CHECKPOINT_FILE
    deadline = time.monotonic() + 120
    while not (path.exists() and load(TINY, path).step >= 5):
        assert process.is_alive(), "the training ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert load(TINY, path).step < TINY.steps
    resumed = train(TINY, tmp_path / "killed", processes=1)
    assert resumed.step == whole.step == TINY.steps
    for name, values in whole.values.items():
        np.testing.assert_allclose(resumed.values[name], values, rtol=1e-3, atol=1e-4, err_msg=name)
    assert (tmp_path / "killed" / CURVES_FILE).stat().st_size > 1000
    rows = (tmp_path / "killed" / LOSSES_FILE).read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "25", "50"]


def test_a_checkpoint_that_is_foreign_or_damaged_is_refused(tmp_path: Path) -> None:
    short = dataclasses.replace(TINY, steps=2, stages=(Stage(1.0, 48, SCENE, 2),))
    train(short, tmp_path, processes=1)
    with pytest.raises(TrainingError, match="other parameters"):
        load(dataclasses.replace(short, radius_px=20.0), tmp_path / CHECKPOINT_FILE)
    (tmp_path / CHECKPOINT_FILE).write_bytes(b"rubbish")
    with pytest.raises(TrainingError, match="Remove it"):
        train(short, tmp_path, processes=1)


@pytest.mark.parametrize("seed", [-1, TEST_SET, TEST_SET + (1 << 32)])
def test_a_seed_of_the_test_sets_is_refused(seed: int) -> None:
    with pytest.raises(TrainingError, match="test sets"):
        TrainParams(seed=seed)


def test_a_time_limit_ends_a_training_and_lowers_the_rate() -> None:
    params = TrainParams(steps=1000, minutes=1.0)
    early, late = Progress(500, 0.0, {}), Progress(500, 59.0, {})
    assert late.share(params) > 0.98
    assert learning_rate(params, late) < 0.05 * learning_rate(params, early)
    assert Progress(500, 61.0, {}).share(params) > 1


def test_a_written_graph_is_read_back_within_half_a_step(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    values = {
        "w": rng.normal(size=(3, 3, 2, 4)).astype(np.float32),
        "zeros": np.concatenate([rng.normal(size=7), np.zeros(5)]).astype(np.float32),
        "same": np.full(3, -2.5, np.float32),
        "axes": np.array([1, 2], np.int32),
    }
    with tf.Graph().as_default() as graph:
        for name, value in values.items():
            tf.constant(value, name=name)
    write_graph_model(graph.as_graph_def(), tmp_path)
    found = read_weights(tmp_path / "model.json")
    assert found.keys() == values.keys()
    for name, value in values.items():
        assert found[name].dtype == value.dtype
        assert np.abs(found[name] - value).max() <= 0.51 * np.ptp(value) / 65_535
    assert (found["zeros"][7:] == 0).all()
    assert "tensorContent" not in (tmp_path / "model.json").read_text()


def test_the_exported_model_computes_the_same_as_the_trained_one(tmp_path: Path) -> None:
    """Folded, quantised to uint16, written, read by tfjs.py: outputs are equal within the quantisation error."""
    progress = start(TINY)
    rng = np.random.default_rng(0)
    progress.values["average"] += rng.normal(0, 0.02, progress.values["average"].shape).astype(np.float32)  # type: ignore[attr-defined]
    progress.values["counted"] += rng.uniform(0, 0.3, progress.values["counted"].shape).astype(np.float32)  # type: ignore[attr-defined]
    write_posenet(trained_variables(progress), tmp_path)
    assert (tmp_path / WEIGHTS_FILE).stat().st_size < 1_500_000
    graph = unfuse(load_graph_model(tmp_path / "model.json")[0])
    outputs = posenet_outputs(graph, candidate_outputs(graph))
    assert outputs is not None
    image = rng.uniform(-1, 1, (1, 64, 64, 3)).astype(np.float32)
    ready = prepare(graph, outputs, InputSize(64, 64))
    with tf.compat.v1.Session(graph=to_graph(ready)) as session:
        feeds = {f"{image_input(ready).name}:0": image}
        found = session.run({name: f"nightjar/{name}:0" for name in outputs}, feeds)
    average, counted = (tf.constant(progress.values[name]) for name in ("average", "counted"))
    heads, _ = run_network(average, counted, tf.constant(image), training=False)
    for name, head in (("heatmap", "heatmap_2"), *((n, n) for n in outputs if n != "heatmap")):
        np.testing.assert_allclose(found[name], heads[head].numpy(), atol=0.01 * np.abs(heads[head]).max())
