"""S3 options, errors and faults, against real servers on loopback."""

import base64
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path

import pytest

from storage.objects.places import ObjectError, StoreError
from storage.objects.s3 import PART_BYTES, Bucket, S3Options, make_client
from tests.s3_faults import FaultProxy, running
from tests.servers_s3 import S3Server, free_port, new_bucket


def read(bucket: Bucket, key: str, etag: str | None = None) -> bytes:
    memory = BytesIO()
    bucket.fetch(key, memory, etag)
    return memory.getvalue()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(16)
        yield server.getsockname()[1]


def test_no_repr_contains_the_secret() -> None:
    assert "s3cret" not in repr(S3Options(access_key="a", secret_key="s3cret"))


def test_boto3_is_imported_only_when_needed() -> None:
    code = (
        "import sys, storage.objects.artifacts, storage.objects.archive; "
        "print({'boto3', 'botocore'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"


def test_each_client_reads_the_environment_and_only_the_first_one_the_descriptions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def address() -> str:
        client = make_client(S3Options(region="eu-west-1"))
        return str(client.generate_presigned_url("get_object", Params={"Bucket": "b", "Key": "k"}))

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "first")
    assert "Credential=first" in address()
    monkeypatch.setattr("botocore.loaders.JSONFileLoader.load_file", None)  # no file can be read any more
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "second")
    assert "Credential=second" in address()


def test_put_fetch_list_remove(s3_options: S3Options, s3_bucket: str) -> None:
    bucket = Bucket(s3_bucket, s3_options)
    bucket.put("a/b.bin", b"12345")
    bucket.put("a/b.bin", b"123456")
    assert read(bucket, "a/b.bin") == b"123456"
    (item,) = bucket.objects("a/")
    assert (item.key, item.size_bytes) == ("a/b.bin", 6)
    assert read(bucket, "a/b.bin", item.etag) == b"123456"
    with pytest.raises(ObjectError, match=r"no longer (the version|has the ETag and size)"):
        read(bucket, "a/b.bin", "0" * 32)
    bucket.remove("a/b.bin")
    assert not bucket.exists("a/b.bin")
    with pytest.raises(ObjectError, match="NoSuchKey"):
        read(bucket, "a/b.bin")


def test_a_large_file_is_uploaded_in_parts(s3_options: S3Options, s3_bucket: str, tmp_path: Path) -> None:
    data = os.urandom(2 * PART_BYTES + 1)
    (tmp_path / "large").write_bytes(data)
    bucket = Bucket(s3_bucket, s3_options)
    bucket.put_file("large", tmp_path / "large")
    assert read(bucket, "large") == data


def test_damage_is_detected(swift_options: S3Options, swift_bucket: str) -> None:
    """Swift sends no checksum: boto3 alone would return the damaged bytes."""
    Bucket(swift_bucket, swift_options).put("k", b"good bytes")
    proxy = FaultProxy(swift_options.endpoint_url or "", rate=1.0, faults=("flipped bit",))
    with running(proxy) as endpoint:
        bucket = Bucket(swift_bucket, replace(swift_options, endpoint_url=endpoint))
        assert bucket.client.get_object(Bucket=swift_bucket, Key="k")["Body"].read() == b"good bytes"[:-1] + b"r"
        with pytest.raises(ObjectError, match="was returned with another SHA-256, 5 times"):
            read(bucket, "k")


def test_listings_are_paginated(swift_options: S3Options, swift_bucket: str) -> None:
    """Swift's pages have 20 keys here."""
    bucket = Bucket(swift_bucket, swift_options)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: bucket.put(f"p/{n:02}", b""), range(45)))
    assert [item.key for item in bucket.objects("p/")] == [f"p/{n:02}" for n in range(45)]


def test_a_thousand_keys_and_more(rclone_server: S3Server) -> None:
    name = new_bucket(rclone_server.options)
    for n in range(1003):
        (rclone_server.folder / name / f"{n:04}.mp4").touch()
    found = sorted(item.key for item in Bucket(name, rclone_server.options).objects(""))
    assert found == [f"{n:04}.mp4" for n in range(1003)]


def test_no_such_bucket(s3_options: S3Options) -> None:
    with pytest.raises(StoreError, match=r"NoSuchBucket for s3://no-such-bucket/k\. Create the bucket"):
        Bucket("no-such-bucket", s3_options).put("k", b"")


def test_wrong_credentials(s3_options: S3Options, s3_bucket: str) -> None:
    wrong = replace(s3_options, secret_key=secrets.token_hex(12))
    with pytest.raises(StoreError, match="Check the access key, its secret") as caught:
        Bucket(s3_bucket, wrong).put("k", b"")
    cause = caught.value.__cause__
    for secret in (wrong.secret_key, s3_options.secret_key):
        assert secret
        assert secret not in f"{caught.value} {caught.value!r} {cause} {cause!r}"


def test_incomplete_credentials() -> None:
    with pytest.raises(StoreError, match=r"The S3 credentials for .* are not complete"):
        make_client(S3Options(access_key="a"))


@pytest.mark.parametrize("endpoint", ["localhost:9000", "http://", "http://user:s3cret@"])
def test_an_invalid_endpoint(endpoint: str) -> None:
    with pytest.raises(StoreError, match="Set it to an address such as https://host:9000") as caught:
        make_client(S3Options(endpoint_url=endpoint, access_key="a", secret_key="b"))
    assert "s3cret" not in str(caught.value)


def test_a_closed_port(tmp_path: Path) -> None:
    """With the defaults, because they have to be limited."""
    options = S3Options(f"http://127.0.0.1:{free_port()}", access_key="a", secret_key="b", path_style=True)
    started = time.monotonic()
    with pytest.raises(StoreError, match=r"127\.0\.0\.1:\d+ does not answer .*\. Check that it runs"):
        read(Bucket("b", options), "k")
    assert time.monotonic() - started < 10


def test_a_silent_server(silent_port: int) -> None:
    url = f"http://127.0.0.1:{silent_port}"
    options = S3Options(url, access_key="a", secret_key="b", path_style=True, read_timeout_s=0.2, attempts=1)
    started = time.monotonic()
    with pytest.raises(StoreError, match="does not answer"):
        read(Bucket("b", options), "k")
    assert time.monotonic() - started < 30


def test_tls_with_checksum_trailers(tls_server: S3Server, tmp_path: Path) -> None:
    """boto3 sends its checksums as trailers over https only."""
    bucket = Bucket(new_bucket(tls_server.options), tls_server.options)
    (tmp_path / "large").write_bytes(data := os.urandom(PART_BYTES + 1))
    bucket.put("small", b"1")
    bucket.put_file("large", tmp_path / "large")
    assert (read(bucket, "small"), read(bucket, "large")) == (b"1", data)


def test_tls_with_an_untrusted_certificate(tls_server: S3Server) -> None:
    bucket = Bucket("b", replace(tls_server.options, verify_tls=True))
    with pytest.raises(StoreError, match=r"TLS with .* failed: certificate verify failed.*Name the bundle"):
        bucket.put("k", b"")


def test_tls_with_any_certificate(tls_server: S3Server) -> None:
    with pytest.raises(StoreError, match="NoSuchBucket"):
        Bucket("no-such-bucket", replace(tls_server.options, verify_tls=False)).put("k", b"")


def test_a_missing_ca_bundle(tls_server: S3Server) -> None:
    with pytest.raises(StoreError, match="bundle"):
        Bucket("b", replace(tls_server.options, verify_tls="/nowhere.pem")).put("k", b"")


def test_sixty_objects_survive_a_quarter_of_faults(s3_server: S3Server, s3_bucket: str) -> None:
    """boto3 alone loses about one in twelve GETs here."""
    proxy = FaultProxy(s3_server.options.endpoint_url or "", rate=0.25, stall_s=2.5)
    objects = {f"k/{n}": os.urandom(20_000) for n in range(60)}
    with running(proxy) as endpoint, ThreadPoolExecutor(8) as pool:
        bucket = Bucket(s3_bucket, replace(s3_server.options, endpoint_url=endpoint, read_timeout_s=2.0))
        list(pool.map(lambda item: bucket.put(*item), objects.items()))
        found = dict(pool.map(lambda key: (key, read(bucket, key)), objects))
    assert found == objects
    assert min(proxy.seen[fault] for fault in proxy.faults) > 0, proxy.seen


def test_an_interrupted_transfer_resumes(s3_server: S3Server, s3_bucket: str) -> None:
    """Every response is cut in the middle: without resuming, the object would never be complete."""
    data = os.urandom(5_000)
    Bucket(s3_bucket, s3_server.options).put("k", data)
    proxy = FaultProxy(s3_server.options.endpoint_url or "", rate=1.0, faults=("cut body",))
    with running(proxy) as endpoint:
        bucket = Bucket(s3_bucket, replace(s3_server.options, endpoint_url=endpoint, attempts=1))
        assert read(bucket, "k") == data
    assert proxy.seen["cut body"] > 5


def test_a_large_file_survives_faults(s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> None:
    """Parts that are refused or whose response is lost are sent again, and the upload restarts if necessary."""
    (tmp_path / "large").write_bytes(data := os.urandom(2 * PART_BYTES + 1))
    proxy = FaultProxy(s3_server.options.endpoint_url or "", rate=0.25, faults=("503", "lost answer"))
    with running(proxy) as endpoint:
        bucket = Bucket(s3_bucket, replace(s3_server.options, endpoint_url=endpoint))
        bucket.put_file("large", tmp_path / "large")
        assert read(bucket, "large") == data
    assert proxy.seen.total() > proxy.seen["none"]


class _FailsOnce(BaseHTTPRequestHandler):
    """The first answer is a 500 with the object's checksum, as rclone sends while an object is replaced."""

    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(500 if self.asked == 1 else 200)
        self.send_header("x-amz-checksum-crc32", base64.b64encode(zlib.crc32(b"whole").to_bytes(4)).decode())
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"whole")

    def log_message(self, *_: object) -> None: ...


def test_a_5xx_answer_with_a_checksum_is_retried() -> None:
    """botocore 1.44.5 raises AttributeError there, and boto3 does not try again."""
    with HTTPServer(("127.0.0.1", 0), _FailsOnce) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        options = S3Options(endpoint_url=url, access_key="a", secret_key="b", path_style=True)
        assert read(Bucket("bucket", options), "k") == b"whole"
        server.shutdown()
    assert _FailsOnce.asked == 2


def test_the_plain_loop_would_fail(s3_server: S3Server, s3_bucket: str) -> None:
    """Control for the test of faults: boto3's own reading fails through the same proxy."""
    Bucket(s3_bucket, s3_server.options).put("k", os.urandom(20_000))
    proxy = FaultProxy(s3_server.options.endpoint_url or "", rate=1.0, faults=("cut body",))
    with running(proxy) as endpoint:
        client = make_client(replace(s3_server.options, endpoint_url=endpoint))
        with pytest.raises(Exception, match=r"read, but total bytes expected|Connection broken|IncompleteRead"):
            client.get_object(Bucket=s3_bucket, Key="k")["Body"].read()
