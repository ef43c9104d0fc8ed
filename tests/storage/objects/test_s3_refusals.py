"""Refused or unreadable objects, distinguished from faults of the store, with a proxy in front of Swift."""

from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

from storage.objects.archive import Archive, open_archive
from storage.objects.places import (
    ChangedError,
    DeniedObjectError,
    ObjectError,
    RefusedError,
    StoreError,
    UnansweredError,
)
from storage.objects.s3 import Bucket, S3Options
from tests.s3_faults import FaultProxy, running

Refusals = dict[str, tuple[int, str, str]]
SSE_C = "The object was stored using a form of Server Side Encryption. The correct parameters must be provided"
KMS_DENIED = "User: arn:aws:iam::1:user/n is not authorized to perform: kms:Decrypt on resource: arn:aws:kms:x"


@pytest.fixture
def refused() -> Refusals:
    """The requests that the proxy refuses, filled in by the test."""
    return {}


@pytest.fixture
def archive(swift_options: S3Options, swift_bucket: str, tmp_path: Path, refused: Refusals) -> Iterator[Archive]:
    """Two objects, bad.mp4 and good.mp4, behind the proxy."""
    for key in ("bad.mp4", "good.mp4"):
        Bucket(swift_bucket, swift_options).put(f"site/{key}", key.encode())
    proxy = FaultProxy(str(swift_options.endpoint_url), 0.0, refused=refused)
    with running(proxy) as endpoint:
        options = replace(swift_options, endpoint_url=endpoint, attempts=1)
        yield open_archive(f"s3://{swift_bucket}/site", options, tmp_path, 1 << 20)


def fetch(archive: Archive, key: str) -> str:
    entry = next(entry for entry in archive.list() if entry.key == key)
    with archive.local(entry) as path:
        return path.read_text()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.objects.s3._pause", lambda failures: None)


@pytest.mark.parametrize(
    ("own", "kind", "remedy"),
    [
        ((403, "InvalidObjectState", "not valid for its storage class"), RefusedError, "Restore it"),
        ((400, "KMS.DisabledException", "the key is disabled"), RefusedError, "Enable the key"),
        ((400, "KMS.KMSInvalidStateException", "pending deletion"), RefusedError, "Enable the key"),
        ((403, "AccessDenied", KMS_DENIED), RefusedError, r"allow kms:Decrypt"),
        ((400, "InvalidRequest", SSE_C), RefusedError, "without that key"),
        ((403, "AccessDenied", "Access Denied"), DeniedObjectError, "bucket's policy"),
        ((404, "NoSuchKey", "The specified key does not exist."), ChangedError, "removed meanwhile"),
        ((451, "UnavailableForLegalReasons", "by law"), UnansweredError, "Look at this object"),
        ((500, "InternalError", "We encountered an internal error"), UnansweredError, "Look at this object"),
        ((503, "SlowDownRead", "Resource requested is unreadable"), UnansweredError, "Look at this object"),
    ],
)
def test_a_refused_object_is_an_error_of_that_object(
    archive: Archive, refused: Refusals, own: tuple[int, str, str], kind: type[ObjectError], remedy: str
) -> None:
    refused["bad.mp4"] = own
    with pytest.raises(ObjectError, match=remedy) as caught:
        fetch(archive, "bad.mp4")
    assert type(caught.value) is kind
    assert own[1] in str(caught.value)
    assert fetch(archive, "good.mp4") == "good.mp4"


@pytest.mark.parametrize("code", ["InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestExpired", "AllAccessDisabled"])
def test_refused_credentials_are_an_error_of_the_store(archive: Archive, refused: Refusals, code: str) -> None:
    refused["*"] = (403, code, "No.")
    with pytest.raises(StoreError, match="Check the access key") as caught:
        fetch(archive, "bad.mp4")
    assert not isinstance(caught.value, ObjectError)


def test_an_unavailable_store_is_no_error_of_an_object(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails at the object, and at the listing that is requested next."""
    (entry, _) = archive.list()
    monkeypatch.setattr(archive.bucket, "options", replace(archive.bucket.options, endpoint_url="http://127.0.0.1:1"))  # type: ignore[attr-defined]
    del archive.bucket.client  # type: ignore[attr-defined]
    with pytest.raises(StoreError, match="does not answer") as caught, archive.local(entry):
        pass
    assert not isinstance(caught.value, ObjectError)


def test_a_denied_artifact_is_an_error_of_the_store(swift_options: S3Options, swift_bucket: str) -> None:
    """Without permission to list, S3 answers this for missing objects: nothing is known about the object."""
    proxy = FaultProxy(str(swift_options.endpoint_url), 0.0, refused={"*": (403, "AccessDenied", "Access Denied")})
    with running(proxy) as endpoint, pytest.raises(StoreError) as caught:
        Bucket(swift_bucket, replace(swift_options, endpoint_url=endpoint)).fetch("k", BytesIO())
    assert not isinstance(caught.value, ObjectError)
