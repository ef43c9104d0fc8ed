"""Multiply-adds of small IRs, compared with counts by hand."""

from pathlib import Path

import numpy as np

from models.conversion.ir_xml import multiply_adds
from models.heavy.openvino import ov

ops = ov.opset8


def saved(folder: Path, node: object, image: object) -> Path:
    ov.save_model(ov.Model([ops.result(node)], [image], "counted"), str(folder / "model.xml"), compress_to_fp16=False)
    return folder / "model.xml"


def convolved(image: object, weights: np.ndarray, strides: tuple[int, int]) -> object:
    return ops.convolution(image, weights, strides, (0, 0), (0, 0), (1, 1))


def test_a_convolution_costs_its_output_times_its_kernel(tmp_path: Path) -> None:
    image = ops.parameter((1, 3, 9, 9), np.float32)
    node = convolved(image, np.ones((5, 3, 3, 3), np.float32), (2, 2))
    assert multiply_adds(saved(tmp_path, node, image)) == (4 * 4 * 5) * (3 * 3 * 3)


def test_a_depthwise_convolution_reads_one_channel_at_a_time(tmp_path: Path) -> None:
    image = ops.parameter((1, 6, 8, 8), np.float32)
    weights = np.ones((6, 1, 1, 3, 3), np.float32)
    node = ops.group_convolution(image, weights, (1, 1), (0, 0), (0, 0), (1, 1))
    assert multiply_adds(saved(tmp_path, node, image)) == (6 * 6 * 6) * (3 * 3)


def test_products_of_varying_shape_are_left_out(tmp_path: Path) -> None:
    image = ops.parameter((-1, 7), np.float32)
    node = ops.matmul(image, np.ones((7, 4), np.float32), False, False)
    assert multiply_adds(saved(tmp_path, node, image)) == 0


def test_matrix_products_are_counted_transposed_or_not(tmp_path: Path) -> None:
    for transposed, shape in ((False, (2, 7)), (True, (7, 2))):
        image = ops.parameter(shape, np.float32)
        node = ops.matmul(image, np.ones((7, 4), np.float32), transposed, False)
        assert multiply_adds(saved(tmp_path, node, image)) == 2 * 4 * 7


def test_operations_without_products_count_as_zero(tmp_path: Path) -> None:
    image = ops.parameter((1, 3, 9, 9), np.float32)
    assert multiply_adds(saved(tmp_path, ops.relu(image), image)) == 0
