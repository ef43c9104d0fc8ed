"""Messages between parent and worker, as JSON in the artifact store. No SQL, no Prefect: edge workers import it.

The parent writes a `Call` with the model and archive to prepare. The worker's run reports in its `Status` that it is
ready, the parent answers with an `Order`, and the run updates its status. Neither depends on the other's clock, only on
changes of the status. Each file has one writer. All messages are untrusted input and are checked.
"""

from collections.abc import Iterable
from itertools import chain
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from models.inference.spec import CpuPrecision
from models.types import NightjarError, Segment
from storage.objects.archive import Entry
from storage.objects.artifacts import Artifacts
from storage.objects.places import ObjectError, StoreError

MESSAGE_LIMIT_BYTES = 8 << 20  # an order of 512 segments of 512 files, with keys of a kilobyte, has less than 1 MB
MOST_ENTRIES = 4096  # in a list of a message
MAX_TEXT_CHARS = 2000


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("The name contains characters that cannot be printed. Use others.")
    return text


def _cleaned(text: str) -> str:
    """Return one printable line: line breaks become spaces, other control characters a replacement character."""
    line = " ".join(text[: 2 * MAX_TEXT_CHARS].split())
    return "".join(char if char.isprintable() else "\ufffd" for char in line)[:MAX_TEXT_CHARS]


Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, le=2**53)]  # JSON integers are unbounded, and floats made from them overflow
Frame = Annotated[int, Field(ge=0, le=2**31 - 1)]  # as an INTEGER column
Speed = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]  # frames per second
# Names are used unchanged in SQL, logs and tables, so unprintable ones are refused.
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
# Messages, for example of drivers and decoders, are cut and cleaned instead.
CleanedText = Annotated[str, AfterValidator(_cleaned)]
Key = Annotated[str, Field(min_length=1, max_length=1024)]


class OrderError(NightjarError):
    """An invalid message."""


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
    """A segment to process. file: index into the order's files; attempt: number of the claim, for the result's name"""

    file: Frame
    start_frame: Frame
    stop_frame: Frame
    attempt: Annotated[int, Field(ge=1, le=2**31 - 1)]


class Call(_Message):
    """Model and archive that a run prepares before it receives segments."""

    version_sha256: Sha256
    archive: str
    precision: CpuPrecision


class Order(_Message):
    """Segments for one run. Without pieces the batch is over."""

    files: Annotated[list[File], Field(max_length=MOST_ENTRIES)] = []
    pieces: Annotated[list[Piece], Field(max_length=MOST_ENTRIES)] = []

    def segment(self, piece: Piece) -> Segment:
        return Segment(self.files[piece.file].sha256, piece.start_frame, piece.stop_frame)


class Done(_Message):
    """A piece whose result is in the store. piece: index into the order's pieces"""

    piece: Frame
    key: Key
    sha256: Sha256


class Fault(_Message):
    """A piece that failed. kind: "input" = every attempt would fail; "other" = another attempt may succeed"""

    piece: Frame
    kind: Literal["input", "other"]
    reason: CleanedText


class Status(_Message):
    """Progress of a run.

    ready: the device is open; the run waits for an order if it has none
    progress: grows with every frame and step; a run without progress is given up
    frames: number of frames processed in this assignment
    current: index of the piece in progress
    ended: the run has ended; error: the reason, if it failed
    slowest_fps, fastest_fps: speeds of the segments so far, since a hot stick throttles
    """

    worker: Name
    device: Name
    ready: bool = False
    progress: Count = 0
    frames: Count = 0
    current: Frame | None = None
    done: Annotated[list[Done], Field(max_length=MOST_ENTRIES)] = []
    faults: Annotated[list[Fault], Field(max_length=MOST_ENTRIES)] = []
    ended: bool = False
    error: CleanedText | None = None
    slowest_fps: Speed | None = None
    fastest_fps: Speed | None = None


def call_key(assignment_id: str) -> str:
    return _key(assignment_id, "orders", "call.json")


def order_key(assignment_id: str) -> str:
    return _key(assignment_id, "orders", "order.json")


def status_key(assignment_id: str) -> str:
    return _key(assignment_id, "reports", "status.json")


def revoked_key(assignment_id: str) -> str:
    """Return the key of the file that the parent writes when the run must stop, as others have its segments."""
    return _key(assignment_id, "orders", "revoked")


def _key(assignment_id: str, kind: str, name: str) -> str:
    """Build the key of a message. Each batch has its own folder, so that one listing finds its new reports."""
    batch, _, rest = assignment_id.partition("-")
    return f"assignments/{batch}/{kind}/{rest or batch}/{name}"


def status_stamps(artifacts: Artifacts, assignment_ids: Iterable[str]) -> dict[str, str]:
    """Return, per assignment that has a status, a text that changes whenever the status does.

    One listing per batch, however many assignments there are. Raises StoreError.
    """
    wanted = {status_key(assignment_id): assignment_id for assignment_id in assignment_ids}
    prefixes = {key.rsplit("/", 2)[0] + "/" for key in wanted}
    listed = chain.from_iterable(artifacts.stamps(prefix) for prefix in sorted(prefixes))
    return {wanted[key]: stamp for key, stamp in listed if key in wanted}


def read_call(artifacts: Artifacts, assignment_id: str) -> Call | None:
    return _read(artifacts, call_key(assignment_id), Call)


def read_order(artifacts: Artifacts, assignment_id: str) -> Order | None:
    return _checked_order(assignment_id, _read(artifacts, order_key(assignment_id), Order))


def _checked_order(assignment_id: str, order: Order | None) -> Order | None:
    if order and any(piece.file >= len(order.files) or piece.start_frame >= piece.stop_frame for piece in order.pieces):
        raise OrderError(f"The order of assignment {assignment_id} has pieces without a file. Start the batch again.")
    return order


def poll_order(artifacts: Artifacts, assignment_id: str) -> Order | None:
    """Look for an order by a single request; None if there is none, or if it cannot be read now."""
    key = order_key(assignment_id)
    try:
        data = artifacts.get_bytes(key, MESSAGE_LIMIT_BYTES)
    except StoreError:
        return None
    return _checked_order(assignment_id, _parse(key, data, Order))


def read_status(artifacts: Artifacts, assignment_id: str) -> Status | None:
    return _read(artifacts, status_key(assignment_id), Status)


def _read(artifacts: Artifacts, key: str, kind: type[Message]) -> Message | None:
    """Return the message; None = there is none yet. Raises OrderError, or StoreError if the store is unavailable."""
    data = _get(artifacts, key)
    return None if data is None else _parse(key, data, kind)


def _parse(key: str, data: bytes, kind: type[Message]) -> Message:
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "JSON"
        raise OrderError(
            f"{key} is not a valid {kind.__name__} of this version of Nightjar: {where}: {first['msg']}. Install the "
            "same version on the workers and on the machine that runs the batch."
        ) from None


def _get(artifacts: Artifacts, key: str) -> bytes | None:
    try:
        return artifacts.get_bytes(key, MESSAGE_LIMIT_BYTES)
    except ObjectError:
        # The file was replaced or written meanwhile: not every store replaces files atomically.
        return artifacts.get_bytes(key, MESSAGE_LIMIT_BYTES) if artifacts.exists(key) else None


def write(artifacts: Artifacts, key: str, message: _Message) -> None:
    """Write the message. Raises StoreError."""
    artifacts.put_bytes(key, message.model_dump_json().encode())
