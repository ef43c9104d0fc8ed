"""The classifier's networks: trainable parameters, ResNet50's input, unfrozen blocks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.car_classifier.network import Base, build_base, build_head, join, unfreeze
from models.car_classifier.params import PRESETS, WEIGHTS_URL, FinetuneError, FinetuneParams
from models.heavy.tensorflow import keras


@pytest.fixture(scope="module")
def resnet() -> Base:
    """ResNet50 with random weights."""
    return build_base("resnet50", None)


@pytest.fixture(scope="module")
def mobilenet() -> Base:
    """MobileNet 0.25 with random weights."""
    return build_base("mobilenet_0_25", None, 3)


def trainable_count(network: Any) -> int:
    return sum(int(np.prod(variable.shape)) for variable in network.trainable_variables)


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_trains_65601_parameters(resnet: Base, name: str) -> None:
    assert trainable_count(join(resnet, build_head(FinetuneParams.preset(name), resnet.width))) == 65_601


def test_extra_layers_are_trained() -> None:
    head = build_head(FinetuneParams(dense=(64, 16), dropout=0.3), 256)
    assert trainable_count(head) == 257 * 64 + 65 * 16 + 17 * 32 + 33


def test_resnet_receives_the_input_it_was_trained_with(resnet: Base) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (1, 224, 224, 3)).astype(np.float32)
    expected = keras.applications.resnet50.preprocess_input(pixels.copy())
    found = resnet.network.get_layer("to_caffe")(pixels / 127.5 - 1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


def learning(base: Base, blocks: int) -> list[str]:
    unfreeze(base, blocks)
    return sorted({variable.path.split("/")[-2] for variable in base.network.trainable_variables})


def test_unfrozen_blocks_are_the_last_ones_without_their_batch_norms(resnet: Base, mobilenet: Base) -> None:
    assert learning(resnet, 1) == ["conv5_block3_1_conv", "conv5_block3_2_conv", "conv5_block3_3_conv"]
    assert len(learning(resnet, 16)) == 52  # all convolutions except the first
    assert learning(resnet, 0) == []
    assert learning(mobilenet, 2) == ["conv_dw_12", "conv_dw_13", "conv_pw_12", "conv_pw_13"]
    assert len(learning(mobilenet, 13)) == 26
    assert learning(mobilenet, 0) == []


def test_a_base_is_identified_by_its_weights(mobilenet: Base) -> None:
    assert build_base("mobilenet_0_25", None, 3).sha256 == mobilenet.sha256
    assert build_base("mobilenet_0_25", None, 4).sha256 != mobilenet.sha256


def test_the_same_seed_gives_the_same_head() -> None:
    one, same, other = (build_head(FinetuneParams(seed=seed), 8).get_weights() for seed in (5, 5, 6))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not np.array_equal(one[0], other[0])


def test_published_addresses_equal_those_of_keras() -> None:
    from keras.src.applications import mobilenet, resnet

    assert WEIGHTS_URL["resnet50"].startswith(resnet.BASE_WEIGHTS_PATH)
    assert WEIGHTS_URL["mobilenet_0_25"] == f"{mobilenet.BASE_WEIGHT_PATH}mobilenet_2_5_224_tf_no_top.h5"


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rubbish.h5").write_bytes(b"rubbish")
    with pytest.raises(FinetuneError, match=r"rubbish\.h5 does not contain"):
        build_base("mobilenet_0_25", tmp_path / "rubbish.h5")
    with pytest.raises(FinetuneError, match="does not contain"):
        build_base("mobilenet_0_25", tmp_path / "missing.h5")


def test_only_damaged_weights_are_refused(mobilenet: Base, tmp_path: Path) -> None:
    path = tmp_path / "base.weights.h5"
    mobilenet.inner.save_weights(path)
    again = build_base("mobilenet_0_25", path)
    assert again.sha256 == mobilenet.sha256
    values = again.inner.get_weights()
    values[7].flat[3] = np.nan
    again.inner.set_weights(values)
    again.inner.save_weights(path)
    with pytest.raises(FinetuneError, match="contains NaN"):
        build_base("mobilenet_0_25", path)


@pytest.mark.real_data
def test_weights_of_another_backbone_are_refused(data: Path) -> None:
    path = data / "keras/mobilenet_0_25_224_notop.h5"
    assert build_base("mobilenet_0_25", path).sha256 == build_base("mobilenet_0_25", path, 7).sha256
    with pytest.raises(FinetuneError, match="weights of resnet50"):
        build_base("resnet50", path)
