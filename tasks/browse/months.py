"""Months as weeks of days, with sums per day, for calendars. Pure calculation."""

import calendar
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from storage.sql.browse.presence_days import DaySums

LEVELS = 5  # of the heat map, without the one of no people
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
YEARS = range(1900, 9000)
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
_MONTH = re.compile(r"(\d{4})-(\d\d)", re.ASCII)


@dataclass(frozen=True, order=True)
class Month:
    """A calendar month. month: from 1"""

    year: int
    month: int

    @classmethod
    def of(cls, day: date) -> "Month":
        """Return the month of a day."""
        return cls(day.year, day.month)

    @classmethod
    def parse(cls, text: str) -> "Month | None":
        """Read `2026-11`; None for anything else."""
        found = _MONTH.fullmatch(text)
        if found is None or int(found[1]) not in YEARS or not 1 <= int(found[2]) <= 12:
            return None
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.month:02d}"

    @property
    def name(self) -> str:
        """Name for people, such as `November 2026`."""
        return f"{MONTHS[self.month - 1]} {self.year}"

    @property
    def first(self) -> date:
        return date(self.year, self.month, 1)

    @property
    def last(self) -> date:
        return date(self.year, self.month, calendar.monthrange(self.year, self.month)[1])

    @property
    def before(self) -> "Month":
        return Month.of(self.first - timedelta(days=1))

    @property
    def after(self) -> "Month":
        return Month.of(self.last + timedelta(days=1))

    def weeks(self) -> list[list[date | None]]:
        """Return the weeks from Monday to Sunday; None for days of other months."""
        days = calendar.Calendar().monthdatescalendar(self.year, self.month)
        return [[day if day.month == self.month else None for day in week] for week in days]


def parse_day(text: str) -> date | None:
    """Read `2026-11-24`; None for anything else."""
    try:
        day = date.fromisoformat(text) if len(text) == 10 else None
    except ValueError:
        return None
    return day if day and day.year in YEARS else None


@dataclass(frozen=True)
class DayCell:
    """A day of a calendar. level: of the heat map, 0 = nobody to LEVELS"""

    day: date
    seen_s: float
    videos: int
    level: int


@dataclass(frozen=True)
class MonthTable:
    """A month with its sums. weeks: from Monday to Sunday; None for days of other months"""

    month: Month
    weeks: list[list[DayCell | None]]

    @property
    def days(self) -> list[DayCell]:
        """All days of the month."""
        return [cell for week in self.weeks for cell in week if cell]

    @property
    def seen_s(self) -> float:
        """Time with somebody in view in the whole month, seconds."""
        return sum(cell.seen_s for cell in self.days)


def month_table(month: Month, sums: Mapping[date, DaySums], most_s: float) -> MonthTable:
    """Arrange the sums of a month. most_s: time in view of the darkest day"""
    nothing = DaySums()
    return MonthTable(
        month,
        [[_cell(day, sums.get(day, nothing), most_s) if day else None for day in week] for week in month.weeks()],
    )


def _cell(day: date, sums: DaySums, most_s: float) -> DayCell:
    return DayCell(day, sums.seen_s, sums.videos, heat_level(sums.seen_s, most_s))


def heat_level(seen_s: float, most_s: float) -> int:
    """Return 0 for nobody, else 1 to LEVELS, which grow with the square root: short visits can be told apart."""
    if seen_s <= 0 or most_s <= 0:
        return 0
    return min(1 + int(LEVELS * (seen_s / most_s) ** 0.5), LEVELS)


def short_duration(seconds: float) -> str:
    """Format a time for a small cell: `40 s`, `12 min`, `3.2 h`."""
    if seconds < 59.5:
        return f"{seconds:.0f} s" if seconds >= 0.95 or not seconds else "1 s"
    return f"{seconds / 60:.0f} min" if seconds < 3570 else f"{seconds / 3600:.1f} h"
