"""What parent and worker say to each other, as JSON in the artifact store. No SQL, no Prefect: edge workers import it.

The parent's `Call` says what to be ready for. A worker's run that is ready says so in its `Status`; the parent answers
with an `Order`; the worker goes on telling how far it is. Neither goes by the other's clock: what counts is that the
status changes. Each file has one writer. Whoever can write to the store can lie: all of it is checked as input is.
"""

from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.types import NightjarError, Segment
from storage.archive import Entry
from storage.artifacts import Artifacts
from storage.places import ObjectError

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, le=2**53)]  # JSON's own integers have no end, and floats made of them overflow
Speed = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class OrderError(NightjarError):
    """A file that is no order or status."""


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Message = TypeVar("Message", bound=_Message)


class File(_Message):
    """A video of the archive: an Entry, and the hash of its bytes."""

    key: str
    size_bytes: Count
    etag: str
    sha256: Sha256

    def entry(self) -> Entry:
        return Entry(self.key, self.size_bytes, self.etag)


class Piece(_Message):
    """A segment to do. file: index into the order's files; attempt: of the claim, for the result's name"""

    file: Count
    start_frame: Count
    stop_frame: Count
    attempt: int = Field(ge=1)


class Call(_Message):
    """What a run has to be ready for, before it is given anything."""

    version_sha256: Sha256
    archive: str
    precision: Literal["f32", "bf16"]


class Order(_Message):
    """What one run is to do; without pieces: nothing, the night is over."""

    files: list[File] = []
    pieces: list[Piece] = []

    def segment(self, piece: Piece) -> Segment:
        return Segment(self.files[piece.file].sha256, piece.start_frame, piece.stop_frame)


class Done(_Message):
    """A piece whose result lies in the store. piece: index into the order's"""

    piece: Count
    key: str
    sha256: Sha256


class Fault(_Message):
    """A piece that failed. kind: "input": no other attempt would mend it; "other": another one may"""

    piece: Count
    kind: Literal["input", "other"]
    reason: str


class Status(_Message):
    """How far a run is.

    ready: the device is open; without an order yet, the run waits for one
    progress: grows with every frame and every step: who stands still is lost; frames: seen in this assignment
    current: the piece that it is at; ended: it does no more, for `error` where there is one
    slowest_fps, fastest_fps: of the segments so far: a stick that gets hot throttles
    """

    worker: str
    device: str
    ready: bool = False
    progress: Count = 0
    frames: Count = 0
    current: Count | None = None
    done: list[Done] = []
    faults: list[Fault] = []
    ended: bool = False
    error: str | None = None
    slowest_fps: Speed | None = None
    fastest_fps: Speed | None = None


def call_key(assignment_id: str) -> str:
    return f"assignments/{assignment_id}/call.json"


def order_key(assignment_id: str) -> str:
    return f"assignments/{assignment_id}/order.json"


def status_key(assignment_id: str) -> str:
    return f"assignments/{assignment_id}/status.json"


def revoked_key(assignment_id: str) -> str:
    """There when the parent has given the rest to another: whoever is still at it may stop."""
    return f"assignments/{assignment_id}/revoked"


def read_call(artifacts: Artifacts, assignment_id: str) -> Call | None:
    return _read(artifacts, call_key(assignment_id), Call)


def read_order(artifacts: Artifacts, assignment_id: str) -> Order | None:
    order = _read(artifacts, order_key(assignment_id), Order)
    if order and any(piece.file >= len(order.files) or piece.start_frame >= piece.stop_frame for piece in order.pieces):
        raise OrderError(f"the order of assignment {assignment_id} has pieces of no file: start the batch again")
    return order


def read_status(artifacts: Artifacts, assignment_id: str) -> Status | None:
    return _read(artifacts, status_key(assignment_id), Status)


def _read(artifacts: Artifacts, key: str, kind: type[Message]) -> Message | None:
    """None where there is none yet. Raises OrderError, or StoreError where the store is away."""
    data = _get(artifacts, key)
    try:
        return kind.model_validate_json(data) if data is not None else None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "JSON"
        raise OrderError(
            f"{key} is no {kind.__name__}: {where}: {first['msg']}; expected one that this version of Nightjar writes: "
            "bring parent and workers to the same version"
        ) from None


def _get(artifacts: Artifacts, key: str) -> bytes | None:
    try:
        return artifacts.get_bytes(key)
    except ObjectError:
        # Replaced while it was read, or written since: not every store replaces in one step.
        return artifacts.get_bytes(key) if artifacts.exists(key) else None


def write(artifacts: Artifacts, key: str, message: _Message) -> None:
    """Raises StoreError."""
    artifacts.put_bytes(key, message.model_dump_json().encode())
