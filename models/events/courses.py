"""The state of one person for one zone, and all of them as bytes."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass

import numpy as np

from models.checkpoints import read_arrays, write_arrays

_NOTHING = np.iinfo(np.int64).min  # `certain` of somebody whose level is not certain yet
_ROW = np.dtype(
    [
        ("zone", "<i4"),
        ("track", "<i4"),
        *((name, "<i8") for name in ("last_frame", "since_frame", "before_frame", "entered_frame", "level", "certain")),
        *((name, "<f8") for name in ("last_s", "since_s", "entered_s", "x", "y")),
        ("away", "?"),
    ]
)
Courses = dict[tuple[int, int], "Course"]


@dataclass(slots=True)
class Course:
    """A person at a zone. Fields in the order of a stored row.

    last_frame, last_s: the last sighting, at x, y, pixels; level: the level then
    since_frame, since_s: first sighting on this level, if it is not certain; before_frame: the sighting before
    away: the person has been away from the edge since then
    certain: the level that counts; None = not known yet
    entered_frame, entered_s: begin of the visit that lasts
    """

    last_frame: int
    since_frame: int
    before_frame: int
    entered_frame: int
    level: int
    certain: int | None
    last_s: float
    since_s: float
    entered_s: float
    x: float
    y: float
    away: bool

    @classmethod
    def of_first(cls, frame: int, t_s: float, x: float, y: float) -> "Course":
        """Begin with the first sighting."""
        return cls(frame, frame, frame, frame, 0, None, t_s, t_s, t_s, float(x), float(y), False)

    def begin(self, frame: int, t_s: float) -> None:
        """Begin another level at a sighting."""
        self.since_frame, self.since_s, self.before_frame, self.away = frame, t_s, self.last_frame, False


def write_courses(courses: Mapping[tuple[int, int], Course], identity: str) -> bytes:
    """Return the courses as bytes. identity: of all that gives them their meaning"""
    rows = np.empty(len(courses), _ROW)
    for number, (key, course) in enumerate(sorted(courses.items())):
        values = astuple(course)
        rows[number] = (*key, *(_NOTHING if value is None else value for value in values))
    return write_arrays(identity, {"courses": rows})


def read_courses(state: bytes, identity: str) -> Courses:
    """Return the courses of write_courses. Raises ValueError for damaged bytes, and those of another identity."""
    rows = read_arrays(state, identity, {"courses": (_ROW, ())})["courses"]
    if not all(np.isfinite(rows[name]).all() for name in ("x", "y", "last_s", "since_s", "entered_s")):
        raise ValueError("The checkpoint has places or times that are not numbers. Begin again without it.")
    courses: Courses = {}
    for zone, track, *values in rows.tolist():
        course = Course(*values)
        course.certain = None if course.certain == _NOTHING else course.certain
        courses[zone, track] = course
    return courses
