"""Batches as pages show them, with the counts of those that run."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from storage.ledger.account import read_counts
from storage.sql.browse import nights
from storage.sql.browse.nights import NightRow, Refusal
from storage.sql.database import Database
from tasks.site.owner import is_dead


@dataclass(frozen=True)
class ShownNight:
    """A batch with its counts.

    is_interrupted: its process has ended without ending the batch, which a later run does
    """

    night: NightRow
    is_interrupted: bool = False

    @property
    def is_running(self) -> bool:
        return self.night.finished_at is None and not self.is_interrupted

    @property
    def status(self) -> str:
        return "interrupted" if self.is_interrupted else self.night.status

    @property
    def kind(self) -> str:
        """Class of the status's tag: good, warn, bad or empty."""
        kinds = {"completed": "good", "incomplete": "warn", "crashed": "bad", "cancelled": "warn", "interrupted": "bad"}
        return kinds.get(self.status, "")

    @property
    def done_share(self) -> float:
        """Share of the expected frames that need no more work, 0 to 1; 1 if none were expected."""
        expected, missing = self.night.frames_expected, self.night.frames_missing or 0
        return (expected - missing) / expected if expected else 1.0

    @property
    def left_s(self) -> float | None:
        """Estimated time that a running batch still takes; None before a twentieth is done."""
        share = self.done_share
        return self.night.took_s * (1 - share) / share if self.is_running and 0.05 <= share < 1 else None


@dataclass(frozen=True)
class RefusalReason:
    """A reason with the files and segments that it kept out."""

    reason: str
    refusals: Sequence[Refusal]


def last_nights(engine: Database, most: int) -> list[ShownNight]:
    """Return the newest batches, the newest first."""
    return [_counted(engine, night) for night in nights.read_nights(engine, most)]


def one_night(engine: Database, batch_id: int) -> ShownNight | None:
    """Return a batch; None if there is none of this number."""
    night = nights.read_night(engine, batch_id)
    return _counted(engine, night) if night else None


def _counted(engine: Database, night: NightRow) -> ShownNight:
    """Count a batch that runs: its row has no counts yet."""
    if night.finished_at is not None:
        return ShownNight(night)
    counts = read_counts(engine, night.batch_id)
    names = ("frames_done", "frames_undecodable", "frames_quarantined", "frames_missing")
    counted = night._replace(**{name: getattr(counts, name) for name in names}, rows=counts.people)
    return ShownNight(counted, is_dead(night.owner))


def by_reason(refusals: Sequence[Refusal]) -> list[RefusalReason]:
    """Group files and segments in quarantine by reason, the most frequent reason first."""
    grouped = groupby(sorted(refusals, key=attrgetter("reason")), attrgetter("reason"))
    reasons = [RefusalReason(reason, list(some)) for reason, some in grouped]
    return sorted(reasons, key=lambda each: (-len(each.refusals), each.reason))
