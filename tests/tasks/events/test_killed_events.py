"""That every event is made once, wherever its process is killed, on both databases."""

import multiprocessing
import random
import time
from multiprocessing.process import BaseProcess
from typing import Any

from sqlalchemy import Engine

from storage.sql.query import query
from tasks.analysis.events import make_events
from tests.tasks.events.killed import make_until_killed
from tests.tasks.events.recorded import Person, Recorded
from tests.tasks.events.test_make_events import site

PROCESSES, KILLS, LIMIT_S = 2, 20, 240.0
BEFORE = 'rule = "hand_raised"\nmin_duration_s = 0.2\n'
AFTER = 'rule = "hand_raised"\nmin_duration_s = 0.4\nbridge_gap_s = 2\n'
EVENTS = "SELECT rule_version, event_key, video, track, from_s, to_s FROM events ORDER BY event_key"

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.tasks.events.killed"])


def text(rule: str) -> str:
    """A site file with this rule only."""
    off = ("fall", "lying", "running", "crowd", "absence_longer_than", "loitering")
    return f"[[rules]]\n{rule}" + "".join(f'[[rules]]\nrule = "{name}"\nenabled = false\n' for name in off)


def start(engine: Engine) -> BaseProcess:
    url = engine.url.render_as_string(hide_password=False)
    process = processes.Process(target=make_until_killed, args=(url, text(AFTER)), daemon=True)
    process.start()
    return process


def events(engine: Engine) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in query(engine, EVENTS)[1]]


def test_events_are_made_once_and_a_reader_sees_one_version(engine: Engine) -> None:
    people = tuple(
        Person(
            number, 30 * number, 30 * number + 200, raises_hand=(30 * number + 20, 30 * number + 60 + 30 * (number % 3))
        )
        for number in range(1, 30)
    )
    Recorded(engine, "door", people, (100,) * 10).add()
    make_events(engine, site(f"[[rules]]\n{AFTER}", "hand_raised"))
    after = events(engine)
    make_events(engine, site(f"[[rules]]\n{BEFORE}", "hand_raised"))
    before, rng, kills = events(engine), random.Random(5), 0
    assert len(before) > len(set(after) & set(before))
    assert len(after) == 29
    deadline, workers = time.monotonic() + LIMIT_S, [start(engine) for _ in range(PROCESSES)]
    try:
        while kills < KILLS or events(engine) != after:
            assert time.monotonic() < deadline
            time.sleep(rng.uniform(0.02, 0.2))
            assert events(engine) in (before, after)
            if kills < KILLS:
                kills += 1
                number = rng.randrange(PROCESSES)
                workers[number].kill()
                workers[number].join()
                workers[number] = start(engine)
    finally:
        for worker in workers:
            worker.kill()
            worker.join()
    make_events(engine, site(f"[[rules]]\n{AFTER}", "hand_raised"))
    assert events(engine) == after
    stored = "SELECT count(*), count(DISTINCT event_run_id) FROM event_rows"
    [(rows, runs)] = query(engine, stored)[1]
    assert runs <= 10
    assert list(query(engine, "SELECT count(*) FROM event_runs")[1]) == [(10,)]
    assert rows >= len(after)
