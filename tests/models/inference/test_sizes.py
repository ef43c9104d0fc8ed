"""Input sizes as users write them."""

import pytest

from models.conversion.spec import ConvertSpec
from models.inference.sizes import MAX_SIZE, MIN_SIZE, InputSize, parse_size
from models.types import NightjarError


@pytest.mark.parametrize(
    ("text", "size"),
    [("", None), ("256", (256, 256)), ("192x320", (192, 320)), (f"{MIN_SIZE}x{MAX_SIZE}", (MIN_SIZE, MAX_SIZE))],
)
def test_one_number_is_a_square_and_two_are_height_and_width(text: str, size: tuple[int, int] | None) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["x", "0", "256x", "x256", "-256", "256.0", "192X320", "192x320x3", "256 ", "٢٥٦", "a"]
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(NightjarError, match="Give --size N for a square, or HEIGHTxWIDTH"):
        parse_size(text)


@pytest.mark.parametrize("text", ["31", "1282", "256x1282", "16x320"])
def test_a_size_out_of_bounds_is_refused(text: str) -> None:
    with pytest.raises(NightjarError, match=f"Give {MIN_SIZE} to {MAX_SIZE} pixels"):
        parse_size(text)


def test_a_square_is_written_as_one_number() -> None:
    assert [str(InputSize(256, 256)), str(InputSize(192, 320))] == ["256", "192x320"]


@pytest.mark.parametrize(("stored", "size"), [(257, (257, 257)), (None, None), ("", None), ("257x401", (257, 401))])
def test_sizes_stored_by_earlier_versions_are_read(stored: object, size: tuple[int, int] | None) -> None:
    assert ConvertSpec("a", size=stored).input_size == size


def test_the_shipped_model_keeps_the_size_that_it_was_trained_at() -> None:
    assert ConvertSpec("posenet-demo").input_size == (224, 224)
    assert ConvertSpec("posenet-demo", size="257").input_size == (257, 257)
