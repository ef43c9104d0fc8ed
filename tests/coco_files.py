"""Annotated images in COCO's form, made by the tests."""

import json
from pathlib import Path

import cv2

from models.synthetic.frame import EVERYDAY, SceneParams, render_frame
from models.synthetic.truth import coco_truth

SIZE = 160


def write_set(folder: Path, frames: int = 12, people: tuple[int, int] = (1, 3)) -> tuple[Path, Path]:
    """Rendered people in COCO's form: the annotation file and the folder of images."""
    scene = SceneParams(people=people, actions=EVERYDAY, height=(0.5, 0.9))
    pairs = [render_frame([41, number], SIZE, scene) for number in range(frames)]
    images = folder / "images"
    images.mkdir(parents=True)
    for number, (image, _) in enumerate(pairs):
        cv2.imwrite(str(images / f"{number:03d}.png"), image[..., ::-1])
    names = [f"{number:03d}.png" for number in range(frames)]
    file = folder / "annotations.json"
    file.write_text(json.dumps(coco_truth([truth for _, truth in pairs], (SIZE, SIZE), names)))
    return file, images
