"""Reading one picture: every supported format, and every damage that must be detected."""

import os
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from models.datasets import picture as pictures
from models.datasets.picture import Picture, PictureError, read_picture
from tests.models.picture_files import animated, cmyk_jpeg, encoded, png, put, scene, with_exif

IMAGE = scene(0)
KINDS = {
    "baseline": encoded(IMAGE, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 95),
    "progressive": encoded(IMAGE, ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "png": encoded(IMAGE),
    "webp": encoded(IMAGE, ".webp", cv2.IMWRITE_WEBP_QUALITY, 95),
    "lossless webp": encoded(IMAGE, ".webp", cv2.IMWRITE_WEBP_QUALITY, 101),
    "gif": encoded(IMAGE, ".gif"),
    "bmp": encoded(IMAGE, ".bmp"),
}


def read(folder: Path, content: bytes, **fields: object) -> np.ndarray:
    return read_picture(put(folder / "picture", content, **fields))


def difference(one: np.ndarray, other: np.ndarray) -> float:
    assert one.shape == other.shape
    return float(np.abs(one.astype(int) - other).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_read_by_its_content(kind: str, tmp_path: Path) -> None:
    image = read(tmp_path, KINDS[kind])
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert difference(image, IMAGE) < (20 if kind == "gif" else 5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99, 1.0])
def test_a_truncated_file_is_refused_at_every_length(kind: str, share: float, tmp_path: Path) -> None:
    length = min(int(len(KINDS[kind]) * share), len(KINDS[kind]) - 1)
    with pytest.raises(PictureError, match=r"truncated or damaged|not a JPEG"):
        read(tmp_path, KINDS[kind][:length])


@pytest.mark.parametrize("kind", ["baseline", "progressive"])
@pytest.mark.parametrize("zeros", [100, 100_000])
def test_a_jpeg_whose_second_half_is_zeros_is_refused(kind: str, zeros: int, tmp_path: Path) -> None:
    """A download interrupted after its space was reserved; its EXIF thumbnail has an end marker."""
    content = with_exif(KINDS[kind], 1, thumbnail=KINDS["baseline"])
    assert difference(read(tmp_path, content), IMAGE) < 5
    with pytest.raises(PictureError, match="truncated or damaged"):
        read(tmp_path, content[: len(content) - len(KINDS[kind]) // 2] + bytes(zeros))


def test_bytes_after_the_end_of_a_jpeg_are_ignored(tmp_path: Path) -> None:
    assert difference(read(tmp_path, KINDS["baseline"] + b"a phone's short film"), IMAGE) < 5


def test_a_flipped_bit_in_a_png_is_detected(tmp_path: Path) -> None:
    content = bytearray(KINDS["png"])
    content[len(content) // 2] ^= 1
    with pytest.raises(PictureError, match="PNG that is truncated or damaged"):
        read(tmp_path, bytes(content))


@pytest.mark.parametrize(
    ("inks", "rgb"),
    [
        ((255, 255, 255, 255), (255, 255, 255)),
        ((255, 255, 255, 0), (0, 0, 0)),
        ((0, 255, 255, 255), (0, 255, 255)),
        ((255, 0, 255, 255), (255, 0, 255)),
        ((255, 100, 40, 200), (200, 78, 31)),
    ],
)
def test_a_cmyk_jpeg_becomes_rgb(inks: tuple[int, int, int, int], rgb: tuple[int, int, int], tmp_path: Path) -> None:
    assert np.abs(read(tmp_path, cmyk_jpeg(inks)).astype(int) - rgb).max() <= 2


def test_grey_16_bit_and_palette_images_become_rgb(tmp_path: Path) -> None:
    grey = IMAGE[..., 0]
    as_rgb = np.repeat(grey[..., None], 3, axis=2)
    np.testing.assert_array_equal(read(tmp_path, encoded(grey)), as_rgb)
    np.testing.assert_array_equal(read(tmp_path, encoded(grey.astype(np.uint16) * 257)), as_rgb)
    np.testing.assert_array_equal(read(tmp_path, encoded(IMAGE.astype(np.uint16) * 257)), IMAGE)
    palette = png(2, 1, 8, 3, b"\0\0\1", (b"PLTE", bytes((200, 100, 50, 1, 2, 3))))
    assert read(tmp_path, palette).tolist() == [[[200, 100, 50], [1, 2, 3]]]


def test_a_transparent_picture_is_blended_with_white(tmp_path: Path) -> None:
    alpha = np.full(IMAGE.shape[:2], 255, np.uint8)
    alpha[:, :10], alpha[:, 10:20] = 0, 128
    wanted = IMAGE * (alpha[..., None] / 255) + 255 * (1 - alpha[..., None] / 255)
    rgba = np.dstack([IMAGE, alpha])
    for content in (encoded(rgba), encoded(rgba.astype(np.uint16) * 257)):
        image = read(tmp_path, content)
        assert np.abs(image - wanted).max() <= 1
        assert (image[:, :10] == 255).all()
    palette = png(2, 1, 8, 3, b"\0\0\1", (b"PLTE", bytes((200, 100, 50, 1, 2, 3))), (b"tRNS", b"\0\xff"))
    assert read(tmp_path, palette).tolist() == [[[255, 255, 255], [1, 2, 3]]]


def test_a_large_transparent_picture_is_blended_in_stripes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rgba = np.random.default_rng(1).integers(0, 256, (97, 64, 4)).astype(np.uint8)
    whole = read(tmp_path, encoded(rgba))
    monkeypatch.setattr(pictures, "STRIPE_PIXELS", 64 * 10)
    assert (read(tmp_path, encoded(rgba)) == whole).all()


@pytest.mark.parametrize("kind", [".gif", ".png", ".webp"])
def test_the_first_frame_of_an_animation_is_used(kind: str, tmp_path: Path) -> None:
    image = read(tmp_path, animated([IMAGE, scene(1), scene(2)], kind))
    assert difference(image, IMAGE) < 20  # a GIF has few colours
    assert difference(image, scene(1)) > 30


TURNED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", TURNED)
def test_exif_orientation_is_applied(orientation: int, tmp_path: Path) -> None:
    image = read(tmp_path, with_exif(KINDS["baseline"], orientation))
    assert difference(image, TURNED[orientation](IMAGE)) < 5


@pytest.mark.parametrize(
    "content",
    [
        png(60_000, 60_000, 8, 2, b""),
        KINDS["bmp"][:18] + struct.pack("<ii", 60_000, -60_000) + KINDS["bmp"][26:],
        KINDS["gif"][:6] + b"\xff\xff\xff\xff" + KINDS["gif"][10:],
        KINDS["webp"].replace(b"VP8 ", b"VP8X", 1)[:20] + b"\0\0\0\0" + b"\xff" * 6,
        KINDS["baseline"].replace(struct.pack(">BHH", 8, 48, 64), b"\x08\xff\xff\xff\xff", 1),
    ],
    ids=["png", "bmp", "gif", "webp", "jpeg"],
)
def test_a_decompression_bomb_is_refused_before_it_is_decoded(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "_decode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(PictureError, match=r"has \d+ x \d+ by its header, more than 100,000,000 pixels"):
        read(tmp_path, content)


@pytest.mark.parametrize("kind", KINDS)
def test_the_pixel_limit_counts_the_true_size(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_PIXELS", 48 * 64)
    assert read(tmp_path, KINDS[kind]).shape == (48, 64, 3)
    monkeypatch.setattr(pictures, "MAX_PIXELS", 48 * 64 - 1)
    with pytest.raises(PictureError, match="has 64 x 48 by its header"):
        read(tmp_path, KINDS[kind])


@pytest.mark.parametrize(
    "content", [b"", b"<html>404</html>", b"\xff\xd8\xff", b"II*\0" + bytes(100), b"RIFF....WEBP...."]
)
def test_other_files_are_refused_and_named(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(
        PictureError, match=r"picture (is empty|starts with b.*), (which is not a JPEG, PNG, WebP|as TIFF does)"
    ):
        read(tmp_path, content)


def test_only_regular_files_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to_pipe").symlink_to("pipe")
    for path in (tmp_path / "pipe", tmp_path / "to_pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(PictureError, match="is not a regular file"):
            read_picture(Picture(path, True, "made-up"))
    with pytest.raises(PictureError, match="does not exist"):
        read_picture(Picture(tmp_path / "gone", True, "made-up"))
    there = put(tmp_path / "there", KINDS["png"])
    (tmp_path / "link").symlink_to("there")
    assert read_picture(Picture(tmp_path / "link", True, "made-up")).shape == (48, 64, 3)
    monkeypatch.setattr(pictures, "MAX_BYTES", 10)
    with pytest.raises(PictureError, match="more than 10"):
        read_picture(there)


def test_the_box_is_cropped_and_clipped_to_the_picture(tmp_path: Path) -> None:
    for box, wanted in (
        ((3, 5, 20, 30), IMAGE[5:30, 3:20]),
        ((-4, -1, 20, 30), IMAGE[:30, :20]),
        ((50, 40, 99, 99), IMAGE[40:, 50:]),
    ):
        np.testing.assert_array_equal(read(tmp_path, KINDS["png"], box=box), wanted)
    for outside in ((64, 0, 70, 10), (-9, 0, -2, 10), (10, 10, 10, 20)):
        with pytest.raises(PictureError, match=r"outside .* \(64 x 48\)"):
            read(tmp_path, KINDS["png"], box=outside)


@given(
    kind=st.sampled_from(sorted(KINDS)),
    damage=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=5),
)
@example(kind="baseline", damage=[(0.003, 0)])
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_gives_a_picture_or_a_picture_error(
    kind: str, damage: list[tuple[float, int]], tmp_path: Path
) -> None:
    content = bytearray(KINDS[kind])
    for place, value in damage:
        content[int(place * len(content))] = value
    try:
        image = read(tmp_path, bytes(content))
    except PictureError:
        return
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
