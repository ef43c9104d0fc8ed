"""The product's runtime, preprocessing and decoder together, on photographs with known keypoints."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from models.decoders.posenet import DecodeParams, decode_poses
from models.inference.preprocess import plan_resize, preprocess
from models.inference.runtime import OpenVinoRuntime
from tests.models.conftest import Convert, Converted
from tests.oks import oks, reference_images

pytestmark = pytest.mark.real_data

EVERYTHING = {"mode": "single", "keypoint_score_threshold": 0.0, "pose_score_threshold": 0.0}


def mean_oks_of_the_product(converted: Converted, data: Path, **changes: int) -> float:
    spec = converted.manifest.input
    runtime = OpenVinoRuntime(converted.folder, converted.manifest)
    params = DecodeParams(**{**converted.manifest.decode_params, **EVERYTHING, **changes})
    scores = []
    for image in reference_images(data):
        tensor, resize = preprocess(image.read(), (spec.width, spec.height), "stretch", color="RGB")
        runtime.start(0, tensor[None])
        found = decode_poses(runtime.wait(0), params)
        scores.append(oks(resize.to_original(found.keypoints)[0], image))
    return float(np.mean(scores))


@pytest.mark.parametrize("even", [224, pytest.param(256, marks=pytest.mark.slow)])
def test_sizes_of_16n_are_as_accurate_as_16n_plus_1(data: Path, convert_once: Convert, even: int) -> None:
    """224 is the article's size. Its padding is one-sided: decoding it like 225 is 15 pixels off."""
    source = "posenet/tfjs_manifest_075/manifest.json"
    odd = mean_oks_of_the_product(convert_once(source, even + 1), data)
    assert mean_oks_of_the_product(convert_once(source, even), data) > odd - 0.06
    assert mean_oks_of_the_product(convert_once(source, even), data, origin_px=0) < odd - 0.3


@pytest.mark.parametrize("size", [257, pytest.param(513, marks=pytest.mark.slow)])
def test_several_people_are_found_at_their_positions(data: Path, convert_once: Convert, size: int) -> None:
    """The multi-person decoder on the six pictures of one person each: the person with the highest score is right."""
    converted = convert_once("posenet/tfjs_manifest_075/manifest.json", size)
    runtime = OpenVinoRuntime(converted.folder, converted.manifest)
    params = dataclasses.replace(DecodeParams(**converted.manifest.decode_params), keypoint_score_threshold=0.0)
    best = []
    for image in reference_images(data):
        pixels = image.read()
        tensor, _ = preprocess(pixels, (size, size), "letterbox", color="RGB")
        resize = plan_resize((pixels.shape[1], pixels.shape[0]), (size, size), "letterbox")
        runtime.start(0, tensor[None])
        found = resize.to_original(decode_poses(runtime.wait(0), params).keypoints)
        best.append(max((oks(person, image) for person in found), default=0.0))
    assert np.mean(best) > 0.6
