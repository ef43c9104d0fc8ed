"""Videos, the archive's files, model versions and the choice of those that the views show. No segments."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    ScalarSelect,
    Select,
    Table,
    bindparam,
    case,
    delete,
    false,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from models.types import ModelVersion, Video
from storage.sql.clock import database_now
from storage.sql.database import reading, storable, writing
from storage.sql.tables import (
    archive_files,
    ignored_files,
    model_versions,
    segments,
    shown_models,
    time_repairs,
    training_runs,
    videos,
)
from storage.video.coded_film import CodedFilm
from storage.video.geometry import DisplayGeometry, geometry_of

_NO_COLUMNS = {"time_repairs", "created_s", "created_read"}  # stored in another form
VIDEO_FIELDS = tuple(name for name in Video.__dataclass_fields__ if name not in _NO_COLUMNS)
MODEL_FIELDS = tuple(ModelVersion.__dataclass_fields__)
MOST_NAMES = 5000
KEYS_AT_ONCE = 5000  # in one IN (…)
HASH_START = re.compile("[0-9a-f]{8,64}")
RUN_NUMBER = re.compile("(?:run-)?([1-9][0-9]{0,6})")


class KnownFile(NamedTuple):
    """A file of the archive as of its last reading.

    reason: of its exclusion from processing, None where video_id is known
    retry: the reason may pass without a change of the file
    former_video_id: the former video of a file that cannot be processed
    gone: the archive no longer lists it
    """

    size_bytes: int
    etag: str
    video_id: int | None
    reason: str | None
    retry: bool
    former_video_id: int | None
    gone: bool


class RecordedFile(NamedTuple):
    """A file as its archive lists it."""

    archive: str
    key: str
    size_bytes: int
    etag: str


class ShownModel(NamedTuple):
    """The version that the views show of a task. chosen_by: `batch`, or `person` where a user named it"""

    model_version_id: int
    name: str
    version_sha256: str
    chosen_by: str


class ArchivedVideo(NamedTuple):
    """A file of an archive that is a video. gone_at: None while its archive lists it"""

    video_id: int
    archive: str
    key: str
    size_bytes: int
    etag: str
    gone_at: datetime | None
    sha256: str


def video_id_of(connection: Connection, video: Video) -> int:
    """Register a video. Returns its id, the same for the same bytes."""
    values = {field: getattr(video, field) for field in VIDEO_FIELDS}
    _upsert(connection, videos, values | {"probed_at": database_now()}, unique=("sha256",), changes={})
    mine = select(videos.c.video_id).where(videos.c.sha256 == video.sha256)
    video_id = int(connection.execute(mine).scalar_one())
    if video.created_read:
        unread = (videos.c.video_id == video_id) & videos.c.creation_time_read.is_(False)
        connection.execute(update(videos).where(unread).values(creation_columns(video.created_s)))
    for repair in video.time_repairs:
        row = {"video_id": video_id, **repair._asdict()}
        _upsert(connection, time_repairs, row, unique=("video_id", "start_frame"), changes={})
    return video_id


def creation_columns(created_s: float | None) -> dict[str, Any]:
    """Return the columns of a creation time that was read. created_s: seconds since 1970, None = the file claims none

    Seconds that no calendar has are none.
    """
    try:
        created = None if created_s is None else datetime.fromtimestamp(created_s, UTC)
    except (ValueError, OverflowError, OSError):
        created = None
    return {"creation_time": created, "creation_time_read": True}


def geometry_of_rows(connection: Connection, video_id: int) -> DisplayGeometry:
    """Return the geometry to which the coordinates of a video's rows refer."""
    columns = (videos.c[name] for name in VIDEO_FIELDS)
    row = connection.execute(select(*columns).where(videos.c.video_id == video_id)).one()
    return geometry_of(Video(**row._mapping))


def read_geometry(engine: Engine, video_id: int) -> DisplayGeometry:
    """Read the geometry of a video's rows in a transaction of its own."""
    with reading(engine) as connection:
        return geometry_of_rows(connection, video_id)


def record_unreadable(engine: Engine, file: RecordedFile, reason: str, *, retry: bool = False) -> None:
    """Record that a file was read just now and why it cannot be processed, in place of its former record.

    retry: the reason may pass without a change of the file, so each batch reads it again
    """
    kept = func.coalesce(archive_files.c.video_id, archive_files.c.former_video_id)
    with writing(engine) as connection:
        _record(connection, file, {"video_id": None, "reason": storable(reason), "retry": retry}, kept)


def file_is_video(connection: Connection, file: RecordedFile, video_id: int) -> None:
    """Record that a file was read just now and is this video. It is a file again, if it was ever superseded."""
    again = (videos.c.video_id == video_id) & videos.c.superseded_by.is_not(None)
    connection.execute(update(videos).where(again).values(superseded_by=None))
    _record(connection, file, {"video_id": video_id, "reason": None, "retry": False}, None)


def _record(connection: Connection, file: RecordedFile, found: dict[str, Any], former_video_id: Any) -> None:
    """Record a file that was read just now, in place of its former record. former_video_id: of that one"""
    read = {"size_bytes": file.size_bytes, "etag": file.etag, **found}
    read |= {"seen_at": database_now(), "read_at": database_now(), "gone_at": None}
    identity = {"archive": file.archive, "key": storable(file.key)}
    changes = read | {"former_video_id": former_video_id}
    _upsert(connection, archive_files, identity | read, unique=("archive", "key"), changes=changes)


def known_files(engine: Engine, archive: str) -> dict[str, KnownFile]:
    """Map each key to its record. Keys that are not valid UTF-8 are as `storage.sql.database.storable` returns them."""
    with reading(engine) as connection:
        rows = connection.execute(_known().where(archive_files.c.archive == archive))
        return {key: KnownFile(*known) for key, *known in rows}


def count_files(engine: Engine, archive: str) -> int:
    """Count the files of this archive that batches have listed."""
    with reading(engine) as connection:
        mine = select(func.count()).select_from(archive_files).where(archive_files.c.archive == archive)
        return int(connection.execute(mine).scalar_one())


def knows_archive(engine: Engine, archive: str) -> bool:
    """Return whether a batch has ever listed this archive. A mistyped name is not known."""
    mine = archive_files.c.archive == archive
    with reading(engine) as connection:
        return connection.execute(select(archive_files.c.key).where(mine).limit(1)).first() is not None


def known_file(engine: Engine, archive: str, key: str) -> KnownFile | None:
    """Return the record of one file; None for a new one."""
    this = (archive_files.c.archive == archive) & (archive_files.c.key == storable(key))
    with reading(engine) as connection:
        row = connection.execute(_known().where(this)).first()
    return KnownFile(*row[1:]) if row else None


def _known() -> Select[Any]:
    columns = (archive_files.c[name] for name in ("key", *KnownFile._fields[:-1]))
    return select(*columns, archive_files.c.gone_at.is_not(None))


def identity_of(engine: Engine, video_id: int) -> tuple[str, int]:
    """Return a video's sha256 and its number of frames."""
    with reading(engine) as connection:
        row = connection.execute(select(videos.c.sha256, videos.c.frames).where(videos.c.video_id == video_id)).one()
        return row.sha256, row.frames


def name_of(engine: Engine, video_id: int) -> str:
    """Return the name of a video in the views, its sha256 where it is in no archive."""
    named = text(
        "SELECT coalesce((SELECT key FROM video_names WHERE video_id = :id), sha256) FROM videos WHERE video_id = :id"
    )
    with reading(engine) as connection:
        return str(connection.execute(named, {"id": video_id}).scalar_one())


def find_videos(engine: Engine, name: str) -> list[ArchivedVideo]:
    """Find the files of a video by its name: a key, an archive's address with a key, or the start of a hash.

    Files that are gone come last.
    """
    columns = (*(archive_files.c[field] for field in ArchivedVideo._fields[:-1]), videos.c.sha256)
    known = select(*columns).join(videos, videos.c.video_id == archive_files.c.video_id)
    known_as = storable(name)
    named = (archive_files.c.key == known_as) | (archive_files.c.archive + "/" + archive_files.c.key == known_as)
    hashed = videos.c.sha256.startswith(name) if HASH_START.fullmatch(name) else false()
    order = archive_files.c.gone_at.is_not(None), archive_files.c.seen_at.desc()
    with reading(engine) as connection:
        return [ArchivedVideo(*row) for row in connection.execute(known.where(named | hashed).order_by(*order))]


def video_keys(engine: Engine) -> list[str]:
    """Return names of the videos that were seen last, for use in error messages."""
    newest = select(archive_files.c.key).where(archive_files.c.video_id.is_not(None))
    with reading(engine) as connection:
        return list(connection.execute(newest.order_by(archive_files.c.seen_at.desc()).limit(MOST_NAMES)).scalars())


def mark_seen(engine: Engine, archive: str, keys: Sequence[str]) -> None:
    """Record that the archive listed these known files just now."""
    with writing(engine) as connection:
        for mine in _known_as(archive, keys):
            connection.execute(update(archive_files).where(mine).values(seen_at=database_now()))
            back = mine & archive_files.c.gone_at.is_not(None)  # rarely any: it changes an index
            connection.execute(update(archive_files).where(back).values(gone_at=None))


def mark_gone(engine: Engine, archive: str, keys: Sequence[str]) -> None:
    """Record that the archive no longer lists these files. A video keeps its last name."""
    with writing(engine) as connection:
        for mine in _known_as(archive, keys):
            connection.execute(update(archive_files).where(mine).values(gone_at=database_now()))


def _known_as(archive: str, keys: Sequence[str]) -> Iterator[ColumnElement[bool]]:
    """Conditions that each match at most KEYS_AT_ONCE files of the archive, and together all of them."""
    for first in range(0, len(keys), KEYS_AT_ONCE):
        listed = [storable(key) for key in keys[first : first + KEYS_AT_ONCE]]
        yield (archive_files.c.archive == archive) & archive_files.c.key.in_(listed)


class IgnoredFile(NamedTuple):
    """A file that is not a video. size_bytes, etag: of the content that was examined; None where its name decided"""

    size_bytes: int | None
    etag: str | None
    reason: str


def ignored_files_of(engine: Engine, archive: str) -> dict[str, IgnoredFile]:
    """Map each ignored key to the reason."""
    columns = (ignored_files.c[name] for name in ("key", *IgnoredFile._fields))
    with reading(engine) as connection:
        rows = connection.execute(select(*columns).where(ignored_files.c.archive == archive))
        return {key: IgnoredFile(*ignored) for key, *ignored in rows}


def record_ignored(engine: Engine, archive: str, found: dict[str, IgnoredFile]) -> None:
    """Record that these files, and no others, are ignored. Writes only changes."""
    known = ignored_files_of(engine, archive)
    found = {storable(key): ignored for key, ignored in found.items()}
    new = [
        {"archive": archive, "key": key, **ignored._asdict()}
        for key, ignored in found.items()
        if known.get(key) != ignored
    ]
    old = [{"old": key} for key, ignored in known.items() if found.get(key) != ignored]
    mine = (ignored_files.c.archive == archive) & (ignored_files.c.key == bindparam("old"))
    if new or old:
        with writing(engine) as connection:
            if old:
                connection.execute(delete(ignored_files).where(mine), old)
            if new:
                connection.execute(insert(ignored_files).values(since=database_now()), new)


class FormerVideo(NamedTuple):
    """The video that a file was at its last reading. coded: None where it was probed before this was recorded"""

    video_id: int
    sha256: str
    size_bytes: int
    coded: CodedFilm | None


def former_video(engine: Engine, archive: str, key: str) -> FormerVideo | None:
    """Former video of a file; None where the file is new or never was a video."""
    known = known_file(engine, archive, key)
    video_id = known and (known.video_id or known.former_video_id)
    if video_id is None:
        return None
    columns = (videos.c[name] for name in ("sha256", "size_bytes", "coded_bytes", "coded_sha256"))
    with reading(engine) as connection:
        row = connection.execute(select(*columns).where(videos.c.video_id == video_id)).one()
    coded = None if row.coded_sha256 is None else CodedFilm(row.coded_bytes, row.coded_sha256)
    return FormerVideo(video_id, row.sha256, row.size_bytes, coded)


def supersede(engine: Engine, former_id: int, video_id: int) -> bool:
    """Show the whole recording in place of its former part, unless that part is a file of its own somewhere.

    Returns whether it was superseded.
    """
    kept = select(archive_files.c.video_id).where(
        archive_files.c.video_id == former_id, archive_files.c.gone_at.is_(None)
    )
    with writing(engine) as connection:
        if former_id == video_id or connection.execute(kept).first() is not None:
            return False
        change = update(videos).where(videos.c.video_id == former_id).values(superseded_by=video_id)
        connection.execute(change)
    return True


def register_model(engine: Engine, version: ModelVersion) -> int:
    """Register a model version as the latest of its name. Returns its id, the same for the same version_sha256."""
    values = {field: getattr(version, field) for field in MODEL_FIELDS}
    registered = {"registered_at": database_now()}
    with writing(engine) as connection:
        _upsert(connection, model_versions, values | registered, unique=("version_sha256",), changes=registered)
        mine = model_versions.c.version_sha256 == version.version_sha256
        return int(connection.execute(select(model_versions.c.model_version_id).where(mine)).scalar_one())


def find_model(engine: Engine, name: str) -> tuple[int, ModelVersion] | None:
    """Return a model version with its id; None where there is none.

    name: of a training run, as run-7 or 7; or the beginning of a version's hash; or the name of a model or training,
    of which the one registered last among those that process every frame is returned
    """
    columns = (model_versions.c.model_version_id, *(model_versions.c[field] for field in MODEL_FIELDS))
    newest = (model_versions.c.registered_at.desc(), model_versions.c.model_version_id.desc())
    with reading(engine) as connection:
        for wanted in _meanings(name):  # a name may look like a hash or a number
            row = connection.execute(select(*columns).where(wanted).order_by(*newest)).first()
            if row is not None:
                return row[0], ModelVersion(*row[1:])
    return None


def _meanings(name: str) -> Iterator[ColumnElement[bool]]:
    """Conditions on model_versions, of which the first with a match counts."""
    if number := RUN_NUMBER.fullmatch(name):
        run = training_runs.c.training_run_id == int(number[1])
        yield model_versions.c.model_version_id.in_(select(training_runs.c.model_version_id).where(run))
    if HASH_START.fullmatch(name):
        yield model_versions.c.version_sha256.startswith(name)
    yield model_versions.c.model_version_id == _newest_named(name)


def _newest_named(name: str) -> ScalarSelect[int]:
    """Newest version of a name. Equal trainings under two names are one version, found by either name."""
    named = (model_versions.c.name == name) & model_versions.c.frames_per_second.is_(None)
    trained = (training_runs.c.name == name) & (training_runs.c.status == "completed")
    of_models = select(model_versions.c.model_version_id, model_versions.c.registered_at.label("since")).where(named)
    of_runs = select(training_runs.c.model_version_id, training_runs.c.finished_at).where(trained)
    both = of_models.union_all(of_runs).subquery()
    order = (both.c.since.desc(), both.c.model_version_id.desc())
    return select(both.c.model_version_id).order_by(*order).limit(1).scalar_subquery()


def shown_versions(engine: Engine) -> list[tuple[int, ModelVersion]]:
    """Return the versions that the views show, with their ids: poses before classifications."""
    columns = (model_versions.c.model_version_id, *(model_versions.c[field] for field in MODEL_FIELDS))
    shown = select(*columns).join(shown_models, shown_models.c.model_version_id == model_versions.c.model_version_id)
    with reading(engine) as connection:
        rows = connection.execute(shown.order_by(shown_models.c.task.desc()))
        return [(row[0], ModelVersion(*row[1:])) for row in rows]


def model_names(engine: Engine) -> list[str]:
    """Return the names of all registered models, sorted."""
    with reading(engine) as connection:
        return list(connection.execute(select(model_versions.c.name).distinct().order_by("name")).scalars())


def show_model(engine: Engine, task: str, model_version_id: int) -> None:
    """Show this version in the views by a user's choice, which stays until a user makes another."""
    values = {"model_version_id": model_version_id, "since": database_now(), "chosen_by": "person"}
    with writing(engine) as connection:
        _upsert(connection, shown_models, {"task": task} | values, unique=("task",), changes=values)


def let_batches_choose(engine: Engine) -> None:
    """Revoke the user's choices. The views keep their versions until a batch completes another one."""
    with writing(engine) as connection:
        connection.execute(update(shown_models).values(chosen_by="batch"))


def show_when_complete(engine: Engine, task: str, model_version_id: int) -> bool:
    """Show this version if it has processed every frame that the shown one has; the first version at once.

    A version that a user chose is never replaced. Returns whether this version is shown now.
    """
    values = {"model_version_id": model_version_id, "since": database_now(), "chosen_by": "batch"}
    mine = shown_models.c.task == task
    with writing(engine) as connection:
        # Only one of two processes that find the table empty fills it. The other one waits here, and compares.
        _upsert(connection, shown_models, {"task": task} | values, unique=("task",), changes={})
        columns = (shown_models.c.model_version_id, shown_models.c.chosen_by)
        shown, chosen_by = connection.execute(select(*columns).where(mine).with_for_update()).one()
        if shown == model_version_id or chosen_by == "person" or _behind(connection, shown, model_version_id):
            return bool(shown == model_version_id)
        connection.execute(update(shown_models).where(mine).values(values))
        return True


def read_shown(engine: Engine, task: str) -> ShownModel | None:
    """Return the version that the views show of this task; None before the first batch."""
    columns = (model_versions.c.model_version_id, model_versions.c.name, model_versions.c.version_sha256)
    joined = shown_models.join(model_versions)
    statement = select(*columns, shown_models.c.chosen_by).select_from(joined).where(shown_models.c.task == task)
    with reading(engine) as connection:
        row = connection.execute(statement).first()
    return None if row is None else ShownModel(*row)


def _behind(connection: Connection, shown: int, candidate: int) -> bool:
    """Return whether a completed segment of the shown version has frames that the candidate has not.

    The two may have segmented the video differently; within one version segments never overlap, so overlaps add up.
    """
    old, new = segments.alias("old"), segments.alias("new")
    first = case((old.c.start_frame > new.c.start_frame, old.c.start_frame), else_=new.c.start_frame)
    last = case((old.c.stop_frame < new.c.stop_frame, old.c.stop_frame), else_=new.c.stop_frame)
    overlaps = (new.c.start_frame < old.c.stop_frame) & (old.c.start_frame < new.c.stop_frame)
    done_by = (new.c.video_id == old.c.video_id) & (new.c.model_version_id == candidate) & (new.c.status == "done")
    covered = select(func.coalesce(func.sum(last - first), 0)).where(done_by, overlaps).scalar_subquery()
    theirs = (old.c.model_version_id == shown) & (old.c.status == "done")
    missing = select(old.c.segment_id).where(theirs, covered < old.c.stop_frame - old.c.start_frame).limit(1)
    return connection.execute(missing).first() is not None


def _upsert(
    connection: Connection, table: Table, values: dict[str, Any], unique: tuple[str, ...], changes: dict[str, Any]
) -> None:
    """INSERT a row, or apply `changes` where it exists. Both databases use the same syntax."""
    make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = make(table).values(values)
    if changes:
        connection.execute(statement.on_conflict_do_update(index_elements=unique, set_=changes))
    else:
        connection.execute(statement.on_conflict_do_nothing(index_elements=unique))
