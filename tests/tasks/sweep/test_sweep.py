"""The sweep of ledger and store, on both databases; its effects on Prefect are in test_prefect.py."""

import hashlib
from pathlib import Path

import pytest
from sqlalchemy import Engine, update

from models.types import Segment
from storage.ledger import assignments, batches
from storage.ledger import leases as ledger
from storage.ledger.commit import load_result
from storage.objects.artifacts import FolderArtifacts
from storage.parquet import Result
from storage.sql import trainings
from storage.sql.clock import database_now
from storage.sql.database import writing
from storage.sql.query import query
from storage.sql.tables import assignments as assignment_rows
from storage.sql.tables import batches as batch_rows
from storage.sql.tables import segments
from tasks.fleet import messages as messages
from tasks.segment.result_files import put, result_key, result_prefix
from tasks.site.owner import host_name, this_owner
from tasks.site.settings import Settings
from tasks.sweep.report import Report
from tasks.sweep.sweep import Options, close_trainings, sweep
from tests.storage.samples import make_model, make_poses, make_report, make_video, must_claim, planned_batch
from tests.tasks.notify.receivers import web_receiver

pytestmark = pytest.mark.usefixtures("forked_sandboxes")

DAY_S = 86400.0
VERSION = make_model().version_sha256
ELSEWHERE = "another-host:4711:1795402800"
DEAD_HERE = f"{host_name()}:999999999:1"


class Site:
    """A database and a folder of artifacts, with a batch of five segments of 20 frames."""

    def __init__(self, engine: Engine, url: str, folder: Path) -> None:
        self.engine, self.video = engine, make_video(frames=100)
        self.artifacts = FolderArtifacts(folder)
        self.settings = Settings(database_url=url, artifacts=str(folder), home=folder)

    def plan(self, owner: str) -> int:
        return planned_batch(self.engine, self.video, length=20, owner=owner)[2]

    def sweep(self, **options: object) -> Report:
        return sweep(self.settings, Options(**options))  # type: ignore[arg-type]

    def ask(self, sql: str) -> list[tuple[object, ...]]:
        return [tuple(row) for row in query(self.engine, sql)[1]]

    def statuses(self) -> dict[object, object]:
        return {row[0]: row[1] for row in self.ask("SELECT status, count(*) FROM segments GROUP BY status")}

    def age(self, table: object, where: object, **seconds_ago: float) -> None:
        with writing(self.engine) as connection:
            values = {name: database_now(-seconds) for name, seconds in seconds_ago.items()}
            connection.execute(update(table).where(where).values(values))  # type: ignore[arg-type]

    def result(self, start: int) -> Result:
        segment = Segment(self.video.sha256, start, start + 20)
        return Result(self.video, segment, VERSION, make_poses(start, start + 20), make_report(20))

    def store(self, start: int, attempt: int = 1) -> str:
        """Store a result's file like a worker. Returns its key."""
        result = self.result(start)
        return put(self.artifacts, result_key(VERSION, result.segment, attempt), result).key

    def load(self, start: int) -> str:
        key = self.store(start)
        sha256 = hashlib.sha256(self.artifacts.get_bytes(key)).hexdigest()
        assert load_result(self.engine, self.result(start), key, sha256)
        return key


@pytest.fixture
def site(engine: Engine, migrated_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    return Site(engine, migrated_url, tmp_path / "artifacts")


def assert_idle(report: Report) -> None:
    assert (report.done, report.wrong) == ([], [])


def test_a_healthy_site_is_not_changed(site: Site) -> None:
    must_claim(site.engine, site.plan(this_owner()), owner=this_owner())
    site.load(20)
    assert_idle(site.sweep(verify=False))
    assert site.statuses() == {"leased": 1, "done": 1, "planned": 3}


def test_expired_leases_are_freed_and_count_as_tries(site: Site) -> None:
    batch = site.plan(this_owner())
    must_claim(site.engine, batch, owner=ELSEWHERE, lease_s=-1)
    must_claim(site.engine, batch, owner=ELSEWHERE, lease_s=600)
    dry = site.sweep(dry_run=True)
    assert dry.done == ["would have freed 1 segments with an expired lease"]
    assert site.statuses() == {"leased": 2, "planned": 3}
    assert site.sweep().done == ["freed 1 segments with an expired lease"]
    assert site.statuses() == {"leased": 1, "planned": 4}
    [(tries, reason)] = site.ask("SELECT tries, reason FROM segments WHERE tries > 0 AND status = 'planned'")
    assert (tries, reason) == (1, f"{ELSEWHERE} was silent past its lease")
    assert_idle(site.sweep())


def test_segments_of_dead_local_processes_are_freed_and_their_batch_crashed(site: Site) -> None:
    must_claim(site.engine, site.plan(DEAD_HERE), owner=DEAD_HERE, lease_s=600)
    assert site.sweep().done == [f"freed the segments of {DEAD_HERE}, because its process has ended"]
    assert site.ask("SELECT status, error FROM batches") == [("crashed", f"{DEAD_HERE} died")]
    assert site.statuses() == {"planned": 5}
    assert_idle(site.sweep())


@pytest.mark.parametrize(
    ("owner", "status"), [(ELSEWHERE, "crashed"), (this_owner(), "running")], ids=["elsewhere", "alive here"]
)
def test_a_batch_without_progress_for_a_day_is_crashed_unless_alive(site: Site, owner: str, status: str) -> None:
    batch = site.plan(owner)
    site.age(batch_rows, batch_rows.c.batch_id == batch, started_at=2 * DAY_S)
    site.sweep()
    assert site.ask("SELECT status FROM batches") == [(status,)]


@pytest.mark.parametrize("sign", ["a lease", "a segment", "an assignment"])
def test_a_batch_with_recent_progress_continues(site: Site, sign: str) -> None:
    batch = site.plan(ELSEWHERE)
    site.age(batch_rows, batch_rows.c.batch_id == batch, started_at=2 * DAY_S)
    if sign == "a lease":
        must_claim(site.engine, batch, owner=ELSEWHERE)
    elif sign == "a segment":
        site.load(0)
    else:
        assignments.create(site.engine, batch)
    site.sweep()
    assert site.ask("SELECT status FROM batches") == [("running",)]


def granted(site: Site, batch: int, lease_s: float) -> str:
    """An assignment with two segments that has reported to be at the second one."""
    made = assignments.create(site.engine, batch)
    claims = assignments.grant(site.engine, made, "pi", "CPU", 40, lease_s)
    files = [messages.File(key="cam.mp4", size_bytes=1, etag="e", sha256=site.video.sha256)]
    pieces = [
        messages.Piece(file=0, start_frame=claim.segment.start_frame, stop_frame=claim.segment.stop_frame, attempt=1)
        for claim in claims
    ]
    order = messages.Order(files=files, pieces=pieces)
    messages.write(site.artifacts, messages.order_key(made.assignment_id), order)
    status = messages.Status(worker="pi", device="CPU", ready=True, current=1)
    messages.write(site.artifacts, messages.status_key(made.assignment_id), status)
    return made.assignment_id


def test_a_recently_lapsed_assignment_can_still_be_adopted(site: Site) -> None:
    granted(site, site.plan(ELSEWHERE), lease_s=-60)
    assert_idle(site.sweep())
    assert site.statuses() == {"leased": 2, "planned": 3}


def test_only_the_current_segment_of_an_abandoned_assignment_counts_as_tried(site: Site) -> None:
    made = granted(site, site.plan(ELSEWHERE), lease_s=-1000)
    [line] = site.sweep().done
    assert made in line
    assert "as lost and freed 2 segments" in line
    assert site.ask("SELECT status FROM assignments") == [("lost",)]
    assert site.ask("SELECT start_frame FROM segments WHERE tries = 1") == [(20,)]
    assert site.statuses() == {"planned": 5}
    assert site.artifacts.exists(messages.revoked_key(made))
    assert_idle(site.sweep())


def test_assignments_of_a_batch_that_ended_are_closed(site: Site) -> None:
    batch = site.plan(ELSEWHERE)
    assignments.create(site.engine, batch)
    batches.finish_batch(site.engine, batch, "it died")
    assert_idle(site.sweep())
    site.age(batch_rows, batch_rows.c.batch_id == batch, finished_at=1000)
    [line] = site.sweep().done
    assert "as dismissed" in line
    assert site.ask("SELECT status FROM assignments") == [("dismissed",)]


def test_unloaded_results_are_loaded_once(site: Site) -> None:
    batch = site.plan(ELSEWHERE)
    must_claim(site.engine, batch, owner=ELSEWHERE, lease_s=-1)
    must_claim(site.engine, batch, owner=ELSEWHERE, lease_s=600)
    for start in (0, 20, 40):
        site.store(start)
    dry = site.sweep(dry_run=True)
    assert any("would have loaded 2 results" in line for line in dry.done)
    assert site.statuses() == {"leased": 2, "planned": 3}
    report = site.sweep()
    assert any(line.startswith("loaded 2 results") for line in report.done), "the leased one has an owner"
    assert site.ask("SELECT start_frame FROM segments WHERE status = 'done' ORDER BY 1") == [(0,), (40,)]
    assert site.ask("SELECT count(*) FROM poses") == [(80,)]
    assert_idle(site.sweep())


def test_a_late_result_of_a_quarantined_segment_is_loaded(site: Site) -> None:
    claim = must_claim(site.engine, site.plan(ELSEWHERE))
    ledger.quarantine_segment(site.engine, claim, "it was slow")
    site.store(0)
    site.sweep()
    assert site.statuses() == {"done": 1, "planned": 4}


def test_files_with_other_contents_than_their_name_says_are_not_loaded(site: Site) -> None:
    site.plan(ELSEWHERE)
    prefix = result_prefix(VERSION, Segment(site.video.sha256, 0, 20))
    site.artifacts.put_bytes(f"{prefix}0001.parquet", b"no Parquet")
    lie = site.artifacts.get_bytes(site.store(20))
    site.artifacts.put_bytes(f"{prefix}0002.parquet", lie)
    report = site.sweep(verify=True)
    assert sum("ignored " in line for line in report.done) == 2
    assert site.statuses() == {"done": 1, "planned": 4}, "the valid one was loaded"
    assert_idle(site.sweep())


def test_unreferenced_files_are_counted_and_kept(site: Site) -> None:
    site.plan(ELSEWHERE)
    site.load(0)
    late = site.store(0, attempt=2)
    assert_idle(site.sweep())
    report = site.sweep(verify=True)
    assert report.done == [
        f"compared the bytes of 1 results of model version {VERSION[:12]}…",
        "kept 1 result files that no ledger entry uses",
    ]
    assert report.wrong == []
    assert site.artifacts.exists(late)


def test_a_missing_result_file_is_reported(site: Site) -> None:
    site.plan(ELSEWHERE)
    keys = [site.load(start) for start in (0, 20)]
    Path(site.artifacts.url(keys[1])).unlink()
    [line] = site.sweep().wrong
    assert line.startswith("1 result files")
    assert keys[1] in line
    assert keys[0] not in line


def test_changed_bytes_are_found_by_verify_only(site: Site) -> None:
    site.plan(ELSEWHERE)
    keys = [site.load(start) for start in (0, 20)]
    path = Path(site.artifacts.url(keys[0]))
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert_idle(site.sweep())
    report = site.sweep(verify=True)
    assert [line for line in report.done if "compared the bytes of 2" in line]
    [line] = report.wrong
    assert keys[0] in line
    assert keys[1] not in line


@pytest.mark.parametrize(("hours", "complaints"), [(24, 0), (20, 1)])
def test_a_missing_night_is_reported(site: Site, hours: float, complaints: int) -> None:
    batch = site.plan(ELSEWHERE)
    batches.finish_batch(site.engine, batch)
    site.age(batch_rows, batch_rows.c.batch_id == batch, started_at=22 * 3600)
    with writing(site.engine) as connection:
        connection.execute(update(batch_rows).values(status="completed"))
    found = site.sweep(expect_within_h=hours).wrong
    assert len(found) == complaints
    assert all("the newest batch over archive/" in line and "more than 20 h ago" in line for line in found)
    assert site.sweep().wrong == [], "nothing is reported without --expect-within"


def test_a_missing_night_is_sent_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = site.plan(ELSEWHERE)
    batches.finish_batch(site.engine, batch)
    site.age(batch_rows, batch_rows.c.batch_id == batch, started_at=30 * 3600, notified_at=29 * 3600)
    with web_receiver() as web:
        for name, value in (("HOME", str(site.settings.home)), ("DATABASE_URL", site.settings.database)):
            monkeypatch.setenv(f"NIGHTJAR_{name}", value)
        monkeypatch.setenv("NIGHTJAR_NOTIFY_URLS", web.url())
        settings = Settings()
        assert sweep(settings, Options(expect_within_h=24, dry_run=True)).done == []
        assert sweep(settings, Options(expect_within_h=24)).done == ["queued 1 messages about missed nights"]
        assert sweep(settings, Options(expect_within_h=24)).done == []
    assert len(web.requests) == 1
    assert web.bodies[0]["title"].startswith("No night on ")
    assert f"The newest batch over archive/, {batch}, started at" in web.bodies[0]["message"]


def test_failed_nights_are_reported_but_not_unused_archives(site: Site) -> None:
    batch = site.plan(ELSEWHERE)
    batches.finish_batch(site.engine, batch, "the disk was full")
    [line] = site.sweep(expect_within_h=24).wrong
    assert "is crashed: the disk was full" in line
    site.age(batch_rows, batch_rows.c.batch_id == batch, started_at=15 * DAY_S)
    assert site.sweep(expect_within_h=24).wrong == []


def test_each_step_is_independent(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Store and Prefect are down: both are reported, and leases are freed anyway."""
    must_claim(site.engine, site.plan(ELSEWHERE), owner=ELSEWHERE, lease_s=-1)
    site.settings.artifacts = str(Path(__file__) / "no folder")
    monkeypatch.setenv("PREFECT_API_URL", "http://user:planted-secret@127.0.0.1:9/api")
    report = site.sweep()
    assert report.done == ["freed 1 segments with an expired lease"]
    assert [line.split(":")[0] for line in report.wrong] == ["results", "Prefect"]
    assert "planted-secret" not in str(report.wrong)


def test_without_a_database_the_sweep_reports_it_and_continues(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    settings = Settings(database_url="postgresql://me:planted-secret@127.0.0.1:9/none", home=site.settings.home)
    report = sweep(settings, Options())
    assert [line.split(":")[0] for line in report.wrong] == ["database", "Prefect"]
    assert "planted-secret" not in str(report.wrong)


def test_a_waiting_assignment_of_a_running_batch_is_not_changed(site: Site) -> None:
    assignments.create(site.engine, site.plan(ELSEWHERE))
    site.age(assignment_rows, assignment_rows.c.status == "waiting", created_at=2 * DAY_S)
    site.age(segments, segments.c.status == "planned", planned_at=2 * DAY_S)
    assert_idle(site.sweep())


def test_trainings_of_dead_processes_are_closed(engine: Engine) -> None:
    plan = trainings.TrainingPlan("k" * 32, "car-classifier", "experiment-1", "{}", "{}", 5, 3, 2)
    dead = f"{host_name()}:999999999:1"
    run, _ = trainings.start_training(engine, plan, None, owner=dead)
    found = []
    for dry in (True, False, False):
        report = Report(dry)
        close_trainings(engine, report)
        found.append((len(report.done), _status(engine)))
    assert found == [(1, "running"), (1, "failed"), (0, "failed")]
    [(error,)] = query(engine, "SELECT error FROM training_runs")[1]
    assert error == f"its process {dead} has ended. Run the same 'nightjar finetune' again to resume."
    assert trainings.start_training(engine, plan, None, owner=this_owner()) == (run, False)


def _status(engine: Engine) -> str:
    [(status,)] = query(engine, "SELECT status FROM training_runs")[1]
    return str(status)
