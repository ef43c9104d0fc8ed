"""The sweep: what faults left behind is put right, each step for itself. From cron or a timer, never from Prefect.

What it says is of two kinds: what was done, and what a person must look at. Run again, it finds nothing to do.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from models.types import NightjarError, Segment
from storage.ledger import assignments, batches
from storage.ledger import recovery as swept
from storage.ledger.leases import Claim
from storage.objects.artifacts import Artifacts
from storage.objects.places import ObjectError, parse_place
from storage.parquet import Result, ResultError
from storage.sql import trainings
from storage.sql.database import Database, check, migrate, open_database
from tasks.fleet import messages as orders
from tasks.segment.load import load_results
from tasks.segment.result_files import result_prefix
from tasks.site.owner import host_name, is_dead
from tasks.site.scratch import scratch_folder, tidy
from tasks.site.settings import Settings, prefect_api_url
from tasks.site.stores import artifact_store
from tasks.sweep.report import Report

ADOPT_S = 900.0  # a parent that was killed may be started again, and adopts what is under way
IDLE_S = swept.DAY_S  # a batch that nothing is heard of for so long, on a host of which we know nothing
NAMED = 5  # of many alike, so many are named
ASKED = 100  # of many missing, so many are asked for one by one
USER_INFO = re.compile(r"//[^/@\s]*@")  # an address may hold a password


@dataclass(frozen=True)
class Options:
    """expect_within_h: complain where an archive's newest batch is older; verify: compare the bytes of all results;

    second_look_s: silence is believed when it has lasted this long more
    """

    dry_run: bool = False
    verify: bool = False
    expect_within_h: float | None = None
    second_look_s: float = 45.0


def sweep(settings: Settings, options: Options) -> Report:
    """All steps, whatever becomes of the others. Prefect's is done without the ledger's word where that is away."""
    report = Report(options.dry_run)
    engine: Database | None = None
    with _step(report, "database"):
        engine = _open_ledger(settings, options)
    with _step(report, "temporary files"):
        tidy_up(settings, report)
    try:
        if engine is not None:
            _sweep_ledger(engine, artifact_store(settings), options, report)
        if prefect_api_url():
            with _step(report, "Prefect"):
                _sweep_prefect(engine, options, report)
    finally:
        if engine is not None:
            engine.dispose()
    return report


def _open_ledger(settings: Settings, options: Options) -> Database:
    """Open the ledger. Raises DatabaseError if the database cannot be used or has another version's schema."""
    engine = open_database(settings.database)
    try:
        if options.dry_run:
            check(engine)
        else:
            migrate(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


@contextmanager
def _step(report: Report, name: str) -> Iterator[None]:
    """Run one step; a failure becomes a line of the report and the next step still runs."""
    try:
        yield
    except Exception as error:
        kind = "" if isinstance(error, NightjarError) else f"{type(error).__name__}: "
        text = (str(error).splitlines() or [""])[0]
        report.wrong.append(f"{name}: {kind}{USER_INFO.sub('//', text)}")


def _sweep_ledger(engine: Database, artifacts: Artifacts, options: Options, report: Report) -> None:
    """Results first: what is loaded need not be freed for others to do again."""
    with _step(report, "results"):
        compare_results(engine, artifacts, options.verify, report)
    with _step(report, "leases"):
        free_leases(engine, report)
    with _step(report, "assignments"):
        end_abandoned(engine, artifacts, report)
    with _step(report, "batches"):
        crash_idle(engine, report)
    with _step(report, "trainings"):
        close_trainings(engine, report)
    if options.expect_within_h is not None:
        with _step(report, "nights"):
            expect_nights(engine, options.expect_within_h, report)


def _sweep_prefect(engine: Database | None, options: Options, report: Report) -> None:
    from tasks.sweep.prefect import sweep_prefect  # Prefect takes seconds to import

    sweep_prefect(engine, options.second_look_s, report)


def tidy_up(settings: Settings, report: Report) -> None:
    """Remove the temporary files that killed processes left on this machine and in a store that is a folder."""
    place = parse_place(settings.artifacts_location)
    removed = tidy(settings, place if isinstance(place, Path) else None, dry=report.dry)
    report.count(removed, "removed {} temporary files and folders of processes that are gone")


def free_leases(engine: Database, report: Report) -> None:
    """Free segments of this host's dead owners and those that nobody renewed; mark dead owners' batches crashed."""
    for owner in sorted(filter(is_dead, swept.owners(engine))):
        report.did(f"freed what {owner} held: its process is gone")
    expired = swept.expired_leases(engine)
    if not report.dry:
        batches.release_dead(engine, is_dead)
        expired = swept.free_expired(engine)
    report.count(expired, "freed {} segments whose lease had ended")


def end_abandoned(engine: Database, artifacts: Artifacts, report: Report) -> None:
    """Free assignments that no parent looks after, and stop a worker that still has one."""
    for one in swept.abandoned(engine, ADOPT_S):
        if one.held:
            status, reason = "lost", "silent past its lease, and no batch adopted it"
        else:
            status = "dismissed" if one.status == "waiting" else "done"
            reason = "its batch ended, and no other one adopted it"
        if not report.dry:
            culprit = _culprit(engine, artifacts, one.assignment_id) if one.held else None
            assignments.end(engine, one.assignment_id, status, reason, culprit)
            artifacts.put_bytes(orders.revoked_key(one.assignment_id), reason.encode())
        report.did(f"ended assignment {one.assignment_id} as {status}, {one.held} segments are free: {reason}")


def _culprit(engine: Database, artifacts: Artifacts, assignment_id: str) -> Claim | None:
    """Return the segment that the run reported to be working on, which counts as tried."""
    with suppress(NightjarError):
        order, status = orders.read_order(artifacts, assignment_id), orders.read_status(artifacts, assignment_id)
        if order and status and status.current is not None and status.current < len(order.pieces):
            at = order.segment(order.pieces[status.current])
            return next((one for one in assignments.claims(engine, assignment_id) if one.segment == at), None)
    return None


def crash_idle(engine: Database, report: Report) -> None:
    """Batches that were left running: nothing is held, nothing has moved for a day, and nobody here runs them."""
    for batch_id, owner in swept.idle_batches(engine, IDLE_S):
        if owner.startswith(f"{host_name()}:") and not is_dead(owner):
            continue
        if not report.dry:
            batches.finish_batch(engine, batch_id, f"nothing was heard of {owner} for a day")
        report.did(f"crashed batch {batch_id}: nothing was heard of {owner} for a day")


def close_trainings(engine: Database, report: Report) -> None:
    """Fail trainings whose process is gone, so that nobody waits for them."""
    for training_run_id, owner in trainings.abandoned_trainings(engine, is_dead):
        reason = f"{owner} is gone. Run the same 'nightjar finetune' again to resume."
        if not report.dry:
            trainings.fail_training(engine, training_run_id, reason)
        report.did(f"closed training run {training_run_id} as failed: {reason}")


def expect_nights(engine: Database, within_h: float, report: Report) -> None:
    """Complains where the newest batch of an archive that is in use is old, or failed."""
    for night in swept.last_nights(engine, within_h * 3600):
        last = f"the newest batch over {night.archive}, {night.batch_id}, started {night.started_at}"
        if night.late:
            report.wrong.append(
                f"{last}; expected one within {within_h:g} h: see 'nightjar batches --last 1' and Prefect's schedule"
            )
        elif night.status in ("crashed", "incomplete", "cancelled"):
            why = f": {night.error}" if night.error else ""
            report.wrong.append(
                f"{last} and is {night.status}{why}. Run it again to continue, or take it off the list with "
                f"'nightjar batches --forget {night.batch_id}'"
            )
        elif night.status == "completed" and night.files_listed == 0:
            report.wrong.append(f"{last} and found no videos. Mount the archive's disk, or correct its location")


def compare_results(engine: Database, artifacts: Artifacts, verify: bool, report: Report) -> None:
    """Load what lies in the store and nobody loaded; tell which files are missing and, where asked to verify, changed.

    Only then it names what stays as it is, such as files of attempts that came late: no sweep will ever change that.
    """
    unnamed = 0
    for version in swept.versions(engine):
        shelf = _shelf(engine, version)
        found = _sort_keys(artifacts, version, shelf)
        unnamed += found.unnamed
        _load_forgotten(engine, artifacts, version, found.forgotten, report, verify)
        _tell_missing(artifacts, version, found.missing, report)
        if verify:
            _verify(artifacts, version, found.present, report)
    report.count(
        unnamed if verify and not report.dry else 0, "left {} result files that no ledger entry names as they are"
    )


@dataclass(frozen=True)
class _Shelf:
    """The ledger's results of one version. done: key -> sha256; open, kept: prefixes of segments not done,

    that nobody or somebody works on now
    """

    done: dict[str, str]
    open: set[str]
    kept: set[str]


def _shelf(engine: Database, version: str) -> _Shelf:
    shelf = _Shelf({}, set(), set())
    for entry in swept.entries(engine, version):
        if entry.status == "done":
            if entry.result_key and entry.result_sha256:
                shelf.done[entry.result_key] = entry.result_sha256
        else:
            segment = Segment(entry.video_sha256, entry.start_frame, entry.stop_frame)
            (shelf.kept if entry.looked_after else shelf.open).add(result_prefix(version, segment))
    return shelf


@dataclass
class _Found:
    """forgotten: keys of segments that are not done; present, missing: of done ones, key -> sha256"""

    forgotten: list[str]
    present: dict[str, str]
    missing: dict[str, str]
    unnamed: int = 0


def _sort_keys(artifacts: Artifacts, version: str, shelf: _Shelf) -> _Found:
    """One listing a version, whatever the number of segments. After the ledger was read: its files were there first."""
    found = _Found([], {}, dict(shelf.done))
    for key in artifacts.list(f"results/{version}/"):
        prefix = f"{'.'.join(key.split('.')[:-2])}."
        if key in found.missing:
            found.present[key] = found.missing.pop(key)
        elif prefix in shelf.open:
            found.forgotten.append(key)
        elif prefix not in shelf.kept:
            found.unnamed += 1
    return found


def _load_forgotten(
    engine: Database, artifacts: Artifacts, version: str, keys: Iterable[str], report: Report, verify: bool
) -> None:
    def wanted(key: str, result: Result) -> bool:
        if result.version_sha256 != version or not key.startswith(result_prefix(version, result.segment)):
            raise ResultError(f"{key} is of another segment or model, expected what its name says: leave it out")
        return not report.dry

    loaded = 0
    for key, loading in load_results(engine, artifacts, sorted(keys), wanted):
        try:
            loaded += loading.result() or report.dry
        except (ResultError, ValueError, ObjectError) as error:
            if verify:
                report.did(f"left {key} alone: {error}")
    report.count(loaded, f"loaded {{}} results of model version {version[:12]}… that nobody had loaded")


def _tell_missing(artifacts: Artifacts, version: str, missing: dict[str, str], report: Report) -> None:
    """Report missing objects. A listing may lag, so the first ones are looked up in the store again."""
    lost = [key for key in islice(missing, ASKED) if not artifacts.exists(key)]
    if lost:
        number = len(lost) + max(0, len(missing) - ASKED)
        report.wrong.append(
            f"{number} result files of model version {version[:12]}… are not in the store, expected all that the ledger"
            f" names ({_some(lost)}): restore them from a copy; the rows are in the database"
        )


def _verify(artifacts: Artifacts, version: str, present: dict[str, str], report: Report) -> None:
    changed = [key for key, sha256 in present.items() if _sha256_of(artifacts, key) != sha256]
    if changed:
        report.wrong.append(
            f"{len(changed)} result files of model version {version[:12]}… have other bytes than the ledger says"
            f" ({_some(changed)}): restore them from a copy, and ask who can write there"
        )
    report.count(len(present), f"compared the bytes of {{}} results of model version {version[:12]}…")


def _sha256_of(artifacts: Artifacts, key: str) -> str:
    """Return the sha256 of the bytes in the store; "" = the store itself calls them damaged."""
    with scratch_folder("sweep") as scratch:
        path = scratch / "result"
        try:
            artifacts.get_file(key, path)
        except ObjectError:
            return ""
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:NAMED]) + (" …" if len(keys) > NAMED else "")
