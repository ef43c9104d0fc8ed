"""Events of all analyses that have none by the rules of their camera yet. No inference, no tracking."""

import logging
import time
from dataclasses import dataclass, field

from models.events.evaluation import ConditionEngine
from models.types import NightjarError
from storage.sql.catalogue import name_of
from storage.sql.database import Database, DatabaseError, DataRefusedError
from storage.sql.events import runs
from storage.sql.events.runs import AnalysedVideo
from storage.sql.events.versions import NO_CAMERA, show_first_version
from tasks.events.checkpoint import CheckpointError
from tasks.events.run import make_run
from tasks.events.wanted import WantedEvents, wanted_events
from tasks.site_file.spec import SiteFile
from tasks.text.wording import count

log = logging.getLogger(__name__)

PROGRESS_EVERY_S = 15.0


@dataclass
class EventsMade:
    """Outcome of a run. videos: whose events were made; failed: video or camera -> reason; shown: everywhere"""

    videos: int = 0
    events: int = 0
    seconds: float = 0.0
    failed: dict[str, str] = field(default_factory=dict)
    shown: bool = True


def make_events(engine: Database, site_file: SiteFile) -> EventsMade:
    """Make the missing events of every camera, and show them when all of a camera are made by the same rules.

    A video or a camera whose events cannot be made is left out with a warning. Raises DatabaseError.
    """
    begun, made = time.monotonic(), EventsMade()
    runs.delete_runs_of_replaced(engine)
    with ConditionEngine() as conditions:
        for camera, time_zone in runs.known_cameras(engine).items():
            try:
                _make_events_of(engine, wanted_events(engine, site_file, camera, time_zone), conditions, made)
            except DatabaseError:
                raise
            except NightjarError as error:
                _leave_out(_named(camera), error, made)
    made.seconds = time.monotonic() - begun
    return made


def _make_events_of(engine: Database, wanted: WantedEvents, conditions: ConditionEngine, made: EventsMade) -> None:
    show_first_version(engine, wanted.camera, wanted.event_version_id)
    if not _make_due(engine, wanted, conditions, made):
        _make_due(engine, wanted, conditions, made)
    if runs.show_when_complete(engine, wanted.camera, wanted.event_version_id):
        runs.delete_outdated_runs(engine, wanted.camera, wanted.event_version_id)
    else:
        made.shown = False


def _make_due(engine: Database, wanted: WantedEvents, conditions: ConditionEngine, made: EventsMade) -> bool:
    """Make the missing events of a camera. Returns False where those of a recording have to be made from its start."""
    due = runs.due_runs(engine, wanted.camera, wanted.event_version_id)
    said, again = time.monotonic(), set()
    for number, video in enumerate(due):
        if time.monotonic() - said > PROGRESS_EVERY_S:
            said = time.monotonic()
            log.info("Events of %s: %d of %s", _named(wanted.camera), number, count(len(due), "video"))
        if video.recording_id in again:
            continue
        try:
            _make_one(engine, wanted, video, conditions, made)
        except CheckpointError:
            runs.delete_runs_of_recording(engine, video.recording_id, wanted.event_version_id)
            again.add(video.recording_id)
    return not again


def _make_one(
    engine: Database, wanted: WantedEvents, video: AnalysedVideo, conditions: ConditionEngine, made: EventsMade
) -> None:
    """Make the events of a video. Raises CheckpointError, DatabaseError."""
    try:
        events = make_run(engine, wanted, video, conditions)
    except CheckpointError:
        raise
    except DatabaseError as error:
        if not isinstance(error, DataRefusedError):
            raise
        _leave_out(name_of(engine, video.video_id), error, made)
    except Exception as error:
        _leave_out(name_of(engine, video.video_id), error, made)
    else:
        made.videos += events is not None
        made.events += events or 0


def _leave_out(name: str, error: Exception, made: EventsMade) -> None:
    made.failed[name] = str(error) or type(error).__name__
    made.shown = False
    unexpected = not isinstance(error, NightjarError)
    log.warning("The events of %s cannot be made: %s", name, made.failed[name], exc_info=unexpected)


def _named(camera: str) -> str:
    return "videos without a camera" if camera == NO_CAMERA else f"camera {camera}"


def events_outcome(made: EventsMade) -> str:
    """Describe the outcome in one line."""
    text = f"{count(made.events, 'event')} in {count(made.videos, 'video')}"
    return f"{text}, not made for {', '.join(made.failed)}" if made.failed else text
