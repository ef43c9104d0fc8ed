"""ONNX sources: what is recognised and how it is fed and read, what is refused, and what a file cannot reach."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import convert_model_to_external_data
from onnx.reference import ReferenceEvaluator

from models.conversion import convert as conversion
from models.conversion.convert import convert
from models.conversion.onnx_source import reference
from models.conversion.onnx_source.heads import recognise, refuse_other_values
from models.conversion.onnx_source.operators import OPERATORS
from models.conversion.onnx_source.signature import is_onnx
from models.conversion.parity import compare, run_ir
from models.conversion.quantize import quantize
from models.conversion.sources import detect_format
from models.conversion.spec import ConvertSpec, QuantizeSpec
from models.errors import ConversionError
from models.heavy.openvino import ov
from models.inference.pipeline import decoder_for
from models.inference.preprocess import preprocess
from models.inference.runtime import OpenVinoRuntime
from models.inference.scaling import ScalingRequest
from models.manifest import MANIFEST_FILE, XML_FILE, Manifest
from models.types import FramePoses
from tests.models.conftest import Converted
from tests.models.onnx_models import (
    CELL,
    VISIBILITY,
    Graph,
    image,
    person,
    picture,
    write_rtmo,
    write_yolo,
    write_yolo_end_to_end,
)

SIZE = (192, 256)
SPEC = ConvertSpec("blobs", precision="FP32")
WRITERS: dict[str, Callable[..., Path]] = {
    "yolo": write_yolo,
    "end-to-end": write_yolo_end_to_end,
    "rtmo": write_rtmo,
    "rtmo of MMDeploy": lambda path, *size: write_rtmo(path, *size, nobody_row=True),
    "rtmo without NMS": lambda path, *size: write_rtmo(path, *size, nms=False),
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures of 192x256 with one, two and no people, for measuring the parity."""
    import cv2

    folder = tmp_path_factory.mktemp("pictures")
    for name, cells in (("a", [(5, 4)]), ("b", [(6, 2), (5, 12)]), ("c", [])):
        cv2.imwrite(str(folder / f"{name}.png"), picture(SIZE, cells)[..., ::-1])
    return folder


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> dict[str, Converted]:
    """Each kind of model, of static size and of dynamic axes at the same size."""
    folder, made = tmp_path_factory.mktemp("onnx"), {}
    for kind, write in WRITERS.items():
        for key, size, asked in ((kind, SIZE, ""), (f"{kind}, dynamic", ("h", "w"), "192x256")):
            source = write(folder / f"{key}.onnx", size)
            spec = dataclasses.replace(SPEC, size=asked, images=pictures)
            made[key] = Converted(folder / key, convert(source, spec, folder / key))
    return made


def people(model: Converted, pixels: NDArray[np.uint8]) -> FramePoses:
    """The people of one picture, in its pixels, by the steps of a night."""
    runtime, given = OpenVinoRuntime(model.folder, model.manifest), model.manifest.input
    tensor, resize = preprocess(pixels, (given.width, given.height), given.resize, color="RGB")
    runtime.start(0, tensor[None])
    (found,) = decoder_for(model.manifest, resize)([runtime.wait(0)])
    assert isinstance(found, FramePoses)
    return found


# What is recognised


@pytest.mark.parametrize("suffix", ["", ", dynamic"])
@pytest.mark.parametrize("kind", WRITERS)
def test_people_are_found_where_they_are(converted: dict[str, Converted], kind: str, suffix: str) -> None:
    found = people(converted[kind + suffix], picture(SIZE, [(5, 4), (6, 12)]))
    assert len(found.scores) == 2
    expected = {cell: person(*cell) for cell in ((5, 4), (6, 12))}
    for keypoints, scores in zip(found.keypoints, found.keypoint_scores, strict=True):
        nearest = min(expected.values(), key=lambda other: float(np.nansum(np.abs(other - keypoints))))
        np.testing.assert_allclose(keypoints, np.clip(nearest, 0, [255, 191]), atol=1e-3)
        np.testing.assert_allclose(scores[:16], VISIBILITY[:16], atol=1e-5)
        assert np.isnan(scores[16])
    assert len(people(converted[kind + suffix], picture(SIZE, [])).scores) == 0


@pytest.mark.parametrize("kind", ["yolo", "rtmo"])
def test_a_wide_picture_is_letterboxed_and_people_come_back_to_its_pixels(
    converted: dict[str, Converted], kind: str
) -> None:
    """512x192 pixels become 256x96 in the middle, 48 rows of grey above and below."""
    wide = np.full((192, 512, 3), 90, np.uint8)
    wide[64:96, 256:288] = (255, 0, 0)
    found = people(converted[kind], wide)
    assert len(found.scores) == 1
    expected = (person(3 + 2, 8) - [0, 48] + 0.5) * 2 - 0.5
    np.testing.assert_allclose(found.keypoints[0], np.clip(expected, 0, [511, 191]), atol=1e-3)


def test_each_manifest_says_how_the_model_is_fed_and_read(converted: dict[str, Converted]) -> None:
    rows = {"dets": (1, -1, 5), "keypoints": (1, -1, 17, 3)}
    cells = SIZE[0] // CELL * SIZE[1] // CELL
    every = {"dets": (1, cells, 5), "keypoints": (1, cells, 17, 3)}
    rgb, bgr = ("RGB", 0, 255, "as Ultralytics trains pose heads"), ("BGR", 0, 1, "as MMPose trains RTMO")
    for kind, decoder, outputs, (color, mean, scale, basis) in (
        ("yolo", "yolo-pose", {"anchors": (1, 56, cells)}, rgb),
        ("end-to-end", "yolo-pose", {"detections": (1, 20, 57)}, rgb),
        ("rtmo", "rtmo", rows, bgr),
        ("rtmo of MMDeploy", "rtmo", rows, bgr),
        ("rtmo without NMS", "rtmo", every, bgr),
    ):
        for suffix in ("", ", dynamic"):
            model = converted[kind + suffix]
            manifest = Manifest.from_json((model.folder / MANIFEST_FILE).read_text())
            assert manifest == model.manifest
            assert (manifest.task, manifest.decoder, manifest.outputs) == ("pose", decoder, outputs)
            given = manifest.input
            assert (given.shape, given.layout, given.resize) == ((1, 3, *SIZE), "NCHW", "letterbox-114")
            assert (given.color, given.mean, given.scale, manifest.input_basis) == (color, mean, scale, basis)
            assert (manifest.source.format, list(manifest.source.files)) == ("onnx", [f"{kind + suffix}.onnx"])
            assert set(manifest.tools) == {"openvino", "onnx", "numpy"}
            assert "3 of 3 pictures" in manifest.parity.images
            assert "reference implementation of ONNX" in manifest.parity.images
            assert set(manifest.parity.mean_abs) == {"positions", "scores", "convolutions"}
            assert manifest.parity.mean_abs["positions"] < 1e-4


def test_a_stick_is_fit_for_what_it_knows(converted: dict[str, Converted], tmp_path: Path) -> None:
    """Anchors of a small graph; neither rows whose number changes nor a selection of opset11."""
    source = write_yolo(tmp_path / "m.onnx")
    manifest = convert(source, ConvertSpec("m", device_target="MYRIAD"), tmp_path / "m")
    assert manifest.stick.fit
    for kind, why in (("rtmo", "dynamic shape|opset"), ("end-to-end", "opset11")):
        assert not converted[kind].manifest.stick.fit
        with pytest.raises(ConversionError, match=f"does not run on a Neural Compute Stick.*({why})"):
            convert(
                WRITERS[kind](tmp_path / f"{kind}.onnx"),
                ConvertSpec("m", device_target="MYRIAD"),
                tmp_path / kind,
            )
        assert not (tmp_path / kind).exists()


def test_equal_conversions_are_the_same_version_whatever_the_exporters_names(
    converted: dict[str, Converted], tmp_path: Path
) -> None:
    source = write_yolo(tmp_path / "a.onnx")
    model = onnx.load(source)
    for node in model.graph.node:
        node.name = ""
        node.input[:] = [f"/model/{name}" for name in node.input]
        node.output[:] = [f"/model/{name}" for name in node.output]
    for value in (*model.graph.initializer, *model.graph.input, *model.graph.output):
        value.name = f"/model/{value.name}"
    onnx.save(model, tmp_path / "b.onnx")
    versions = {convert(tmp_path / f"{name}.onnx", SPEC, tmp_path / name).version_id for name in "ab"}
    assert versions == {converted["yolo"].manifest.version_id}
    assert converted["yolo"].manifest.version_id != converted["end-to-end"].manifest.version_id


def test_a_folder_with_one_onnx_file_is_that_model(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    write_yolo(tmp_path / "m/any.onnx")
    assert detect_format(tmp_path / "m") == "onnx"
    (tmp_path / "m/any.onnx").rename(tmp_path / "m/weights.pb")
    assert detect_format(tmp_path / "m/weights.pb") == "onnx", "by its content"


def test_the_size_is_the_graphs_own_the_exporters_or_the_one_asked_for(tmp_path: Path) -> None:
    static, dynamic = write_yolo(tmp_path / "s.onnx"), write_yolo(tmp_path / "d.onnx", ("h", "w"))
    told = write_yolo(tmp_path / "t.onnx", ("h", "w"), imgsz="[64, 96]", task="pose")
    odd = write_yolo(tmp_path / "o.onnx", ("h", "w"), imgsz="[" * 90)
    with pytest.raises(ConversionError, match=r"fixed to input size 192x256, but --size is 320\. Leave"):
        convert(static, dataclasses.replace(SPEC, size="320"), tmp_path / "out")
    for source in (dynamic, odd):
        with pytest.raises(ConversionError, match=r"takes any input size\. Choose one with --size"):
            convert(source, SPEC, tmp_path / "out")
    with pytest.raises(ConversionError, match=r"One side of the input is fixed"):
        convert(write_yolo(tmp_path / "h.onnx", (64, "w")), SPEC, tmp_path / "out")
    manifest = convert(told, SPEC, tmp_path / "a")
    assert manifest.input.shape == (1, 3, 64, 96)
    assert set(manifest.parity.mean_abs) == {"positions", "scores", "convolutions"}, "of all anchors, on noise"
    assert convert(told, dataclasses.replace(SPEC, size="128"), tmp_path / "b").input.shape == (1, 3, 128, 128)


def test_a_size_that_the_graph_cannot_have_is_refused_with_a_near_one(tmp_path: Path) -> None:
    """The graph adds two maps of strides 16 and 32, which fit for multiples of 32 only."""
    graph = Graph()
    given = image(("h", "w"))
    halves = [graph.add("AveragePool", given.name, kernel_shape=[k, k], strides=[k, k]) for k in (16, 32)]
    grown = graph.add("ConvTranspose", halves[1], graph.constant(np.ones((3, 3, 2, 2))), strides=[2, 2])
    joined = graph.add("Concat", halves[0], grown, axis=1)
    wide = graph.add("Conv", joined, graph.constant(np.zeros((56, 6, 1, 1))))
    graph.add("Reshape", wide, graph.constant([1, 56, -1], np.int64), output="out")
    source = graph.write(tmp_path / "m.onnx", given, {"out": [1, 56, "n"]})
    with pytest.raises(ConversionError, match=r"cannot have the input size 144x176\..* such as --size 128x192\."):
        convert(source, dataclasses.replace(SPEC, size="144x176"), tmp_path / "out")
    assert convert(source, dataclasses.replace(SPEC, size="128x192"), tmp_path / "out").input.width == 192


def test_pictures_with_channels_last_and_half_precision_are_taken(
    converted: dict[str, Converted], tmp_path: Path
) -> None:
    source = write_yolo(tmp_path / "m.onnx", kind=TensorProto.FLOAT16)
    for tensor in (model := onnx.load(source)).graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            narrow = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(narrow, tensor.name))
    for node in model.graph.node:
        if node.op_type == "Cast":
            node.attribute[0].i = TensorProto.FLOAT16
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    onnx.save(model, source)
    half = Converted(tmp_path / "half", convert(source, SPEC, tmp_path / "half"))
    model = onnx.load(write_yolo(tmp_path / "n.onnx"))
    first = model.graph.node[0]
    model.graph.node.insert(0, helper.make_node("Transpose", ["images"], ["planes"], perm=[0, 3, 1, 2]))
    first.input[0] = "planes"
    model.graph.node[1].CopyFrom(first)
    model.graph.node[1].input[0] = "planes"
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, *SIZE, 3]))
    onnx.save(model, tmp_path / "n.onnx")
    last = Converted(tmp_path / "last", convert(tmp_path / "n.onnx", SPEC, tmp_path / "last"))
    assert (last.manifest.input.layout, last.manifest.input.shape) == ("NHWC", (1, *SIZE, 3))
    expected = people(converted["yolo"], picture(SIZE, [(5, 4)]))
    for model in (half, last):
        found = people(model, picture(SIZE, [(5, 4)]))
        np.testing.assert_allclose(found.keypoints, expected.keypoints, atol=0.1)


def test_another_scaling_is_taken_as_requested(tmp_path: Path) -> None:
    source = write_rtmo(tmp_path / "m.onnx")
    spec = dataclasses.replace(SPEC, scaling=ScalingRequest(channels="RGB"))
    manifest = convert(source, spec, tmp_path / "a")
    assert (manifest.input.color, manifest.input.scale, manifest.input_basis) == ("RGB", 1, "as requested")
    blue = picture(SIZE, [(5, 4)])[..., ::-1]
    assert len(people(Converted(tmp_path / "a", manifest), np.ascontiguousarray(blue)).scores) == 1
    spec = dataclasses.replace(SPEC, scaling=ScalingRequest("imagenet"))
    assert convert(source, spec, tmp_path / "b").input.scale == pytest.approx((58.395, 57.12, 57.375))


# INT8


@pytest.mark.parametrize("kind", ["yolo", "rtmo"])
def test_int8_finds_the_same_people(converted: dict[str, Converted], tmp_path: Path, kind: str) -> None:
    frames = [picture(SIZE, [(5, 2 + number % 12)]) for number in range(12)]
    model = converted[kind]
    spec = QuantizeSpec(kind, "archive")
    manifest = quantize(model.folder, model.manifest, spec, frames, "12 frames", tmp_path / "int8")
    assert (manifest.precision, manifest.decoder) == ("FP16-INT8", model.manifest.decoder)
    assert manifest.parity.mean_abs["positions"] < 0.01, "what is behind the last convolution stays in floats"
    found = people(Converted(tmp_path / "int8", manifest), picture(SIZE, [(5, 4)]))
    expected = people(model, picture(SIZE, [(5, 4)]))
    np.testing.assert_allclose(found.keypoints, expected.keypoints, atol=0.01)


def test_int8_leaves_what_follows_the_last_convolutions_in_floats(tmp_path: Path) -> None:
    """Three heads behind a common body, each scaled to pixels, as Ultralytics has them."""
    random = np.random.default_rng(0)
    graph = Graph()
    given, weights = image((64, 64)), lambda *shape: graph.constant(random.normal(0, 0.2, shape))
    body = graph.add("Relu", graph.add("Conv", given.name, weights(16, 3, 3, 3), strides=[8, 8]))
    body = graph.add("Relu", graph.add("Conv", body, weights(16, 16, 1, 1)))
    heads = []
    for channels in (4, 1, 51):
        flat = graph.constant([1, channels, -1], np.int64)
        head = graph.add("Reshape", graph.add("Conv", body, weights(channels, 16, 1, 1)), flat)
        squashed = graph.add("Sigmoid", head)
        heads.append(squashed if channels == 1 else graph.add("Mul", squashed, graph.constant(1.0)))
    graph.add("Concat", *heads, output="output0", axis=1)
    source = graph.write(tmp_path / "m.onnx", given, {"output0": [1, 56, 64]})
    manifest = convert(source, SPEC, tmp_path / "m")
    frames = [random.integers(0, 255, (64, 64, 3)).astype(np.uint8) for _ in range(12)]
    quantize(tmp_path / "m", manifest, QuantizeSpec("m", "archive"), frames, "12 frames", tmp_path / "int8")
    written = ov.Core().read_model(str(tmp_path / "int8" / XML_FILE))
    quantised = [each for each in written.get_ops() if each.get_type_name() == "FakeQuantize"]
    assert quantised
    for operation in quantised:
        for reader in operation.output(0).get_target_inputs():
            convolution = reader.get_node()
            assert convolution.get_type_name() == "Convolution"
            assert convolution.get_output_shape(0)[1] == 16, "of the body"


# The reference


@pytest.mark.parametrize(
    ("name", "inputs", "attributes"),
    [
        ("MaxPool", [(1, 3, 9, 11)], {"kernel_shape": [5, 5], "pads": [2, 2, 2, 2], "strides": [1, 1]}),
        ("MaxPool", [(1, 2, 8, 8)], {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "strides": [2, 1]}),
        ("MaxPool", [(1, 2, 7, 7)], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
        ("Gather", [(4, 5, 6), [[0, 3], [1, 1]]], {"axis": 1}),
        ("Gather", [(4, 5, 6), [-1]], {"axis": 2}),
        ("GatherElements", [(4, 5), [[0, 3, 1, 1, 2], [3, 2, 1, 0, 0]]], {"axis": 0}),
        ("NonMaxSuppression", [np.array([[[0, 0, 9, 9], [1, 1, 9, 9]]]), np.array([[[0.4, 0.8]]])], {}),
    ],
)
def test_operators_of_the_reference_are_those_of_onnx(name: str, inputs: list[Any], attributes: dict[str, Any]) -> None:
    """Computed by the standard's own implementation, which is slow or loses shapes only."""
    random = np.random.default_rng(0)
    arrays: list[Any] = [random.normal(size=each) if isinstance(each, tuple) else np.array(each) for each in inputs]
    arrays = [each.astype(np.float32) if each.dtype == np.float64 else each for each in arrays]
    if name == "NonMaxSuppression":
        arrays += [np.array([2]), np.array([0.5], np.float32), np.array([0.1], np.float32)]
    node = helper.make_node(name, [f"i{n}" for n in range(len(arrays))], ["out"], **attributes)
    given = [
        helper.make_tensor_value_info(f"i{n}", helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for n, array in enumerate(arrays)
    ]
    graph = helper.make_graph([node], "g", given, [onnx.ValueInfoProto(name="out")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    feed = {f"i{n}": array for n, array in enumerate(arrays)}
    (expected,), (found,) = (ReferenceEvaluator(model, new_ops=ops).run(None, feed) for ops in ([], list(OPERATORS)))
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype


def test_selections_of_nobody_keep_their_shapes() -> None:
    nothing = np.zeros((1, 0), np.int64)
    evaluate = {each.__name__: each for each in OPERATORS}
    boxes, scores = np.zeros((1, 3, 4), np.float32), np.zeros((1, 1, 3), np.float32)
    limits = [np.array([5]), np.array([0.5], np.float32), np.array([0.1], np.float32)]
    for name, inputs, attributes, shape in (
        ("NonMaxSuppression", [boxes, scores, *limits], {}, (0, 3)),
        ("Gather", [boxes, nothing[0]], {"axis": 1}, (1, 0, 4)),
        ("GatherElements", [boxes[0].T[:1], nothing], {"axis": 1}, (1, 0)),
    ):
        node = helper.make_node(name, [f"i{n}" for n in range(len(inputs))], ["out"], **attributes)
        given = [onnx.ValueInfoProto(name=f"i{n}") for n in range(len(inputs))]
        graph = helper.make_graph([node], "g", given, [onnx.ValueInfoProto(name="out")])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        run = ReferenceEvaluator(model, new_ops=[evaluate[name]])
        assert run.run(None, {f"i{n}": array for n, array in enumerate(inputs)})[0].shape == shape


# What is refused


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"output0": (1, 84, 8400)}, r"output0 \[1, 84, 8400\]\. Supported are dets \[1, n, 5\]"),
        ({"output0": (1, 25500, 57)}, r"\[1, 25500, 57\]\. Supported .* detections \[1, n <= 1000, 57\]"),
        ({"output0": (1, 8400, 56)}, "Supported are"),
        ({"output0": (1, 57, 8400)}, "Supported are"),
        ({"output0": (8, 56, 8400)}, "Supported are"),
        ({"output0": (1, 56, 8400), "output1": (1, 32, 160, 160)}, r"output1 \[1, 32, 160, 160\]"),
        ({"people": (1, 6, 56)}, "For MoveNet give its TensorFlow.js weights"),
        ({"dets": (1, None, 5), "labels": (1, None)}, r"dets \[1, \?, 5\], labels \[1, \?\]"),
        ({"dets": (1, 10, 5), "keypoints": (1, 10, 133, 3)}, r"keypoints \[1, 10, 133, 3\]"),
        ({"simcc_x": (None, 17, 384), "simcc_y": (None, 17, 512)}, "Supported are"),
        ({"a": (1, 10, 5), "b": (1, 10, 5)}, "Supported are"),
        ({"output0": None}, "of unknown rank"),
        ({"output0": (None, None, None)}, "Supported are"),
        ({}, "The outputs are none"),
    ],
)
def test_other_outputs_are_refused_and_named(shapes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConversionError, match=words):
        recognise(shapes)


@pytest.mark.parametrize(
    ("shapes", "decoder"),
    [
        ({"output0": (1, 56, 8400)}, "yolo-pose"),
        ({"output0": (None, 56, None)}, "yolo-pose"),
        ({"output0": (1, 300, 57)}, "yolo-pose"),
        ({"output0": (1, None, 57)}, "yolo-pose"),
        ({"keypoints": (None, None, 17, 3), "dets": (None, None, 5)}, "rtmo"),
        ({"a": (1, 2000, 5), "b": (1, 2000, 17, 3)}, "rtmo"),
    ],
)
def test_known_outputs_in_any_order_and_under_any_name(shapes: dict[str, Any], decoder: str) -> None:
    assert recognise(shapes)[0].decoder == decoder


def constant_model(path: Path, **values: Any) -> Path:
    """A model whose outputs are constants, whatever the picture shows."""
    graph = Graph()
    given = image((64, 64))
    nothing = graph.add("Mul", graph.add("ReduceMean", given.name, keepdims=0), graph.constant(0))
    for name, value in values.items():
        graph.add("Add", nothing, graph.constant(value), output=name)
    return graph.write(path, given, {name: np.shape(value) for name, value in values.items()})


def test_values_that_no_such_head_computes_are_refused(tmp_path: Path) -> None:
    logits = np.zeros((1, 56, 84))
    logits[0, 4] = -7
    with pytest.raises(ConversionError, match=r"scores in anchors go from -7 to 0, .* with its sigmoid"):
        convert(constant_model(tmp_path / "m.onnx", out=logits), SPEC, tmp_path / "out")
    rows = np.full((1, 300, 57), 0.25)  # of YOLOv7 the fifth is the objectness, the sixth the class's probability
    with pytest.raises(ConversionError, match=r"sixth value .* whole number, but here it is 0\.25"):
        convert(constant_model(tmp_path / "m.onnx", out=rows), SPEC, tmp_path / "out")
    sure = {"dets": np.full((1, 3, 5), 0.5, np.float32), "keypoints": np.full((1, 3, 17, 3), 17.0, np.float32)}
    with pytest.raises(ConversionError, match=r"scores in keypoints go from 17 to 17"):
        refuse_other_values(recognise({name: array.shape for name, array in sure.items()})[0], sure)


def test_without_a_person_what_precedes_the_selection_is_compared_and_the_manifest_says_so(tmp_path: Path) -> None:
    parity = convert(write_rtmo(tmp_path / "m.onnx"), SPEC, tmp_path / "out").parity
    assert set(parity.mean_abs) == {"convolutions"}
    assert "nobody is in them" in parity.images


def test_rows_without_a_person_and_without_a_convolution_prove_nothing(tmp_path: Path) -> None:
    source = constant_model(tmp_path / "m.onnx", out=np.zeros((1, 300, 57)))
    with pytest.raises(ConversionError, match=r"nothing could be compared\. Give pictures of people with --images"):
        convert(source, SPEC, tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": 0.5}, "--width 0.5 does not apply to a pose model in ONNX"),
        ({"labels": ("a", "b")}, "--labels a,b does not apply"),
        ({"labelled": Path("x")}, "--labelled x does not apply"),
        ({"size": "16"}, "Give 32 to 1281 pixels"),
    ],
)
def test_options_of_other_models_are_refused(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConversionError, match=words):
        convert(write_yolo(tmp_path / "m.onnx"), dataclasses.replace(SPEC, **options), tmp_path / "out")


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([image((64, 64), kind=TensorProto.UINT8)], r"images u8 \[1,3,64,64\], not one of floats"),
        ([image((64, 64), batch=8)], r"images f32 \[8,3,64,64\], not one"),
        ([image((64, 64)), image((64, 64), "more")], r"images .*, more .*, not one"),
        ([helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 4, 64, 64])], "not one"),
        ([helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64])], "not one"),
    ],
)
def test_other_inputs_are_refused(tmp_path: Path, inputs: list[Any], words: str) -> None:
    graph = Graph()
    floats = [graph.add("Cast", each.name, to=TensorProto.FLOAT) for each in inputs]
    means = [graph.add("ReduceMean", each, keepdims=0) for each in floats]
    total = graph.add("Sum", *means)
    graph.add("Add", total, graph.constant(np.zeros((1, 56, 84))), output="out")
    graph.write(tmp_path / "m.onnx", inputs[0], {"out": [1, 56, 84]})
    model = onnx.load(tmp_path / "m.onnx")
    model.graph.input.extend(inputs[1:])
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ConversionError, match=words):
        convert(tmp_path / "m.onnx", SPEC, tmp_path / "out")


def test_an_ir_that_differs_from_its_source_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: Path
) -> None:
    run = reference.run_reference

    def moved(*args: Any) -> list[dict[str, Any]]:
        found = run(*args)
        return [{name: array + (name == "keypoints") for name, array in values.items()} for values in found]

    monkeypatch.setattr(reference, "run_reference", moved)
    monkeypatch.setattr(conversion, "refuse_other_values", lambda *_: None)
    spec = dataclasses.replace(SPEC, images=pictures)
    with pytest.raises(ConversionError, match=r"Output positions of the IR differs from the source's by 0\.8"):
        convert(write_rtmo(tmp_path / "m.onnx"), spec, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_rows_in_another_order_are_equal_and_a_missing_person_is_not() -> None:
    """Two correct implementations may order people of nearly equal scores differently."""
    random = np.random.default_rng(0)
    rows = random.uniform(50, 200, (1, 6, 57)).astype(np.float32)
    rows[0, :, 4], rows[0, :, 8::3] = [0.9, 0.9, 0.8, 0.3, 0.2, 0.1], 0.5
    expected, other, fewer = rows, rows[:, ::-1].copy(), rows[:, 1:]
    from models.conversion.onnx_source.differences import boxed_differences

    same = boxed_differences({"detections": expected}, {"detections": other})
    assert same["positions"].shape == (6, 38), "three sure rows, from both sides"
    assert not same["positions"].any()
    assert not same["scores"].any()
    missing = boxed_differences({"detections": expected}, {"detections": fewer})
    assert np.abs(missing["positions"]).mean() > 3
    nobody = boxed_differences({"detections": expected}, {"detections": rows[:, :0]})
    assert np.abs(nobody["positions"]).mean() > 50


# What a file cannot reach


def changed(path: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    model = onnx.load(write_yolo(path))
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def test_weights_beside_the_model_are_read_and_named_in_the_manifest(
    converted: dict[str, Converted], tmp_path: Path
) -> None:
    """As torch.onnx.export(dynamo=True) writes them."""
    model = onnx.load(write_yolo(tmp_path / "m.onnx"))
    convert_model_to_external_data(model, location="m.onnx.data", size_threshold=0)
    onnx.save(model, tmp_path / "m.onnx")
    manifest = convert(tmp_path / "m.onnx", SPEC, tmp_path / "out")
    assert set(manifest.source.files) == {"m.onnx", "m.onnx.data"}
    assert manifest.version_id == converted["yolo"].manifest.version_id
    (tmp_path / "m.onnx.data").unlink()
    with pytest.raises(ConversionError, match=r"names 'm\.onnx\.data', which does not exist"):
        convert(tmp_path / "m.onnx", SPEC, tmp_path / "out")


def external(tensor: onnx.TensorProto, **told: str) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in told.items():
        tensor.external_data.add(key=key, value=value)


@pytest.mark.parametrize(
    "location", ["../secret", "/etc/passwd", "", "link/secret", "file:///etc/passwd", "a/../../secret", "x\0"]
)
@pytest.mark.parametrize("place", ["initializer", "constant", "branch"])
def test_weights_elsewhere_are_refused_wherever_the_graph_names_them(tmp_path: Path, location: str, place: str) -> None:
    (tmp_path / "secret").write_bytes(bytes(1000))
    (tmp_path / "m").mkdir()
    (tmp_path / "m/link").symlink_to(tmp_path)

    def change(model: onnx.ModelProto) -> None:
        tensor = numpy_helper.from_array(np.zeros(4, np.float32), "w")
        external(tensor, location=location)
        if place == "initializer":
            model.graph.initializer.append(tensor)
            return
        constant = helper.make_node("Constant", [], ["w"])
        constant.attribute.add(name="value", type=onnx.AttributeProto.TENSOR, t=tensor)
        if place == "constant":
            model.graph.node.insert(0, constant)
            return
        branch = helper.make_graph([constant], "b", [], [helper.make_tensor_value_info("w", TensorProto.FLOAT, [4])])
        model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
        model.graph.node.insert(0, helper.make_node("If", ["yes"], ["z"], then_branch=branch, else_branch=branch))

    with pytest.raises(ConversionError, match=r"not inside its folder|a link to elsewhere|cannot exist"):
        convert(changed(tmp_path / "m/m.onnx", change), SPEC, tmp_path / "out")


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"offset": "900"}, "the model names more"),
        ({"length": "4000"}, "the model names more"),
        ({"offset": "-1"}, "'-1', which is no number"),
        ({"length": "1e3"}, "'1e3', which is no number"),
        ({"offset": "9" * 30}, "no number"),
        ({"length": "8"}, "not a valid ONNX model|OpenVINO cannot convert"),
    ],
)
def test_parts_of_files_that_do_not_fit_are_refused(tmp_path: Path, told: dict[str, str], words: str) -> None:
    (tmp_path / "w").write_bytes(bytes(800))

    def change(model: onnx.ModelProto) -> None:
        external(model.graph.initializer[0], location="w", **told)

    with pytest.raises(ConversionError, match=words):
        convert(changed(tmp_path / "m.onnx", change), SPEC, tmp_path / "out")


def test_one_file_named_a_thousand_times_is_bounded(tmp_path: Path) -> None:
    with (tmp_path / "w").open("wb") as file:
        file.truncate(1 << 30)

    def change(model: onnx.ModelProto) -> None:
        for number in range(1000):
            tensor = model.graph.initializer.add(name=f"w{number}", dims=[1 << 28], data_type=TensorProto.FLOAT)
            external(tensor, location="w")

    with pytest.raises(ConversionError, match="more than 2,147,483,648"):
        convert(changed(tmp_path / "m.onnx", change), SPEC, tmp_path / "out")


def swap(op: str, domain: str = "") -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        node = next(node for node in model.graph.node if node.op_type == "Sigmoid")
        node.op_type, node.domain = op, domain
        model.opset_import.add(domain=domain or "other", version=1)

    return change


def inside_a_branch(model: onnx.ModelProto) -> None:
    node = helper.make_node("Evil", [], ["w"], domain="com.example")
    branch = helper.make_graph([node], "b", [], [helper.make_tensor_value_info("w", TensorProto.FLOAT, [4])])
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.insert(0, helper.make_node("If", ["yes"], ["z"], then_branch=branch, else_branch=branch))


def own_function(model: onnx.ModelProto) -> None:
    body = [helper.make_node("Sigmoid", ["x"], ["y"])]
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("mine", "Squash", ["x"], ["y"], body, opsets))
    swap("Squash", "mine")(model)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (swap("EfficientNMS_TRT", "trt.plugins"), r"trt\.plugins\.EfficientNMS_TRT"),
        (swap("grid_sampler", "mmdeploy"), r"mmdeploy\.grid_sampler"),
        (swap("FusedConv", "com.microsoft"), r"com\.microsoft\.FusedConv"),
        (swap("ArrayFeatureExtractor", "ai.onnx.ml"), r"ai\.onnx\.ml\.ArrayFeatureExtractor"),
        (swap("TRTBatchedNMS"), r"ai\.onnx\.TRTBatchedNMS"),
        (swap("StringConcat"), r"ai\.onnx\.StringConcat"),
        (inside_a_branch, r"com\.example\.Evil.* Export it with standard operators only"),
        (own_function, r"operators of its own \(Squash\)\. Export it with its functions inlined"),
        (swap("RandomNormalLike"), r"random numbers \(RandomNormalLike\)"),
        (swap("DynamicQuantizeLinear"), r"is quantised \(DynamicQuantizeLinear\).* 'nightjar quantize'"),
    ],
)
def test_operators_outside_the_standard_are_refused_and_named(
    tmp_path: Path, change: Callable[[onnx.ModelProto], None], words: str
) -> None:
    with pytest.raises(ConversionError, match=words):
        convert(changed(tmp_path / "m.onnx", change), SPEC, tmp_path / "out")


def test_an_operator_that_openvino_lacks_is_named(tmp_path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        node = next(node for node in model.graph.node if node.op_type == "Sigmoid")
        node.op_type = "Det"

    with pytest.raises(ConversionError, match=r"OpenVINO cannot convert m\.onnx .*Det"):
        convert(changed(tmp_path / "m.onnx", change), SPEC, tmp_path / "out")


def deep(model: onnx.ModelProto) -> None:
    graph = helper.make_graph([], "g", [], [])
    for _ in range(40):
        node = helper.make_node("If", ["yes"], ["z"], then_branch=graph, else_branch=graph)
        graph = helper.make_graph([node], "g", [], [])
        if graph.ByteSize() > 1 << 16:
            break
    model.graph.node.append(node)


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.graph.node.pop(3),
        lambda model: model.graph.node[0].input.append("nowhere"),
        lambda model: model.graph.ClearField("node"),
        lambda model: setattr(model, "ir_version", 1000),
        lambda model: model.graph.initializer[0].ClearField("raw_data"),
        lambda model: model.graph.initializer[0].dims.append(1 << 40),
        deep,
    ],
)
def test_broken_models_are_refused_with_a_sentence(tmp_path: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    with pytest.raises(ConversionError, match=r"\. (Export|Fetch) .*\.$"):
        convert(changed(tmp_path / "m.onnx", change), SPEC, tmp_path / "out")


def test_a_cut_off_file_and_other_protobufs_are_no_onnx(tmp_path: Path) -> None:
    content = write_yolo(tmp_path / "m.onnx").read_bytes()
    assert is_onnx(content)
    for end in (0, 1, len(content) // 2, len(content) - 1):
        assert not is_onnx(content[:end])
    (tmp_path / "m.onnx").write_bytes(content[:-1])
    with pytest.raises(ConversionError, match=r"m\.onnx .* not complete\."):
        convert(tmp_path / "m.onnx", SPEC, tmp_path / "out")
    for other in (b"", b"\xff" * 30, b"\x3a\x00\x42\x01", b"\x3b\x42"):
        assert not is_onnx(other)


def test_the_written_model_is_the_one_that_was_measured(converted: dict[str, Converted], pictures: Path) -> None:
    """Against ONNX itself once more, from the written files, on another picture."""
    model = converted["rtmo"]
    tensor = picture(SIZE, [(7, 7)])[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32)
    source = onnx.load(model.manifest.source.location)
    names = {"dets": "dets", "keypoints": "keypoints"}
    expected = reference.run_reference(source, "input", [tensor], names)
    found = run_ir(str(model.folder / XML_FILE), list(names), "one", [tensor])
    assert found.outputs[0]["dets"].shape == (1, 1, 5)
    for name in names:
        np.testing.assert_allclose(found.outputs[0][name], expected[0][name], atol=1e-4)
    assert compare(str(model.folder / XML_FILE), found, "FP32").mean_abs == {"positions": 0.0, "scores": 0.0}
