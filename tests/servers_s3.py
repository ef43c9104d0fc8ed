"""Real S3 servers for the tests, from wheels, on loopback, without root: Swift, and rclone with other restrictions.

`s3_options` and `s3_bucket` run a test against both, `swift_options` and `swift_bucket` against Swift only.
"""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest

from storage.objects.s3 import S3Options, make_client

START_LIMIT_S = 120


@dataclass(frozen=True)
class S3Server:
    """name: "swift" or "rclone"; options: to connect to it; folder: its data (rclone: plain bucket/key)"""

    name: str
    options: S3Options
    folder: Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_s3(name: str, certificate: Path | None = None, key: Path | None = None) -> Iterator[S3Server]:
    """Start a server with its own credentials, and end it by its pid."""
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    port, secret = free_port(), secrets.token_hex(12)
    user = f"test{secrets.token_hex(4)}:tester" if name == "swift" else secrets.token_hex(8)
    options = S3Options(
        endpoint_url=f"http{'s' if certificate else ''}://127.0.0.1:{port}",
        access_key=user,
        secret_key=secret,
        path_style=True,
        verify_tls=str(certificate) if certificate else True,
    )
    tls = [str(certificate), str(key)] if certificate else []
    process = _start(name, folder, port, options, tls)
    try:
        _wait_until_ready(process, options, folder)
        yield S3Server(name, options, folder / "data")
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _start(name: str, folder: Path, port: int, options: S3Options, tls: list[str]) -> subprocess.Popen[bytes]:
    """The secret is passed by standard input or environment, because every user of a machine can read command lines."""
    data = folder / "data"
    data.mkdir()
    credentials = f"{options.access_key} {options.secret_key}\n"
    if name == "swift":
        command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("swift_server.py"))]
        command += [str(data), str(port), *tls]
        environment = dict(os.environ)
    else:
        command = [str(Path(sys.executable).with_name("rclone")), "serve", "s3", str(data)]
        command += ["--config", os.devnull, "--addr", f"127.0.0.1:{port}"]
        command += ["--cert", tls[0], "--key", tls[1]] if tls else []
        quoted = f'"{options.access_key},{options.secret_key}"'  # rclone reads a list of such pairs as CSV
        environment = {**os.environ, "RCLONE_AUTH_KEY": quoted}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment)
    assert process.stdin
    with process.stdin as pipe:
        pipe.write(credentials.encode())
    return process


def _wait_until_ready(process: subprocess.Popen[bytes], options: S3Options, folder: Path) -> None:
    client = make_client(replace(options, attempts=1))
    deadline = time.monotonic() + START_LIMIT_S
    while True:
        try:
            client.list_buckets()
            return
        except Exception as error:
            if process.poll() is not None or time.monotonic() > deadline:
                log = (folder / "log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"the S3 server did not start ({error}): {log}") from error
            time.sleep(0.05)


def new_bucket(options: S3Options) -> str:
    """An empty bucket, removed together with its server: removing objects one by one takes seconds."""
    name = f"t-{secrets.token_hex(6)}"
    make_client(options).create_bucket(Bucket=name)
    return name


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, valid for an hour, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(pem))
    files[1].write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return files


@pytest.fixture(scope="session")
def swift_server() -> Iterator[S3Server]:
    """Swift's s3api; its listings have 20 keys a page."""
    with running_s3("swift") as server:
        yield server


@pytest.fixture(scope="session")
def rclone_server() -> Iterator[S3Server]:
    """`rclone serve s3` on a folder."""
    with running_s3("rclone") as server:
        yield server


@pytest.fixture(scope="session")
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Swift over TLS with a self-signed certificate, which its options trust."""
    with running_s3("swift", *write_certificate(tmp_path_factory.mktemp("tls"))) as server:
        yield server


@pytest.fixture(scope="session", params=["swift", "rclone"])
def s3_server(request: pytest.FixtureRequest) -> S3Server:
    """Either of the two servers."""
    server: S3Server = request.getfixturevalue(f"{request.param}_server")
    return server


@pytest.fixture(scope="session")
def s3_options(s3_server: S3Server) -> S3Options:
    return s3_server.options


@pytest.fixture
def s3_bucket(s3_options: S3Options) -> str:
    """A new, empty bucket."""
    return new_bucket(s3_options)


@pytest.fixture(scope="session")
def swift_options(swift_server: S3Server) -> S3Options:
    return swift_server.options


@pytest.fixture
def swift_bucket(swift_options: S3Options) -> str:
    """A new, empty bucket on Swift."""
    return new_bucket(swift_options)
