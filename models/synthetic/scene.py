"""Surroundings of synthetic people: textured backgrounds, occluding things, light, blur, noise, clothes. No bodies."""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from models.synthetic.draw import OBJECT, SUPERSAMPLING, Color, Image, Looks

TEXTURE_PX = 768
_TEXTURES = 28
_FIELDS = 12
_GRAIN_SD = 40
_TEXTURE_SEED = 20221123  # the textures are scenery, the same for every seed of a scene

# Skin from dark to light: the middle of each step of the Monk Skin Tone Scale, as published in sRGB.
_SKINS = (
    *((246, 237, 228), (243, 231, 219), (247, 234, 208), (234, 218, 186), (215, 189, 150)),
    *((160, 126, 86), (130, 92, 67), (96, 65, 52), (58, 49, 42), (41, 36, 32)),
)
_HAIRS = ((28, 24, 22), (52, 36, 28), (84, 56, 36), (130, 88, 48), (196, 160, 98), (150, 74, 40), (168, 166, 164))


def _noise(rng: np.random.Generator, cells: int, channels: int = 1) -> NDArray[np.float32]:
    """Compute smooth noise in several octaves, about 0 to 1."""
    total = np.zeros((TEXTURE_PX, TEXTURE_PX, channels), np.float32)
    weight = 1.0
    while cells < 400:
        layer = rng.random((cells, cells, channels), dtype=np.float32)
        grown = cv2.resize(layer, (TEXTURE_PX, TEXTURE_PX), interpolation=cv2.INTER_CUBIC)
        total += weight * grown.reshape(total.shape)
        weight, cells = weight * 0.55, cells * 2 + 1
    noise: NDArray[np.float32] = (total - total.min()) / (total.max() - total.min())
    return noise


def _color(rng: np.random.Generator, low: float = 20, high: float = 235) -> NDArray[np.float32]:
    base = rng.uniform(low, high)
    return np.clip(base + rng.normal(0, 28, 3), 5, 250).astype(np.float32)


def _blend(amount: NDArray[np.float32], a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    return a + (b - a) * amount


def _plain(rng: np.random.Generator) -> NDArray[np.float32]:
    return _blend(_noise(rng, int(rng.integers(2, 24))), _color(rng), _color(rng))


def _tiles(rng: np.random.Generator) -> NDArray[np.float32]:
    """Bricks, tiles or planks."""
    picture = _plain(rng)
    tall, wide = int(rng.integers(14, 90)), int(rng.integers(20, 160))
    joint = tuple(float(c) for c in _color(rng))
    for row, top in enumerate(range(0, TEXTURE_PX, tall)):
        start = -(wide // 2) * (row % 2)
        for left in range(start, TEXTURE_PX, wide):
            picture[top : top + tall, max(left, 0) : left + wide] *= rng.uniform(0.82, 1.12)
            cv2.rectangle(picture, (left, top), (left + wide, top + tall), joint, int(rng.integers(1, 3)))
    return picture


def _landscape(rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw sky or wall above, and ground below with a few lines that run to the horizon."""
    picture = _blend(_noise(rng, 3), _color(rng, 110), _color(rng, 140))
    horizon = int(TEXTURE_PX * rng.uniform(0.25, 0.7))
    picture[horizon:] = _blend(_noise(rng, 17), _color(rng, 40, 170), _color(rng, 40, 190))[horizon:]
    vanish = (int(rng.integers(TEXTURE_PX)), horizon)
    for _ in range(int(rng.integers(0, 9))):
        end = (int(rng.integers(-TEXTURE_PX, 2 * TEXTURE_PX)), TEXTURE_PX)
        cv2.line(picture, vanish, end, tuple(float(c) for c in _color(rng)), int(rng.integers(1, 6)), cv2.LINE_AA)
    for _ in range(int(rng.integers(2, 14))):  # houses, doors, windows, trunks
        left, tall = int(rng.integers(TEXTURE_PX)), int(rng.integers(30, 380))
        wide = int(rng.integers(10, 150))
        corner = (left + wide, horizon + int(rng.integers(0, 30)))
        cv2.rectangle(picture, (left, horizon - tall), corner, tuple(float(c) for c in _color(rng)), -1)
    return picture


def _clutter(rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw leaves, crates, branches: many small shapes, some with the tones and widths of limbs."""
    picture = _plain(rng)
    base = _color(rng)
    for _ in range(int(rng.integers(60, 400))):
        tone = tuple(float(c) for c in np.clip(base + rng.normal(0, 45, 3), 0, 255))
        a = rng.integers(0, TEXTURE_PX, 2)
        kind, size = rng.integers(3), rng.integers(4, 60, 2)
        if kind == 0:
            cv2.ellipse(picture, a.tolist(), size.tolist(), float(rng.uniform(0, 180)), 0, 360, tone, -1, cv2.LINE_AA)
        elif kind == 1:
            cv2.rectangle(picture, a.tolist(), (a + 2 * size).tolist(), tone, -1)
        else:
            b = a + rng.integers(-110, 110, 2)
            cv2.line(picture, a.tolist(), b.tolist(), tone, int(rng.integers(2, 22)), cv2.LINE_AA)
    return picture


@lru_cache(maxsize=1)
def textures() -> tuple[Image, ...]:
    """Make the backgrounds, (768, 768, 3) each, once per process, in about a second."""
    rng = np.random.default_rng(_TEXTURE_SEED)
    kinds = (_plain, _tiles, _landscape, _landscape, _clutter, _tiles, _landscape)
    made = []
    for index in range(_TEXTURES):
        grain = rng.normal(0, rng.uniform(0, 9), (TEXTURE_PX, TEXTURE_PX, 1))
        made.append(np.clip(kinds[index % len(kinds)](rng) + grain, 0, 255).astype(np.uint8))
    return tuple(made)


@lru_cache(maxsize=1)
def _light_fields() -> tuple[Image, ...]:
    """Soft light and shade over a frame: (64, 64) uint8, 128 = unchanged."""
    rng = np.random.default_rng(_TEXTURE_SEED + 1)
    fields = []
    for index in range(_FIELDS):
        coarse = rng.uniform(88, 150, (2 + index % 4, 2 + index % 4)).astype(np.float32)
        fields.append(np.clip(cv2.resize(coarse, (64, 64), interpolation=cv2.INTER_CUBIC), 60, 170).astype(np.uint8))
    return tuple(fields)


@lru_cache(maxsize=1)
def _grain() -> Image:
    grain = np.random.default_rng(_TEXTURE_SEED + 2).normal(128, _GRAIN_SD, (512, 512, 3))
    return np.clip(grain, 0, 255).astype(np.uint8)


def background(rng: np.random.Generator, size: int) -> Image:
    """(2 size, 2 size, 4): a piece of a texture, mirrored and tinted at random."""
    texture = textures()[int(rng.integers(_TEXTURES))]
    piece = int(rng.integers(TEXTURE_PX // 4, TEXTURE_PX + 1))
    top, left = (int(value) for value in rng.integers(0, TEXTURE_PX - piece + 1, 2))
    picture = cv2.resize(texture[top : top + piece, left : left + piece], (size, size), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.5:
        picture = cv2.flip(picture, 1)
    gain = rng.uniform(0.6, 1.2) * (rng.uniform(0.75, 1.25, 3) if rng.random() < 0.5 else np.ones(3))
    table = np.clip(np.arange(256)[:, None] * gain + rng.uniform(-25, 35), 0, 255).astype(np.uint8)
    picture = cv2.cvtColor(cv2.LUT(picture, table.reshape(1, 256, 3)), cv2.COLOR_RGB2RGBA)
    canvas = cv2.resize(picture, None, fx=SUPERSAMPLING, fy=SUPERSAMPLING, interpolation=cv2.INTER_NEAREST)
    canvas[:, :, 3] = 0
    return canvas


def things(rng: np.random.Generator, canvas: Image, count: int, in_front: bool) -> None:
    """Draw boxes, poles, balls and bars as furniture, posts and bags; smaller ones in front of people."""
    size = len(canvas)
    for _ in range(count):
        tone = (*(float(c) for c in _color(rng)), float(OBJECT) if in_front else 0.0)
        dark = (*(0.7 * c for c in tone[:3]), tone[3])
        reach = rng.uniform(0.03, 0.16 if in_front else 0.3, 2) * size
        x, y = rng.uniform(0, size, 2)
        kind = int(rng.integers(4))
        if kind == 0:
            box = [(int(x - reach[0]), int(y - reach[1])), (int(x + reach[0]), int(y + reach[1]))]
            cv2.rectangle(canvas, box[0], box[1], tone, -1)
            cv2.rectangle(canvas, (box[1][0] - int(reach[0] / 2), box[0][1]), box[1], dark, -1)
        elif kind == 1:
            cv2.ellipse(canvas, (int(x), int(y)), (int(reach[0]), int(reach[1])), 0, 0, 360, tone, -1)
            shifted = (int(x - reach[0] / 5), int(y - reach[1] / 5))
            cv2.ellipse(canvas, shifted, (int(reach[0] * 0.6), int(reach[1] * 0.6)), 0, 0, 360, dark, -1)
        elif kind == 2:
            lean = rng.normal(0, 0.05) * size
            cv2.line(canvas, (int(x), -5), (int(x + lean), size + 5), tone, max(2, int(reach[0] * 0.35)))
        else:
            end = (int(x + rng.normal(0, 2) * reach[0]), int(y + rng.normal(0, 2) * reach[1]))
            cv2.line(canvas, (int(x), int(y)), end, tone, max(2, int(reach[1] * 0.4)))


def random_looks(rng: np.random.Generator) -> Looks:
    """Choose clothes, skin and hair of one person at random."""
    u = rng.random(12)
    skin = np.clip(np.array(_SKINS[int(u[0] * 10)]) + rng.normal(0, 8, 3), 15, 252)
    hair = np.clip(np.array(_HAIRS[int(u[1] * 7)]) + rng.normal(0, 9, 3), 5, 250)
    shirt, accent, trousers, shoes = (_cloth(rng) for _ in range(4))
    return Looks(
        skin=_rgb(skin),
        shirt=shirt,
        accent=accent,
        trousers=trousers if u[2] < 0.85 else shirt,
        shoes=shoes,
        hair=_rgb(hair),
        pattern=int(u[3] * 8) if u[3] < 0.62 else 0,
        sleeve=1.0 if u[4] < 0.5 else 0.25 + 0.3 * u[5] if u[4] < 0.9 else 0.0,
        leg=1.0 if u[6] < 0.7 else 0.3 + 0.3 * u[7],
        skirt=bool(u[8] < 0.12),
        hair_style=(0, 0, 0, 0, 1, 1, 1, 2, 3, 4)[int(u[9] * 10)],
        beard=bool(u[10] < 0.12),
        glasses=bool(u[11] < 0.15),
        girth=float(np.clip(rng.normal(1.05, 0.12), 0.82, 1.4)),
    )


def _rgb(values: NDArray[np.float64]) -> Color:
    return (float(values[0]), float(values[1]), float(values[2]))


def _cloth(rng: np.random.Generator) -> Color:
    """Choose a colour of clothes: half are greyish, half of any colour."""
    value = rng.uniform(25, 245)
    saturation = rng.uniform(0, 0.25) if rng.random() < 0.45 else rng.uniform(0.3, 0.95)
    hue = rng.uniform(0, 6)
    channel = np.clip(np.abs((hue + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return _rgb(value * (1 - saturation * (1 - channel)))


def finish(rng: np.random.Generator, canvas: Image, blur: float, noise: float) -> Image:
    """Turn a canvas into a frame (h / 2, w / 2, 3): average, light, blur and add grain.

    blur: share of the frames that are out of focus or moving; noise: strongest grain, as a share of the range
    """
    size = (canvas.shape[1] // SUPERSAMPLING, canvas.shape[0] // SUPERSAMPLING)
    frame = cv2.cvtColor(cv2.resize(canvas, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGBA2RGB)
    u = rng.random(6)
    if u[0] < 0.6:
        field = cv2.resize(_light_fields()[int(rng.integers(_FIELDS))], size, interpolation=cv2.INTER_LINEAR)
        frame = cv2.multiply(frame, cv2.merge([field, field, field]), scale=1 / 128)
    if u[1] < blur:
        frame = _blurred(frame, u[2], u[3])
    if u[4] < 0.75:
        frame = _developed(rng, frame)
    strength = noise * u[5] ** 2 * 255
    return _grainy(rng, frame, strength) if strength > 1 else frame


def _grainy(rng: np.random.Generator, frame: Image, strength: float) -> Image:
    grain = _grain()
    tall, wide = (min(length, len(grain)) for length in frame.shape[:2])
    top, left = int(rng.integers(0, len(grain) - tall + 1)), int(rng.integers(0, len(grain) - wide + 1))
    piece = grain[top : top + tall, left : left + wide]
    if piece.shape != frame.shape:
        piece = cv2.resize(piece, (frame.shape[1], frame.shape[0]), interpolation=cv2.INTER_NEAREST)
    share = strength / _GRAIN_SD
    return cv2.addWeighted(frame, 1, piece, share, -128 * share)


def _blurred(frame: Image, how: float, amount: float) -> Image:
    if how < 0.5:
        return cv2.GaussianBlur(frame, (0, 0), 0.4 + 1.1 * amount)
    length = 2 + int(4 * amount)
    kernel = np.zeros((length, length), np.float32)
    cv2.line(kernel, (0, int(how * 8) % length), (length - 1, int(how * 64) % length), 1.0)
    return cv2.filter2D(frame, -1, kernel / max(1.0, float(kernel.sum())))


def _developed(rng: np.random.Generator, frame: Image) -> Image:
    """Change exposure, gamma and white balance at random."""
    gamma, tint = rng.uniform(0.7, 1.4), rng.uniform(0.88, 1.12, 3) * rng.uniform(0.7, 1.15)
    ramp = (np.arange(256) / 255) ** gamma
    table = np.clip(255 * ramp[:, None] * tint + rng.uniform(-8, 20), 0, 255).astype(np.uint8)
    return cv2.LUT(frame, table.reshape(1, 256, 3))
