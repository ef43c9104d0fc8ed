"""The example policy for edge workers: it allows each call of a recorded run, and refuses forbidden ones."""

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prefect.logging import disable_run_logger

import storage.objects.s3
from models.inference.segments import plan_segments
from storage.objects.s3 import make_client
from tasks.fleet import messages as orders
from tasks.fleet.worker import work_on
from tasks.model.store import store_model
from tasks.site.settings import read_settings
from tasks.site.site import open_site
from tests.flows.conftest import home, spot_video  # noqa: F401 (a fixture)
from tests.servers_s3 import S3Server, new_bucket
from tests.tiny_model import write_tiny_model

POLICY = Path(__file__).parents[2] / "deployments" / "s3-edge-policy.json"
ASSIGNMENT = "0123456789abcdef"
ACTIONS = {
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
    "PutObject": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "ListObjectsV2": "s3:ListBucket",
}


class Call(NamedTuple):
    """One request to S3. key: of the object, or the prefix of a listing"""

    operation: str
    bucket: str
    key: str


def policy(archive: str, artifacts: str) -> list[dict[str, Any]]:
    """The statements, filled in. archive, artifacts: bucket/prefix"""
    text = POLICY.read_text()
    for name, place in {"ARCHIVE": archive, "ARTIFACT": artifacts}.items():
        bucket, _, prefix = place.partition("/")
        text = text.replace(f"{name}-BUCKET", bucket).replace(f"{name}-PREFIX", prefix)
    statements: list[dict[str, Any]] = json.loads(text)["Statement"]
    return statements


def allows(statements: list[dict[str, Any]], call: Call) -> bool:
    """Evaluate it like S3, as far as the example needs: calls without a matching Allow are refused."""
    action = ACTIONS[call.operation]
    for statement in statements:
        assert set(statement) <= {"Sid", "Effect", "Action", "Resource", "Condition"}
        assert statement["Effect"] == "Allow"
        resource = f"arn:aws:s3:::{call.bucket}" + ("" if action == "s3:ListBucket" else f"/{call.key}")
        prefixes = statement.get("Condition", {}).get("StringLike", {}).get("s3:prefix", ["*"])
        if (
            action in statement["Action"]
            and any(fnmatchcase(resource, pattern) for pattern in statement["Resource"])
            and (action != "s3:ListBucket" or any(fnmatchcase(call.key, prefix) for prefix in prefixes))
        ):
            return True
    return False


EXAMPLE = policy("videos/tonight", "nightjar/site-1")


@pytest.mark.parametrize(
    "call",
    [
        Call("PutObject", "videos", "tonight/cam.mp4"),
        Call("GetObject", "videos", "other/cam.mp4"),
        Call("ListObjectsV2", "videos", "tonight/"),
        Call("PutObject", "nightjar", "site-1/models/1/model.xml"),
        Call("PutObject", "nightjar", f"site-1/assignments/{ASSIGNMENT}/order.json"),
        Call("PutObject", "nightjar", f"site-1/assignments/{ASSIGNMENT}/call.json"),
        Call("PutObject", "nightjar", f"site-1/assignments/{ASSIGNMENT}/revoked"),
        Call("GetObject", "nightjar", "site-1/results/1/2/00000000-00000020.0001.parquet"),
        Call("GetObject", "nightjar", "site-2/models/1/model.xml"),
        Call("ListObjectsV2", "nightjar", "site-1/results/"),
        Call("ListObjectsV2", "nightjar", ""),
    ],
)
def test_forbidden_calls_of_an_edge_worker_are_denied(call: Call) -> None:
    assert not allows(EXAMPLE, call)


def test_deleting_is_denied_and_no_action_is_a_pattern() -> None:
    actions = {action for statement in EXAMPLE for action in statement["Action"]}
    assert actions == set(ACTIONS.values())


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """Record every call of any S3 client from now on."""
    calls: list[Call] = []

    def recording(options: Any) -> Any:
        client = make_client(options)

        def note(params: dict[str, Any], model: Any, **_: Any) -> None:
            calls.append(Call(model.name, params["Bucket"], params.get("Key", params.get("Prefix", ""))))

        client.meta.events.register("before-parameter-build.s3", note)
        return client

    monkeypatch.setattr(storage.objects.s3, "make_client", recording)
    return calls


@pytest.mark.usefixtures("home")
def test_a_workers_run_needs_no_more_than_the_policy_allows(
    tmp_path: Path,
    swift_server: S3Server,
    monkeypatch: pytest.MonkeyPatch,
    recorded: list[Call],
) -> None:
    options = swift_server.options
    videos, store = new_bucket(options), new_bucket(options)
    for name, value in {
        "NIGHTJAR_ARTIFACTS": f"s3://{store}/site-1",
        "NIGHTJAR_S3_ENDPOINT_URL": options.endpoint_url,
        "NIGHTJAR_S3_ACCESS_KEY_ID": options.access_key,
        "NIGHTJAR_S3_SECRET_ACCESS_KEY": options.secret_key,
    }.items():
        monkeypatch.setenv(name, str(value))
    read_settings.cache_clear()
    sha256 = write_orders(tmp_path, options, videos)
    recorded.clear()  # the calls up to here were the parent's

    with disable_run_logger():  # the flow's work, without a server
        assert work_on(ASSIGNMENT, read_settings()).startswith("2 segments by ")

    statements = policy(f"{videos}/tonight", f"{store}/site-1")
    assert [call for call in recorded if not allows(statements, call)] == []
    written = {call.key for call in recorded if call.operation == "PutObject"}
    assert orders.status_key(ASSIGNMENT) in {key.removeprefix("site-1/") for key in written}
    assert sum(sha256 in key and key.startswith("site-1/results/") for key in written) == 2
    read = {(call.bucket, call.key.split("/")[1]) for call in recorded if call.operation == "GetObject"}
    assert read == {(videos, "one.mp4"), (store, "models"), (store, "assignments")}
    assert not [call for call in recorded if call.operation == "ListObjectsV2"], "no listing is allowed"


def write_orders(tmp_path: Path, options: Any, videos: str) -> str:
    """Write the messages of a parent for one run of two segments. Returns the video's sha256."""
    import hashlib

    from storage.sandbox.parent import Sandbox
    from tasks.segment.open_video import probe

    path = spot_video(tmp_path / "one.mp4", 40)
    client = make_client(options)
    client.upload_file(str(path), videos, "tonight/one.mp4")
    etag = client.head_object(Bucket=videos, Key="tonight/one.mp4")["ETag"].strip('"')
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    with open_site() as site, Sandbox(site.settings.decoder_memory_bytes) as sandbox:
        manifest = write_tiny_model(tmp_path / "ir")
        store_model(site, tmp_path / "ir", manifest)
        video, index = probe(sandbox, path, site.settings.read_limits)
        planned = plan_segments(sha256, index.keyframes, index.timestamps_s, video.frames, 0.8)
        assert len(planned) == 2
        call = orders.Call(version_sha256=manifest.version_id, archive=f"s3://{videos}/tonight", precision="f32")
        file = orders.File(key="one.mp4", size_bytes=path.stat().st_size, etag=etag, sha256=sha256)
        pieces = [orders.Piece(file=0, start_frame=s.start_frame, stop_frame=s.stop_frame, attempt=1) for s in planned]
        orders.write(site.artifacts, orders.call_key(ASSIGNMENT), call)
        orders.write(site.artifacts, orders.order_key(ASSIGNMENT), orders.Order(files=[file], pieces=pieces))
    return sha256
