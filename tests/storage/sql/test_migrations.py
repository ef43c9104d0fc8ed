"""The migrations make what tables.py says, once, whoever runs them; and docs/schema.md tells all of it."""

import hashlib
import json
import multiprocessing
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect, text

from models.types import Poses
from storage.ledger.batches import finish_batch
from storage.ledger.commit import commit_segment
from storage.ledger.leases import quarantine_segment
from storage.sql.catalogue import (
    geometry_of_rows,
    record_file,
    register_model,
    register_video,
    show_model,
    show_when_complete,
)
from storage.sql.database import DatabaseError, _alembic_config, migrate, open_database, writing
from storage.sql.query import query
from storage.sql.tables import metadata
from storage.sql.trainings import PredictionRow, TrainingPlan, finish_training, read_pictures, start_training
from storage.video.geometry import geometry_of
from tests.storage.samples import make_model, make_poses, make_report, make_video, must_claim, planned_batch
from tests.storage.workers import migrate_it

SCHEMA = Path(__file__).parents[3] / "docs" / "schema.md"
VIEWS = (
    "video_names",
    "current_videos",
    "keypoints",
    "presence_intervals",
    "label_intervals",
    "video_summary",
    "batch_summary",
    "device_summary",
    "quarantine",
    "training_failures",
)


def constraints(engine: Engine) -> dict[str, Any]:
    """What Alembic's comparison leaves out."""
    found, names = inspect(engine), metadata.tables
    return {
        name: (
            found.get_pk_constraint(name)["constrained_columns"],
            sorted(str(check["name"]) for check in found.get_check_constraints(name)),
        )
        for name in names
    }


COMPARED = {"compare_type": True, "compare_server_default": True}


def comparable(engine: Engine) -> Callable[..., bool]:
    """All but an index that tables.py has for the other database, as Alembic does not ask its `ddl_if`, and indexes
    whose order Alembic cannot compare: test_plans.py sees that these are used."""
    here = engine.dialect.name == "postgresql"
    return lambda item, name, *_: (name != "ix_poses_hand_up" or here) and "_files_name" not in str(name)


def test_the_migrated_database_is_what_tables_say(engine: Engine, tmp_path: Path) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=COMPARED | {"include_object": comparable(engine)})
        assert compare_metadata(context, metadata) == []
    migrated = constraints(engine)
    direct = open_database(f"sqlite:///{tmp_path}/direct.sqlite")
    metadata.create_all(direct)
    assert migrated == constraints(direct)


def test_migrating_again_changes_nothing(engine: Engine) -> None:
    register_video(engine, make_video())
    migrate(engine)
    assert list(query(engine, "SELECT count(*) FROM videos")[1]) == [(1,)]


def test_migrating_works_from_any_folder(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    engine = open_database(database_url)
    migrate(engine)
    assert set(inspect(engine).get_view_names()) == set(VIEWS)
    engine.dispose()


def test_processes_that_migrate_at_once_do_not_hurt_each_other(database_url: str) -> None:
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.storage.workers"])
    three = [processes.Process(target=migrate_it, args=(database_url,)) for _ in range(3)]
    for process in three:
        process.start()
    for process in three:
        process.join(60)
    assert [process.exitcode for process in three] == [0, 0, 0]
    engine = open_database(database_url)
    assert set(inspect(engine).get_table_names()) == {*metadata.tables, "alembic_version"}
    engine.dispose()


def test_a_newer_database_is_refused(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseError, match=r"has schema 9999; expected \d{4} or older: a newer Nightjar"):
        migrate(engine)


def migrate_down(engine: Engine, revision: str) -> None:
    config = _alembic_config()
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def test_down_and_up_again(engine: Engine) -> None:
    migrate_down(engine, "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]
    migrate(engine)
    assert set(inspect(engine).get_view_names()) == set(VIEWS)


# The views


def fill(engine: Engine) -> None:
    """Two videos, one twice in the archive; one of three segments is done, one quarantined, one left; a bad file."""
    video_id, model_version_id, batch_id = planned_batch(engine, make_video(frames=60), length=20)
    other = register_video(engine, make_video("b" * 64))
    record_file(engine, "archive/", "été.mp4", 1234, "e1", video_id=video_id)
    record_file(engine, "archive/", "Zoo.mp4", 1234, "e1", video_id=video_id)
    record_file(engine, "archive/", "b.mp4", 1234, "e2", video_id=other)
    record_file(engine, "archive/", "bad.mp4", 9, "e3", reason="no video stream")
    show_when_complete(engine, "pose", model_version_id)
    commit_segment(engine, must_claim(engine, batch_id), make_poses(0, 19), make_report(19, (19,)))
    quarantine_segment(engine, must_claim(engine, batch_id), "rotten")
    finish_batch(engine, batch_id)


QUESTIONS = [
    "SELECT video, frame, t_s, person, keypoint, x, y, score FROM keypoints ORDER BY frame, person, keypoint",
    "SELECT * FROM keypoints WHERE keypoint = 'left_wrist' AND video = 'Zoo.mp4' AND frame < 3 ORDER BY frame, person",
    "SELECT keypoint, count(*) AS n, avg(score) AS score FROM keypoints GROUP BY keypoint ORDER BY keypoint",
    "SELECT video, frames, task, model, segments, segments_done, segments_quarantined, frames_done, \
     frames_undecodable, people, wall_s, sha256 FROM video_summary ORDER BY video",
    "SELECT status, archive, model, files_listed, segments_expected, segments_done, segments_missing, frames_expected, \
     frames_done, frames_undecodable, frames_quarantined, frames_missing, people, estimated_s, \
     duration_s BETWEEN 0 AND 3600 AS took FROM batch_summary",
    "SELECT * FROM device_summary ORDER BY worker",
    "SELECT archive, key, model, start_frame, stop_frame, reason FROM quarantine ORDER BY key",
]


def rounded(rows: Any) -> list[tuple[Any, ...]]:
    return [tuple(np.float32(value) if isinstance(value, float) else value for value in row) for row in rows]


def test_the_views_answer_alike_on_both_databases(pg_url: str, tmp_path: Path) -> None:
    engines = [open_database(url) for url in (f"sqlite:///{tmp_path}/nightjar.sqlite", pg_url)]
    for engine in engines:
        migrate(engine)
        fill(engine)
    for question in QUESTIONS:
        sqlite, postgresql = ((columns, rounded(rows)) for columns, rows in (query(each, question) for each in engines))
        assert sqlite == postgresql
        assert sqlite[1]
    for engine in engines:
        engine.dispose()


def test_the_seconds_of_an_older_database_are_those_of_its_rows(engine: Engine) -> None:
    def seconds() -> list[tuple[Any, ...]]:
        return [tuple(row) for row in query(engine, "SELECT * FROM pose_seconds ORDER BY 1, 2, 3")[1]]

    _, _, batch_id = planned_batch(engine, make_video(frames=90), length=40)
    for start in (0, 40):
        poses = make_poses(start, start + 40, people=3)
        somebody = Poses(*(getattr(poses, name)[poses.frame % 30 < 20] for name in poses.__dataclass_fields__))
        commit_segment(engine, must_claim(engine, batch_id), somebody, make_report(40))
    written = seconds()
    assert len(written) == 5
    migrate_down(engine, "0009")
    migrate(engine)
    assert seconds() == written


def test_stored_versions_are_told_apart_by_both_files_of_their_ir(engine: Engine) -> None:
    """The same weights under two inputs shared a hash; a version without both hashes keeps none that misleads."""
    files = [{"model.bin": "b" * 64, "model.xml": digit * 64} for digit in "12"]
    manifests = [*(json.dumps({"ir_sha256": each}) for each in files), '{"ir_sha256": {"model.bin": "x"}}', "{}", "no"]
    for number, manifest in enumerate(manifests):
        register_model(engine, replace(make_model(f"{number}" * 64), manifest=manifest))
    hashes = "SELECT ir_sha256 FROM model_versions ORDER BY version_sha256"
    migrate_down(engine, "0010")
    assert [row[0] for row in query(engine, hashes)[1]] == ["b" * 64, "b" * 64, *["unknown"] * 3]
    migrate(engine)
    lines = [f"model.bin {each['model.bin']}\nmodel.xml {each['model.xml']}\n" for each in files]
    expected = [hashlib.sha256(text.encode()).hexdigest() for text in lines]
    assert [row[0] for row in query(engine, hashes)[1]] == [*expected, *["unknown"] * 3]


def test_what_was_shown_before_counts_as_the_choice_of_a_batch(engine: Engine) -> None:
    show_model(engine, "pose", register_model(engine, make_model()))
    migrate_down(engine, "0011")
    migrate(engine)
    assert list(query(engine, "SELECT task, chosen_by FROM shown_models")[1]) == [("pose", "batch")]


def test_failures_of_runs_from_before_are_kept_as_predictions(engine: Engine) -> None:
    plan = TrainingPlan("k" * 32, "car-classifier", "experiment-1", "{}", "{}", 5, 3, 2)
    run, _ = start_training(engine, plan, None)
    rows = [PredictionRow(number * 64, "", f"{number}.jpg", "mine", "car", "test", 0.25) for number in "12"]
    right = PredictionRow("3" * 64, "", "3.jpg", "mine", "car", "test", 0.9)
    finish_training(engine, run, {"accuracy": 0.5, "threshold": 0.5}, [*rows, right])
    migrate_down(engine, "0018")
    old = "SELECT sha256, picture, score FROM training_failures ORDER BY sha256"
    assert [tuple(row) for row in query(engine, old)[1]] == [(row.sha256, row.picture, 0.25) for row in rows]
    migrate(engine)
    assert read_pictures(engine, run) == rows
    assert list(query(engine, "SELECT count(*) FROM training_failures")[1]) == [(2,)]


def test_the_videos_of_an_older_database_have_the_geometry_that_was_applied(engine: Engine) -> None:
    turned = replace(make_video("b" * 64), width=480, height=640, rotation=90)
    known = {register_video(engine, video): geometry_of(video) for video in (make_video(), turned)}
    migrate_down(engine, "0019")
    migrate(engine)
    with engine.connect() as connection:
        assert {video_id: geometry_of_rows(connection, video_id) for video_id in known} == known


def test_the_views_say_what_is_so(engine: Engine) -> None:
    fill(engine)
    poses, (_, rows) = make_poses(0, 19), query(engine, QUESTIONS[0])
    found = ~np.isnan(poses.keypoints[:, :, 0])
    assert len(list(rows)) == found.sum()
    wrists = "SELECT frame, person, x, y, score FROM keypoints WHERE keypoint = 'left_wrist' ORDER BY frame, person"
    first = rounded(query(engine, wrists)[1])[0]
    row = int(found[:, 9].argmax())
    assert first == (poses.frame[row], poses.person[row], *poses.keypoints[row, 9], poses.keypoint_scores[row, 9])
    assert [tuple(row) for row in query(engine, QUESTIONS[3])[1]] == [
        ("Zoo.mp4", 60, "pose", "posenet-075", 3, 1, 1, 19, 1, 38, 1.5, "a" * 64),
        ("b.mp4", 100, "pose", "posenet-075", 0, 0, 0, 0, 0, 0, None, "b" * 64),
    ]
    assert list(query(engine, QUESTIONS[6])[1]) == [
        ("archive/", "Zoo.mp4", "posenet-075", 20, 40, "rotten"),
        ("archive/", "bad.mp4", None, None, None, "no video stream"),
    ]


def test_one_keypoint_is_one_scan(pg_url: str) -> None:
    """PostgreSQL's plan: poses once, and of the 17 arms one."""
    engine = open_database(pg_url)
    migrate(engine)
    with engine.connect() as connection:
        plan = connection.execute(text("EXPLAIN SELECT * FROM keypoints WHERE keypoint = 'nose'")).scalars().all()
    assert sum("on poses" in line for line in plan) == 1
    assert not any("Append" in line for line in plan)
    engine.dispose()


# The document


def documented() -> dict[str, set[str]]:
    """Table or view -> the columns that docs/schema.md names in the first column of its table."""
    parts = re.split(r"^### (\w+)$", SCHEMA.read_text(), flags=re.MULTILINE)[1:]
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    return {
        name: {column for cells in re.findall(r"^\| (\w[^|]*) \|", body, re.MULTILINE) for column in cells.split(", ")}
        - {"column"}
        for name, body in sections.items()
    }


def test_the_document_names_every_table_view_and_column(engine: Engine) -> None:
    found = inspect(engine)
    names = [*metadata.tables, *found.get_view_names()]
    assert documented() == {name: {column["name"] for column in found.get_columns(name)} for name in names}


def test_the_joins_of_the_document_answer(engine: Engine) -> None:
    fill(engine)
    joins = re.findall(r"```sql\n(.*?)```", SCHEMA.read_text(), re.DOTALL)
    assert len(joins) == 5
    for join in joins:
        assert list(query(engine, join)[1])
