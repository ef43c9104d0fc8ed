"""Drawing of one synthetic person into a picture, part by part, the far ones first. No bodies, no scenes.

A canvas is (h, w, 4) uint8: red, green, blue, and the visible person's part at the pixel. It has twice the resolution
of the frame, so that edges are smooth after averaging, and the fourth channel stays exact.
"""

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.synthetic.body import POINT

Array = NDArray[np.float64]
Color = tuple[float, float, float]
Image = NDArray[Any]  # uint8; the type hints of OpenCV promise less

SUPERSAMPLING = 2
PARTS = (
    *("nothing", "torso", "head", "left_upper_arm", "left_forearm", "right_upper_arm", "right_forearm"),
    *("left_thigh", "left_shank", "right_thigh", "right_shank", "left_foot", "right_foot"),
)
PART = {name: index for index, name in enumerate(PARTS)}
PARTS_A_PERSON = 16  # the fourth channel is 16 * person + part
OBJECT = 255  # anything that is not a person
MAX_PEOPLE = 15

# Part that must be visible at a keypoint for the keypoint to be visible, in COCO's order.
KEYPOINT_PARTS: tuple[tuple[str, ...], ...] = (
    *(("head",),) * 5,
    *(("torso", "left_upper_arm"), ("torso", "right_upper_arm")),
    *(("left_upper_arm", "left_forearm"), ("right_upper_arm", "right_forearm")),
    *(("left_forearm",), ("right_forearm",)),
    *(("torso", "left_thigh"), ("torso", "right_thigh")),
    *(("left_thigh", "left_shank"), ("right_thigh", "right_shank")),
    *(("left_shank", "left_foot"), ("right_shank", "right_foot")),
)

_SHIFT = 3
_FIXED = 1 << _SHIFT
_CIRCLE = np.stack([np.cos(np.linspace(0, 2 * np.pi, 10, False)), np.sin(np.linspace(0, 2 * np.pi, 10, False))], 1)
_BACK = np.linspace(0.5 * np.pi, 1.5 * np.pi, 6)
_ROUND = np.concatenate([np.stack([np.cos(a), np.sin(a)], axis=1) for a in (_BACK, _BACK + np.pi)])
_TONES = np.array([(1.0, 0.0, 0.76), (0.76, 0.2, 1.0), (0.28, 0.42, 1.14)])  # width, aside, brightness


class Looks(NamedTuple):
    """Appearance of one person. Colours: red, green, blue, 0 to 255.

    pattern: 0 = plain, 1 = stripes across, 2 = stripes along, 3 = dots, 4 = a print on the chest
    sleeve, leg: covered share of arm and leg, from 0 to 1
    hair_style: 0 = short, 1 = long, 2 = bald, 3 = cap, 4 = hood
    """

    skin: Color
    shirt: Color
    accent: Color
    trousers: Color
    shoes: Color
    hair: Color
    pattern: int
    sleeve: float
    leg: float
    skirt: bool
    hair_style: int
    beard: bool
    glasses: bool
    girth: float


class Projected(NamedTuple):
    """A body in the camera's view.

    xy: (points, 2) pixels of the canvas
    depth: (points,) metres from the camera; scale: (points,) pixels per metre there
    """

    xy: Array
    depth: Array
    scale: Array


class _Limb(NamedTuple):
    part: str
    start: str
    stop: str
    radius_start_m: float
    radius_stop_m: float


# Radii: half the breadths of Winter's segments, rounded to look like clothed limbs.
_LIMBS = (
    _Limb("left_upper_arm", "left_shoulder", "left_elbow", 0.058, 0.043),
    _Limb("left_forearm", "left_elbow", "left_wrist", 0.043, 0.031),
    _Limb("right_upper_arm", "right_shoulder", "right_elbow", 0.058, 0.043),
    _Limb("right_forearm", "right_elbow", "right_wrist", 0.043, 0.031),
    _Limb("left_thigh", "left_hip", "left_knee", 0.088, 0.062),
    _Limb("left_shank", "left_knee", "left_ankle", 0.060, 0.040),
    _Limb("right_thigh", "right_hip", "right_knee", 0.088, 0.062),
    _Limb("right_shank", "right_knee", "right_ankle", 0.060, 0.040),
    _Limb("left_foot", "left_heel", "left_toe", 0.040, 0.034),
    _Limb("right_foot", "right_heel", "right_toe", 0.040, 0.034),
    _Limb("left_forearm", "left_wrist", "left_hand", 0.034, 0.036),
    _Limb("right_forearm", "right_wrist", "right_hand", 0.034, 0.036),
    _Limb("head", "neck", "head", 0.055, 0.055),
)
_STARTS = np.array([POINT[limb.start] for limb in _LIMBS])
_STOPS = np.array([POINT[limb.stop] for limb in _LIMBS])
_RADII = np.array([(limb.radius_start_m, limb.radius_stop_m) for limb in _LIMBS])
_TORSO = np.array([POINT[name] for name in ("left_shoulder", "right_shoulder", "chest", "back", "belly")])
_TORSO_RADII = np.array([0.058, 0.058, 0.085, 0.085, 0.105])
_PELVIS = np.array([POINT[name] for name in ("left_hip", "right_hip", "belly", "bottom")])
_PELVIS_RADII = np.array([0.092, 0.092, 0.09, 0.09])
_MIDDLE = [POINT[name] for name in ("left_shoulder", "right_shoulder", "left_hip", "right_hip")]


class Painter:
    """Painter of one person on a canvas, lit from `light`, a direction in the picture."""

    def __init__(self, canvas: Image, person: int, looks: Looks, body: Projected, light: Array) -> None:
        self.canvas = canvas
        self.base = PARTS_A_PERSON * person
        self.looks = looks
        self.body = body
        self.light = light
        self.capsules = self._capsules()

    def draw(self) -> None:
        depth = self.body.depth
        torso = depth[_MIDDLE].mean()
        order = [((depth[_STARTS[i]] + depth[_STOPS[i]]) / 2 - (0.03 if i < 4 else 0.0), i) for i in range(12)]
        order += [(torso, 20), (float(depth[POINT["head"]]), 21)]
        for _, item in sorted(order, reverse=True):
            if item == 20:
                self._torso()
            elif item == 21:
                self._limb(12)
                self._head()
            else:
                self._limb(item)

    def _limb(self, index: int) -> None:
        for outline, tone in self.capsules[index]:
            cv2.fillConvexPoly(self.canvas, outline, tone, cv2.LINE_8, _SHIFT)

    def _capsules(self) -> list[list[tuple[NDArray[np.int32], list[float]]]]:
        """Return the shapes to fill for each limb: tapered capsules in three tones, dark, plain and highlight.

        In a few calls of numpy, because a person has about sixty of them.
        """
        index, share, wider, color = self._covers()
        start, stop = self.body.xy[_STARTS[index]], self.body.xy[_STOPS[index]]
        girth = np.where(index < 8, self.looks.girth, 1.0) * wider
        radius = _RADII[index] * np.stack([self.body.scale[_STARTS[index]], self.body.scale[_STOPS[index]]], axis=1)
        ends = np.stack([start, start + (stop - start) * share[:, None]], axis=1)  # (n, 2 ends, xy)
        radius[:, 1] = radius[:, 0] + (radius[:, 1] - radius[:, 0]) * share
        outlines = capsule_outlines(ends, radius * girth[:, None], self.light)
        part = np.array([self.base + PART[_LIMBS[i].part] for i in index], float)
        tones = np.minimum(255.0, color[:, None, :] * _TONES[None, :, 2:3])
        tones = np.concatenate([tones, np.broadcast_to(part[:, None, None], (len(index), 3, 1))], axis=2).tolist()
        fills: list[list[tuple[NDArray[np.int32], list[float]]]] = [[] for _ in _LIMBS]
        for row, limb in enumerate(index):
            fine = radius[row].max() > 1.3  # a thinner highlight would be invisible
            fills[limb] += [(outlines[row, tone], tones[row][tone]) for tone in range(3 if fine else 1)]
        return fills

    def _covers(self) -> tuple[NDArray[np.intp], Array, Array, Array]:
        """Skin and cloth of the limbs in drawing order: limb, share of its length, additional width, colour."""
        looks = self.looks
        rows: list[tuple[int, float, float, Color]] = []
        for index in range(8):
            color, covered = (looks.shirt, looks.sleeve) if index < 4 else (looks.trousers, looks.leg)
            here = min(1.0, max(0.0, 2 * covered - index % 2))
            if here < 1:
                rows.append((index, 1.0, 1.0, looks.skin))
            if here > 0:
                rows.append((index, here, 1.12, color))
        rows += [(8, 1, 1, looks.shoes), (9, 1, 1, looks.shoes)]
        rows += [(10, 1, 1, looks.skin), (11, 1, 1, looks.skin), (12, 1, 1, looks.skin)]
        limbs, shares, widths, colors = zip(*rows, strict=True)
        return np.array(limbs), np.array(shares, float), np.array(widths, float), np.array(colors, float)

    def _color(self, color: Color, light: float, part: str) -> tuple[float, ...]:
        return (*(min(255.0, channel * light) for channel in color), float(self.base + PART[part]))

    def _disc(self, center: Array, radius: float, tone: tuple[float, ...]) -> None:
        place = (round(center[0] * _FIXED), round(center[1] * _FIXED))
        cv2.circle(self.canvas, place, max(1, round(radius * _FIXED)), tone, -1, cv2.LINE_8, _SHIFT)

    def _ellipse(self, center: Array, axes: tuple[float, float], angle: float, tone: tuple[float, ...]) -> None:
        place = (round(center[0] * _FIXED), round(center[1] * _FIXED))
        size = (max(1, round(axes[0] * _FIXED)), max(1, round(axes[1] * _FIXED)))
        cv2.ellipse(self.canvas, place, size, angle, 0, 360, tone, -1, cv2.LINE_8, _SHIFT)

    def _blob(self, points: NDArray[np.intp], radii_m: Array, color: Color, extra: list[tuple[Array, float]]) -> Array:
        """Draw the shaded convex hull of discs. Returns its outline."""
        xy, radii = self.body.xy[points], radii_m * self.looks.girth * self.body.scale[points]
        if extra:
            xy = np.concatenate([xy, [center for center, _ in extra]])
            radii = np.concatenate([radii, [radius for _, radius in extra]])
        outline = (xy[:, None] + radii[:, None, None] * _CIRCLE).reshape(-1, 2)
        hull: Array = cv2.convexHull(outline.astype(np.float32))[:, 0].astype(np.float64)
        middle = hull.mean(axis=0)
        reach = float(radii.mean())
        for size, aside, light in ((1.0, 0.0, 0.74), (0.84, 0.22, 0.94), (0.62, 0.4, 1.06)):
            shaded = middle + self.light * (reach * aside) + (hull - middle) * size
            cv2.fillConvexPoly(self.canvas, _fixed(shaded), self._color(color, light, "torso"), cv2.LINE_8, _SHIFT)
        return hull

    def _torso(self) -> None:
        looks, body = self.looks, self.body
        self._blob(_PELVIS, _PELVIS_RADII, looks.shirt if looks.skirt else looks.trousers, [])
        if looks.skirt:
            hem = []
            for hip, knee in (("left_hip", "left_knee"), ("right_hip", "right_knee")):
                at = body.xy[POINT[hip]] + (body.xy[POINT[knee]] - body.xy[POINT[hip]]) * 0.75
                hem.append((at, 0.11 * float(body.scale[POINT[knee]])))
            self._blob(_PELVIS, _PELVIS_RADII, looks.shirt, hem)
        hull = self._blob(_TORSO, _TORSO_RADII, looks.shirt, [])
        if looks.pattern:
            top = (body.xy[_MIDDLE[0]] + body.xy[_MIDDLE[1]]) / 2
            self._pattern(hull, top, body.xy[POINT["belly"]])

    def _pattern(self, hull: Array, top: Array, bottom: Array) -> None:
        axis = bottom - top
        length = max(1e-6, float(np.hypot(*axis)))
        axis /= length
        across = np.array([-axis[1], axis[0]])
        side = (hull - top) @ across
        low, high = float(side.min()) * 0.8, float(side.max()) * 0.8
        tone = self._color(self.looks.accent, 0.95, "torso")

        def quad(t0: float, t1: float, s0: float, s1: float) -> None:
            corners = [top + axis * length * t + across * s for t, s in ((t0, s0), (t0, s1), (t1, s1), (t1, s0))]
            cv2.fillConvexPoly(self.canvas, _fixed(np.array(corners)), tone, cv2.LINE_8, _SHIFT)

        if self.looks.pattern == 1:
            for i in range(5):
                quad(0.08 + 0.2 * i, 0.17 + 0.2 * i, low, high)
        elif self.looks.pattern == 2:
            for i in range(4):
                left = low + (high - low) * (0.04 + 0.25 * i)
                quad(0.05, 1.0, left, left + (high - low) * 0.11)
        elif self.looks.pattern == 3:
            for i in range(9):
                spot = (
                    top
                    + axis * length * (0.2 + 0.32 * (i // 3))
                    + across * (low + (high - low) * (0.2 + 0.3 * (i % 3)))
                )
                self._disc(spot, (high - low) * 0.07, tone)
        else:
            quad(0.22, 0.5, low * 0.5, high * 0.5)

    def _head(self) -> None:
        looks, body = self.looks, self.body
        head, scale = body.xy[POINT["head"]], float(body.scale[POINT["head"]])
        up = body.xy[POINT["head_top"]] - body.xy[POINT["neck"]]
        angle = float(np.degrees(np.arctan2(up[1], up[0]))) + 90
        tilt = min(1.0, float(np.hypot(*up)) / (0.275 * scale))  # 1 = upright in the picture, 0 = seen from above
        hooded = looks.hair_style in (1, 4)
        skull = looks.skin if looks.hair_style == 2 else looks.shirt if looks.hair_style == 4 else looks.hair
        facing = self._towards("nose")
        tall = scale * (0.105 + 0.018 * tilt)
        if hooded and facing > -0.2:
            self._mane(scale, skull)
        self._ellipse(head, (scale * 0.096, tall), angle, self._color(skull, 0.78, "head"))
        self._ellipse(
            head + self.light * scale * 0.02, (scale * 0.08, tall * 0.83), angle, self._color(skull, 1.0, "head")
        )
        if not hooded:
            for ear in ("left_ear", "right_ear"):
                if self._towards(ear) > -0.35:
                    spot = self._color(looks.skin, 0.82, "head")
                    self._ellipse(body.xy[POINT[ear]], (scale * 0.017, scale * 0.032), angle, spot)
        if facing > -0.45:
            self._face(scale, angle, facing)
        if hooded and facing <= -0.2:
            self._mane(scale, skull)
        if looks.hair_style == 3:
            self._cap(scale, angle, facing)

    def _towards(self, point: str) -> float:
        """Orientation of a point of the head towards the camera: 1 = straight, 0 = sideways, -1 = away."""
        body, head = self.body, POINT["head"]
        away = body.depth[POINT[point]] - body.depth[head]
        aside = np.hypot(*(body.xy[POINT[point]] - body.xy[head])) / body.scale[head]
        return float(-away / max(1e-6, float(np.hypot(away, aside))))

    def _mane(self, scale: float, color: Color) -> None:
        head, back = self.body.xy[POINT["head"]], self.body.xy[POINT["back"]]
        end = head + (back - head) * 0.72
        outlines = capsule_outlines(np.array([[head, end]]), scale * np.array([[0.1, 0.085]]), self.light)
        for outline, light in zip(outlines[0, :2], (0.72, 0.95), strict=True):
            cv2.fillConvexPoly(self.canvas, outline, self._color(color, light, "head"), cv2.LINE_8, _SHIFT)

    def _face(self, scale: float, angle: float, facing: float) -> None:
        looks, xy = self.looks, self.body.xy
        turned = max(0.0, facing)
        center = xy[POINT["face"]]
        breadth = scale * (0.058 + 0.02 * turned)
        self._ellipse(center, (breadth, scale * 0.098), angle, self._color(looks.skin, 0.84, "head"))
        lit = center + self.light * scale * 0.012
        self._ellipse(lit, (breadth * 0.84, scale * 0.085), angle, self._color(looks.skin, 1.04, "head"))
        if looks.beard:
            self._ellipse(
                xy[POINT["mouth"]], (breadth * 0.72, scale * 0.042), angle, self._color(looks.hair, 0.9, "head")
            )
        self._disc(xy[POINT["nose"]], scale * 0.017, self._color(looks.skin, 0.9, "head"))
        self._disc(xy[POINT["nose"]] + self.light * scale * 0.008, scale * 0.01, self._color(looks.skin, 1.2, "head"))
        if self._towards("mouth") > 0.1:
            tone = self._color((looks.skin[0] * 0.8, looks.skin[1] * 0.45, looks.skin[2] * 0.45), 0.9, "head")
            self._ellipse(xy[POINT["mouth"]], (scale * 0.026 * (0.4 + 0.6 * turned), scale * 0.009), angle, tone)
        for eye in ("left_eye", "right_eye"):
            toward = self._towards(eye)
            if toward > 0.05:
                self._eye(xy[POINT[eye]], scale, angle, 0.45 + 0.55 * toward)

    def _eye(self, place: Array, scale: float, angle: float, breadth: float) -> None:
        brow = place + (self.body.xy[POINT["head_top"]] - self.body.xy[POINT["chin"]]) * 0.13
        self._ellipse(brow, (scale * 0.02 * breadth, scale * 0.006), angle, self._color(self.looks.hair, 0.7, "head"))
        self._ellipse(place, (scale * 0.018 * breadth, scale * 0.011), angle, self._color((235, 232, 228), 1, "head"))
        self._disc(place, scale * 0.0095, self._color((45, 32, 26), 1, "head"))
        if self.looks.glasses:
            rim = (round(place[0] * _FIXED), round(place[1] * _FIXED))
            tone = self._color((25, 25, 30), 1, "head")
            cv2.circle(self.canvas, rim, round(scale * 0.026 * _FIXED), tone, 1, cv2.LINE_8, _SHIFT)

    def _cap(self, scale: float, angle: float, facing: float) -> None:
        top = self.body.xy[POINT["head"]] + (self.body.xy[POINT["head_top"]] - self.body.xy[POINT["head"]]) * 0.62
        self._ellipse(top, (scale * 0.098, scale * 0.06), angle, self._color(self.looks.accent, 0.9, "head"))
        if facing > -0.3:
            peak = top + (self.body.xy[POINT["nose"]] - self.body.xy[POINT["head"]]) * 0.7
            brim = top + (peak - top) * np.array([1.0, 0.45])
            self._ellipse(brim, (scale * 0.085, scale * 0.02), angle, self._color(self.looks.accent, 0.7, "head"))


def capsule_outlines(ends: Array, radii: Array, light: Array) -> NDArray[np.int32]:
    """(n, 3 tones, 12, 2) outlines of tapered capsules in fixed point, from (n, 2, 2) ends and (n, 2) radii."""
    along = ends[:, 1] - ends[:, 0]
    along /= np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-6)[:, None]
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
    lit = normal * np.where(normal @ light < 0, -1.0, 1.0)[:, None]
    # (n, 12, 2): the half circle behind the start, then the one before the end, as directions
    around = along[:, None] * _ROUND[None, :, 0:1] + normal[:, None] * _ROUND[None, :, 1:2]
    radius = np.repeat(radii, 6, axis=1)[:, None, :, None] * _TONES[None, :, 0, None, None]
    middle = ends[:, None] + lit[:, None, None] * radii[:, None, :, None] * _TONES[None, :, 1, None, None]
    return _fixed(np.repeat(middle, 6, axis=2) + around[:, None] * radius)


def _fixed(points: Array) -> NDArray[np.int32]:
    fixed: NDArray[np.int32] = np.rint(points * _FIXED).astype(np.int32)
    return fixed


def visibility(parts: Image, person: int, body: Projected, covered_ears: bool) -> NDArray[np.uint8]:
    """(17,) COCO's flags on a finished canvas: 2 = visible, 1 = hidden, 0 = outside.

    A keypoint is visible where the canvas shows its own limb and, on trunk and head, where it is on the camera's side:
    the belly hides a far hip although both are of the torso.
    """
    height, width = parts.shape
    pixel = np.floor(body.xy[:17]).astype(int)
    inside = ((pixel >= 0) & (pixel < (width, height))).all(axis=1)
    flags = np.zeros(17, np.uint8)
    trunk = body.depth[_MIDDLE].mean()
    head = body.depth[POINT["head"]]
    for keypoint in np.flatnonzero(inside):
        seen = int(parts[pixel[keypoint, 1], pixel[keypoint, 0]]) - PARTS_A_PERSON * person
        own = any(seen == PART[name] for name in KEYPOINT_PARTS[keypoint])
        depth = body.depth[keypoint]
        if keypoint < 5:
            own = own and depth - head < (0.03 if keypoint > 2 else 0.0 if keypoint else 0.02)
            own = own and not (covered_ears and keypoint > 2)
        elif seen == PART["torso"]:
            own = own and depth - trunk < 0.08
        flags[keypoint] = 2 if own else 1
    return flags
