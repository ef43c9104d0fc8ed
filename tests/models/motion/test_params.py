"""Parameters of motion: bounds and hash."""

import dataclasses
import json
import subprocess
import sys
from typing import Any

import pytest

from models.motion import params
from models.motion.params import MotionParams
from models.spec import parameters


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lowest_keypoint_score", 1.1),
        ("lowest_keypoint_score", float("nan")),
        ("fill_gap_s", -0.1),
        ("outlier_window_s", float("inf")),
        ("outlier_deviations", 0),
        ("smoothing_window_s", 6),
        ("body_window_s", -1),
    ],
)
def test_a_value_out_of_its_bounds_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"^{name} is .*\. Give a number from \S+ to \S+\.$"):
        MotionParams(**{name: value})


def test_each_field_is_an_option_with_bounds() -> None:
    options = {name: each.option for name, each in parameters(MotionParams).items()}
    assert set(options) == {field.name for field in dataclasses.fields(MotionParams)}
    assert all(None not in (option.ge, option.le) and option.help for option in options.values())


def test_the_hash_follows_each_value_and_the_version_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = MotionParams()
    others = [MotionParams(**{field.name: 1}) for field in dataclasses.fields(MotionParams)]
    monkeypatch.setattr(params, "MOTION_VERSION", 1_000_000)
    hashes = [each.sha256() for each in (plain, *others)]
    monkeypatch.undo()
    assert len({*hashes, plain.sha256()}) == len(others) + 2


def test_equal_parameters_have_equal_hashes() -> None:
    stored: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(MotionParams(body_window_s=2))))
    assert MotionParams(**stored).sha256() == MotionParams(body_window_s=2.0).sha256()


def test_parameters_load_neither_numpy_nor_scipy() -> None:
    code = "import sys, models.motion.params; print({'numpy', 'scipy', 'pydantic'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
