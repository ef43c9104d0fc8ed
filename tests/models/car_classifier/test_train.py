"""Fine-tuning on features and in the loop, killed and resumed, up to an equivalent IR."""

import dataclasses
import itertools
import json
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from models.car_classifier import train as module
from models.car_classifier.checkpoint import State, load_state, save_state
from models.car_classifier.features import features, tensor_of
from models.car_classifier.feed import FeatureFeed, PictureFeed, augmented
from models.car_classifier.metrics import measure
from models.car_classifier.network import build_base, build_head
from models.car_classifier.params import PRESETS, FinetuneError, FinetuneParams
from models.car_classifier.scores import ir_scores
from models.car_classifier.train import CHECKPOINT_FILE, EpochBackup, Learner, Trained, class_weights, finetune
from models.conversion.convert import convert
from models.conversion.spec import ConvertSpec
from models.datasets.picture import Picture
from models.heavy.openvino import ov
from models.heavy.tensorflow import keras
from models.inference.scaling import ScalingRequest
from models.manifest import XML_FILE
from tests.conftest import ROOT
from tests.models.car_pictures import make_pictures

SMALL = FinetuneParams(backbone="mobilenet_0_25", epochs=4, batch_size=4, learning_rate=0.02, dropout=0.3)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Picture]:
    """10 pictures per split."""
    return make_pictures(tmp_path_factory.mktemp("pictures"), 10)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of those pictures, as soon as a test made them."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def whole(pictures: list[Picture], cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trained]:
    """An uninterrupted training of SMALL on cached features: (folder, result)."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, finetune(SMALL, pictures, folder, weights=None, cache=cache)


def weights(trained: Trained) -> list[np.ndarray]:
    return keras.models.load_model(trained.model).get_weights()


def same(one: Trained, other: Trained) -> bool:
    pairs = itertools.zip_longest(weights(one), weights(other))
    return all(a.tobytes() == b.tobytes() for a, b in pairs) and one.scores.tobytes() == other.scores.tobytes()


def test_training_learns_and_keeps_the_best_epoch(whole: tuple[Path, Trained], pictures: list[Picture]) -> None:
    _, trained = whole
    losses = [epoch.validation_loss for epoch in trained.epochs]
    assert [epoch.epoch for epoch in trained.epochs] == [1, 2, 3, 4]
    assert [step.step for step in trained.steps] == list(range(1, 13))  # 3 batches per epoch
    assert trained.best_epoch == 1 + int(np.argmin(losses))
    assert trained.epochs[-1].loss < trained.epochs[0].loss
    assert trained.test == [picture for picture in pictures if picture.split == "test"]
    tensors = np.stack([tensor_of(picture) for picture in trained.test]) / np.float32(127.5) - 1
    found = keras.models.load_model(trained.model).predict(tensors, verbose=0)[:, 0]
    np.testing.assert_allclose(found, trained.scores, atol=1e-5)


class Killed(BaseException):
    """An exception that no code catches, like SIGKILL."""


@pytest.mark.slow
@pytest.mark.parametrize("at", [1, 5, 9])  # in the first epoch, and in the middle of others
def test_a_killed_training_resumes_and_ends_with_equal_bytes(
    whole: tuple[Path, Trained],
    pictures: list[Picture],
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at: int,
) -> None:
    begin, count = EpochBackup.on_train_batch_begin, itertools.count(1)

    def killed(self: EpochBackup, batch: int, logs: object = None) -> None:
        if next(count) == at:
            raise Killed
        begin(self, batch)

    monkeypatch.setattr(EpochBackup, "on_train_batch_begin", killed)
    with pytest.raises(Killed):
        finetune(SMALL, pictures, tmp_path, weights=None, cache=cache)
    monkeypatch.undo()
    resumed = finetune(SMALL, pictures, tmp_path, weights=None, cache=cache)
    assert same(resumed, whole[1])
    assert resumed.steps == whole[1].steps
    assert [epoch[:-1] for epoch in resumed.epochs] == [epoch[:-1] for epoch in whole[1].epochs]


TRAINS = """
import sys
from pathlib import Path
from models.car_classifier.train import finetune
from tests.conftest import ROOT
from tests.models.car_pictures import make_pictures
from tests.models.car_classifier.test_train import SMALL

pictures, folder, cache = map(Path, sys.argv[1:])
pictures = make_pictures(pictures, 10)
finetune(SMALL, pictures, folder, weights=None, cache=cache, on_epoch=lambda epoch, _: print(epoch.epoch, flush=True))
"""


@pytest.mark.slow
def test_another_process_resumes_after_sigkill(
    whole: tuple[Path, Trained], pictures: list[Picture], cache: Path, tmp_path: Path
) -> None:
    """Send SIGKILL as soon as two epochs are reported as done, in any state."""
    (tmp_path / "pictures").mkdir()
    command = [sys.executable, "-c", TRAINS, tmp_path / "pictures", tmp_path / "run", cache]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["1\n", "2\n"]
        process.kill()
    assert process.returncode == -signal.SIGKILL
    told = []
    trained = finetune(
        SMALL, pictures, tmp_path / "run", weights=None, cache=cache, on_epoch=lambda epoch, _: told.append(epoch)
    )
    assert len(told) <= 2, "completed work was repeated"
    assert same(trained, whole[1])


def test_a_finished_training_is_not_repeated(
    whole: tuple[Path, Trained], pictures: list[Picture], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Learner, "fit", lambda *_: pytest.fail("it was trained again"))
    assert same(finetune(SMALL, pictures, whole[0], weights=None, cache=cache), whole[1])


def test_the_keras_file_has_the_same_bytes_at_any_time(
    whole: tuple[Path, Trained], pictures: list[Picture], cache: Path
) -> None:
    before = whole[1].model.read_bytes()
    build_base("mobilenet_0_25", None)  # Keras numbers its layers' names globally
    time.sleep(2.1)  # times in a zip have a resolution of two seconds
    again = finetune(SMALL, pictures, whole[0], weights=None, cache=cache)
    assert again.model.read_bytes() == before
    with zipfile.ZipFile(again.model) as archive:
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}
        assert json.loads(archive.read("metadata.json")).keys() == {"keras_version"}


def test_the_exported_ir_scores_as_keras_does(whole: tuple[Path, Trained], tmp_path: Path) -> None:
    trained = whole[1]
    spec = ConvertSpec("car", labels=("not_car", "car"), scaling=ScalingRequest("-1..1"), threshold=0.3)
    manifest = convert(trained.model, spec, tmp_path / "ir")
    assert manifest.decode_params["threshold"] == 0.3
    np.testing.assert_allclose(ir_scores(tmp_path / "ir", manifest, trained.test), trained.scores, atol=2e-3)


def test_a_foreign_checkpoint_is_refused(
    whole: tuple[Path, Trained], pictures: list[Picture], cache: Path, tmp_path: Path
) -> None:
    folder, _ = whole
    with pytest.raises(FinetuneError, match="other parameters"):
        finetune(dataclasses.replace(SMALL, learning_rate=0.01), pictures, folder, weights=None, cache=cache)
    turned = [dataclasses.replace(pictures[0], car=False), *pictures[1:]]
    with pytest.raises(FinetuneError, match="other parameters, pictures or weights"):
        finetune(SMALL, turned, folder, weights=None, cache=cache)
    (tmp_path / CHECKPOINT_FILE).write_bytes((folder / CHECKPOINT_FILE).read_bytes()[:-500])
    with pytest.raises(FinetuneError, match="Remove it"):
        finetune(SMALL, pictures, tmp_path, weights=None, cache=cache)


def test_a_state_without_epochs_survives_a_checkpoint(tmp_path: Path) -> None:
    save_state(State([np.array(3.0, np.float32), np.zeros((2, 3), np.uint32)], []), "me", tmp_path / "state.npz")
    found = load_state("me", tmp_path / "state.npz")
    assert [value.shape for value in found.values] == [(), (2, 3)]
    assert (found.best, found.steps, found.epochs, found.best_epoch) == ([], [], [], 0)


@pytest.mark.slow
def test_cached_features_give_the_same_result_as_the_base_in_the_loop(
    pictures: list[Picture], cache: Path, tmp_path: Path
) -> None:
    """Without dropout and augmentation. Float32 sums in another order may differ by 1e-4 of a probability."""
    params = dataclasses.replace(SMALL, dropout=0.0, epochs=2)
    fast = finetune(params, pictures, tmp_path / "fast", weights=None, cache=cache)
    plain = finetune(params, pictures, tmp_path / "plain", weights=None, cache=None)
    np.testing.assert_allclose(fast.scores, plain.scores, atol=1e-4)
    for a, b in zip(fast.epochs, plain.epochs, strict=True):
        assert a.validation_loss == pytest.approx(b.validation_loss, abs=1e-4)


@pytest.mark.slow
def test_unfrozen_blocks_and_augmentation_are_reproducible(
    pictures: list[Picture], cache: Path, tmp_path: Path
) -> None:
    params = dataclasses.replace(SMALL, epochs=1, unfrozen_blocks=1, augment=True, class_weights="balanced")
    one, other = (finetune(params, pictures, tmp_path / name, weights=None, cache=cache) for name in "ab")
    assert same(one, other)
    before = build_base("mobilenet_0_25", None, params.seed).inner
    after = keras.models.load_model(one.model).get_layer("base").get_layer(before.name)
    changed = {
        a.path.split("/")[-2] for a, b in zip(before.weights, after.weights, strict=True) if not np.array_equal(a, b)
    }
    assert changed == {"conv_dw_13", "conv_pw_13"}


def test_the_ir_computes_the_same_as_the_network(whole: tuple[Path, Trained], tmp_path: Path) -> None:
    """In FP16, through the same converter as every model."""
    _, trained = whole
    manifest = convert(trained.model, ConvertSpec("car-classifier", scaling=ScalingRequest("-1..1")), tmp_path / "ir")
    assert (manifest.task, manifest.outputs, manifest.input.shape) == (
        "classification",
        {"output": (1, 1)},
        (1, 224, 224, 3),
    )
    xml = str(tmp_path / "ir" / XML_FILE)
    request = ov.Core().compile_model(xml, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
    for picture, score in zip(trained.test, trained.scores, strict=True):
        request.infer([tensor_of(picture)[None] / np.float32(127.5) - 1])
        assert float(request.get_output_tensor(0).data[0, 0]) == pytest.approx(float(score), abs=0.02)


def test_a_nan_loss_is_reported_with_its_step(
    pictures: list[Picture], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> np.ndarray:
        found = features(*args)  # type: ignore[arg-type]
        found[3] = np.nan
        return found

    monkeypatch.setattr(module, "features", broken)
    with pytest.raises(FinetuneError, match=r"step [123] \(epoch 1\) is nan.*learning rate below 0\.02"):
        finetune(SMALL, pictures, tmp_path, weights=None, cache=cache)
    assert not (tmp_path / CHECKPOINT_FILE).exists()


def test_a_split_with_one_class_is_refused(pictures: list[Picture], cache: Path, tmp_path: Path) -> None:
    cars = [picture for picture in pictures if picture.car or picture.split != "validation"]
    with pytest.raises(FinetuneError, match="validation has 5 cars and 0 others"):
        finetune(SMALL, cars, tmp_path, weights=None, cache=cache)


def test_balanced_weights_make_both_classes_count_equally(pictures: list[Picture]) -> None:
    few = [picture for picture in pictures if not picture.car] + [p for p in pictures if p.car][:5]
    others, cars = class_weights(dataclasses.replace(SMALL, class_weights="balanced"), few)
    assert others * 15 == pytest.approx(cars * 5)
    assert others * 15 + cars * 5 == pytest.approx(len(few))
    assert class_weights(SMALL, few) == (1.0, 1.0)


def test_a_feed_streams_each_picture_once_per_epoch_in_a_new_order(pictures: list[Picture]) -> None:
    feed = PictureFeed(pictures[:7], 3, seed=2, augment=False)
    plain = np.concatenate([inputs for inputs, _ in feed.in_order()])
    assert plain.dtype == np.float32
    assert np.array_equal(plain[4], tensor_of(pictures[4]).astype(np.float32) / 127.5 - 1)
    epochs = [np.concatenate([inputs for inputs, _ in feed.epoch(number)]) for number in (1, 1, 2)]
    assert np.array_equal(epochs[0], epochs[1])
    assert not np.array_equal(epochs[0], epochs[2])
    assert {image.tobytes() for image in epochs[2]} == {image.tobytes() for image in plain}


def test_augmentation_is_determined_by_seed_epoch_and_picture(pictures: list[Picture]) -> None:
    feed = PictureFeed(pictures[:4], 4, seed=2, augment=True)
    one, again, other = (next(iter(feed.epoch(number)))[0].numpy() for number in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(np.sort(one.ravel()), np.sort(other.ravel()))
    for seed in range(50):
        image = np.random.default_rng(seed).integers(0, 256, (1 + seed, 90 - seed, 3)).astype(np.uint8)
        changed = augmented(image, np.random.default_rng(seed))
        assert changed.dtype == np.uint8
        assert round(0.8 * image.shape[0]) <= changed.shape[0] <= image.shape[0]
        assert round(0.8 * image.shape[1]) <= changed.shape[1] <= image.shape[1]


def test_an_epoch_over_2000_cached_pictures_takes_seconds() -> None:
    """Measured: below 1 s on a quiet machine. Pictures that are not cached would take a minute."""
    params = FinetuneParams.preset("experiment-1", {"epochs": 3})  # the first one compiles
    random = np.random.default_rng(0)
    made = [Picture(Path("none"), number % 2 == 0, "made") for number in range(2000)]
    feed = FeatureFeed(made, random.normal(0, 1, (2000, 2048)).astype(np.float32), params.batch_size, 1)
    learner = Learner(params, build_head(params, 2048), (1.0, 1.0))
    took: list[float] = []
    state = State(learner.values(), [])
    backup = EpochBackup(learner, state, lambda _: None, feed.sizes, lambda epoch, _: took.append(epoch.seconds))
    learner.fit(feed, feed, backup)
    assert min(took) < 5, took


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("name", PRESETS)
def test_real_weights_distinguish_real_cars_from_others(data: Path, cache: Path, tmp_path: Path, name: str) -> None:
    found: list[Picture] = []
    for path in sorted((data / "cars").rglob("*.jpg")):
        car = "stanford_train" in path.parts or "252.car-side-101" in path.parts
        split = ("train", "train", "validation", "test")[len(found) % 4]
        found.append(Picture(path, car, path.parent.name, split, None, path.name))  # type: ignore[arg-type]
    params = FinetuneParams.preset(name, {"backbone": "mobilenet_0_25"})
    path = data / "keras/mobilenet_0_25_224_notop.h5"
    trained = finetune(params, found, tmp_path, weights=path, cache=cache)
    metrics = measure(np.array([picture.car for picture in trained.test]), trained.scores)
    assert metrics.accuracy >= 0.98
    assert metrics.roc_auc > 0.995
    assert metrics.roc_auc_low > 0.97, "of 170 pictures: one failure more may be chance"
