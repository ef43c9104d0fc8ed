"""Texts about the model version that the views show, and about the rows of other versions."""

from storage.ledger.account import BatchFacts
from storage.sql.catalogue import ShownModel, read_shown
from storage.sql.database import Database

TABLES = {"pose": "poses", "classification": "classifications"}


def views_line(engine: Database, batch: BatchFacts) -> str:
    """Compare the shown version with the batch's: `show posenet-075, version 0a1b…, with the rows of this run`."""
    shown = read_shown(engine, batch.task)
    if shown is None:
        return f"show no {batch.task} model yet"
    if shown.model_version_id == batch.model_version_id:
        return f"show {described(shown)}, with the rows of this run"
    until = "" if shown.chosen_by == "person" else " until this run's model has processed the same frames"
    return (
        f"show {described(shown)}{until}. The rows of this run are in {TABLES[batch.task]} WHERE model_version_id = "
        f"{batch.model_version_id}. Run 'nightjar models --show {batch.version_sha256[:12]}' to show them."
    )


def described(shown: ShownModel) -> str:
    chosen = ", chosen by hand" if shown.chosen_by == "person" else ""
    return f"{shown.name}, version {shown.version_sha256[:12]}{chosen}"
