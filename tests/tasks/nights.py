"""Invented nights in a real ledger: the worker, speed and time of each segment."""

from pathlib import Path

from sqlalchemy import Engine, text

from models.manifest import InputSpec, Manifest, Parity, Source, Stick
from models.types import SegmentReport
from storage.ledger.commit import commit_segment
from storage.ledger.leases import Claim
from storage.sandbox.parent import Sandbox
from tasks.batch.night import Night
from tasks.segment.result_files import ResultReader
from tasks.site.site import Site
from tasks.waiting.retry import OutageRetry
from tests.storage.samples import make_poses, must_claim

STICK, CPU = "MYRIAD", "CPU (Cortex-A76)"


def make_manifest() -> Manifest:
    """The manifest of a pose model whose files are not needed."""
    return Manifest(
        name="posenet-075",
        task="pose",
        source=Source("none", "none", "0" * 64, {}),
        tools={},
        precision="FP16",
        input=InputSpec("image", (1, 224, 224, 3)),
        outputs={},
        decoder="posenet",
        decode_params={},
        ir_sha256={},
        parity=Parity("none", 0, {}, {}, {}),
        stick=Stick(True, "", 8),
    )


def make_night(site: Site, batch_id: int, model_version_id: int, manifest: Manifest, results: ResultReader) -> Night:
    """A batch over an archive that is not read, by a model that is not run."""
    return Night(
        location="archive/",
        batch_id=batch_id,
        model_version_id=model_version_id,
        folder=Path("no-model"),
        manifest=manifest,
        site=site,
        sandbox=Sandbox(),
        archive=site.archive("archive/"),
        results=results,
        retry=OutageRetry(0),
    )


def do(engine: Engine, batch_id: int, segments: int, worker: str, wall_s: float, device: str = STICK) -> None:
    """Record this number of the batch's segments by this worker, each with this duration, through the ledger."""
    for _ in range(segments):
        commit(engine, must_claim(engine, batch_id), worker, wall_s, device)


def commit(engine: Engine, claim: Claim, worker: str, wall_s: float, device: str = STICK) -> None:
    """One segment with all frames processed and nobody in view."""
    report = SegmentReport(claim.segment.frames, (), device, "f16", worker, wall_s)
    poses = make_poses(claim.segment.start_frame, claim.segment.stop_frame, people=0)
    assert commit_segment(engine, claim, poses, report)


def at(seconds_after: float) -> str:
    return f"2026-11-24T01:{int(seconds_after) // 60:02d}:{seconds_after % 60:06.3f}Z"


def set_times(engine: Engine, batch_id: int, started: float, planned: float, ended: list[float], last: float) -> None:
    """Set the times of a batch and its segments, in seconds of an invented night."""
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE batches SET started_at = :a, finished_at = :b WHERE batch_id = :id"),
            {"a": at(started), "b": at(last), "id": batch_id},
        )
        ids = connection.execute(
            text("SELECT segment_id FROM segments WHERE batch_id = :id ORDER BY segment_id"), {"id": batch_id}
        ).scalars()
        for segment_id, end in zip(list(ids), ended, strict=True):
            connection.execute(
                text("UPDATE segments SET planned_at = :p, finished_at = :f WHERE segment_id = :id"),
                {"p": at(planned), "f": at(end), "id": segment_id},
            )
