"""The skeleton's constants are COCO's and PoseNet's."""

import json
from pathlib import Path

import numpy as np
import pytest

from models.decoders.skeleton import COCO_SIGMAS, DRAWN_EDGES, PART_CHAIN
from models.types import KEYPOINT_NAMES, KEYPOINTS


def test_each_keypoint_has_one_name_and_one_tolerance() -> None:
    assert len(set(KEYPOINT_NAMES)) == len(COCO_SIGMAS) == KEYPOINTS
    assert KEYPOINT_NAMES[0] == "nose"
    assert KEYPOINT_NAMES[-1] == "right_ankle"


@pytest.mark.real_data
def test_names_equal_those_of_coco(data: Path) -> None:
    annotations = json.loads(next((data / "coco_mini/annotations").glob("person_keypoints*.json")).read_text())
    assert tuple(annotations["categories"][0]["keypoints"]) == KEYPOINT_NAMES


def test_the_part_chain_is_a_tree_from_the_nose() -> None:
    children = [child for _, child in PART_CHAIN]
    assert sorted(children) == list(range(1, KEYPOINTS))
    reached = {0}
    for parent, child in PART_CHAIN:
        assert parent in reached, "a parent comes before its children"
        reached.add(child)


def test_left_and_right_mirror_each_other() -> None:
    def mirrored(name: str) -> int:
        side, _, part = name.partition("_")
        return KEYPOINT_NAMES.index({"left": f"right_{part}", "right": f"left_{part}"}.get(side, name))

    mirror = [mirrored(name) for name in KEYPOINT_NAMES]
    np.testing.assert_array_equal(COCO_SIGMAS, COCO_SIGMAS[mirror])
    for edges in (PART_CHAIN, DRAWN_EDGES):
        both_ways = {frozenset(edge) for edge in edges}
        assert {frozenset((mirror[a], mirror[b])) for a, b in edges} == both_ways
        assert len(both_ways) == len(edges)
