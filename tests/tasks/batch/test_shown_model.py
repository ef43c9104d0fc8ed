"""Every run reports the model that the views show, and the place of its own rows."""

from sqlalchemy import Engine

from storage.ledger.account import read_batch
from storage.ledger.batches import start_batch
from storage.ledger.commit import commit_segment
from storage.sql.catalogue import register_model, show_model, show_when_complete
from storage.sql.query import query
from tasks.batch.shown_model import views_line
from tests.storage.samples import make_model, make_poses, make_report, make_video, must_claim, planned_batch


def test_a_run_reports_the_place_of_its_rows(engine: Engine) -> None:
    _, first, batch_id = planned_batch(engine, make_video(frames=20))
    assert views_line(engine, read_batch(engine)) == "show no pose model yet"
    assert show_when_complete(engine, "pose", first)
    commit_segment(engine, must_claim(engine, batch_id), make_poses(0, 20), make_report(20))
    name = f"posenet-075, version {'1' * 12}"
    assert views_line(engine, read_batch(engine)) == f"show {name}, with the rows of this run"

    second = register_model(engine, make_model("9" * 64))
    start_batch(engine, "archive/", second, "local", "me")
    assert not show_when_complete(engine, "pose", second)
    elsewhere = views_line(engine, read_batch(engine))
    assert elsewhere.startswith(f"show {name} until this run's model has processed the same frames. ")
    assert elsewhere.endswith(f"Run 'nightjar models --show {'9' * 12}' to show them.")
    show_model(engine, "pose", first)
    assert views_line(engine, read_batch(engine)).startswith(
        f"show {name}, chosen by hand. The rows of this run are in "
    )


def test_the_reported_place_contains_the_rows(engine: Engine) -> None:
    shown = register_model(engine, make_model("9" * 64))
    show_model(engine, "pose", shown)
    _, _, batch_id = planned_batch(engine, make_video(frames=20))
    commit_segment(engine, must_claim(engine, batch_id), make_poses(0, 20), make_report(20))
    place = views_line(engine, read_batch(engine)).partition("rows of this run are in ")[2].partition(". ")[0]
    assert list(query(engine, f"SELECT count(*) FROM {place}")[1]) == [(40,)]
