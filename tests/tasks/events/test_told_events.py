"""Messages about events: also about those that last until the last rows of a recording, each once."""

from sqlalchemy import Engine, select

from storage.ledger.news import events_of_videos
from storage.sql.database import reading
from storage.sql.tables import videos
from tasks.analysis.events import make_events
from tests.tasks.events.recorded import FPS, Person, Recorded
from tests.tasks.events.test_make_events import HANDS


def told(engine: Engine) -> dict[str, float]:
    """Key of each event that can be told -> its end."""
    with reading(engine) as connection:
        video_ids = list(connection.execute(select(videos.c.video_id)).scalars())
    return {event.event_key: event.to_s for event in events_of_videos(engine, video_ids, ("info",))}


def test_an_event_at_the_end_of_a_recording_is_told_before_another_file_comes(engine: Engine) -> None:
    recording = Recorded(engine, "door", (Person(1, 0, 499, raises_hand=(200, 300)),), (250, 250)).add(1)
    make_events(engine, HANDS)
    [(key, to_s)] = told(engine).items()
    assert to_s == 249 / FPS
    recording.add()
    make_events(engine, HANDS)
    assert told(engine) == {key: 12.0}
