"""S3 through boto3: a client from options, and a bucket that checks every answer. No folders, no caches.

boto3 is imported when it is first needed, which takes 0.4 s.
"""

import hashlib
import mimetypes
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache, cached_property
from io import BufferedRandom, BytesIO
from itertools import count
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

from models.files import md5_of, sha256_of
from storage.objects.places import ChangedError, ObjectError, StoreError, too_large
from storage.objects.s3_errors import explain, is_transient

T = TypeVar("T")
File = BufferedRandom | BytesIO

PART_BYTES = 8 << 20  # boto3's own default; larger files are uploaded in parts of this size
CHUNK_BYTES = 1 << 20
TRIES = 5  # without progress, each with boto3's own attempts: 60 of 60 succeeded through a proxy that breaks a quarter
PATIENCE_S = 20.0  # without progress, where the server is silent
SHA256 = "nightjar-sha256"  # our own key: another tool's x-amz-meta-sha256 may be in base64
_PLAIN_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class S3Options:
    """Connection settings of an S3 server.

    endpoint_url: None = Amazon's own
    access_key, secret_key: both None = boto3's own chain (environment, ~/.aws, the machine's role)
    path_style: the bucket in the path instead of the host name, as most servers other than Amazon's expect
    verify_tls: True, False (any certificate), or the path of a bundle of certificates to trust
    checksum_mode: "when_required" for older stores that refuse today's checksums
    connect_timeout_s, read_timeout_s: seconds for one try, the latter without a single byte
    attempts: tries of one request by boto3, the first one counted
    """

    endpoint_url: str | None = None
    region: str = "us-east-1"
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    path_style: bool = False
    verify_tls: bool | str = True
    checksum_mode: Literal["when_supported", "when_required"] = "when_supported"
    connect_timeout_s: float = 3.0
    read_timeout_s: float = 10.0
    attempts: int = 3

    @property
    def server(self) -> str:
        """Host and port for messages, without a password that the address may contain."""
        return (self.endpoint_url or "Amazon S3").rpartition("@")[2].rpartition("//")[2]


def make_client(options: S3Options) -> Any:
    """Make a boto3 client that threads may share. Makes no request. Raises StoreError on impossible options."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path" if options.path_style else "auto"},
        retries={"total_max_attempts": options.attempts, "mode": "standard"},
        connect_timeout=options.connect_timeout_s,
        read_timeout=options.read_timeout_s,
        request_checksum_calculation=options.checksum_mode,
        response_checksum_validation=options.checksum_mode,
    )
    try:
        return boto3.session.Session(botocore_session=_session()).client(
            "s3",
            endpoint_url=options.endpoint_url,
            region_name=options.region,
            aws_access_key_id=options.access_key,
            aws_secret_access_key=options.secret_key,
            verify=None if options.verify_tls is True else options.verify_tls,  # None: AWS_CA_BUNDLE still counts
            config=config,
        )
    except ValueError as error:
        raise StoreError(
            f"The S3 endpoint {options.server!r} is not a valid address.",
            "Set it to an address such as https://host:9000.",
        ) from error
    except BotoCoreError as error:
        raise explain(error, "S3", options.server) or error from error


def _session() -> Any:
    """Return a new session, which reads the environment anew and shares the descriptions of the service."""
    from botocore.session import Session

    session = Session()
    session.register_component("data_loader", _descriptions())
    return session


@cache
def _descriptions() -> Any:
    """Return botocore's descriptions of S3: parsing them takes most of a client's CPU time."""
    from botocore.session import Session

    return Session().get_component("data_loader")


@dataclass(frozen=True)
class S3Object:
    """One object of a listing. etag: without its quotes"""

    key: str
    size_bytes: int
    etag: str


@dataclass
class _ObjectDownload:
    """Properties of an object during its download: set by its first answer, which pins the rest to one version."""

    etag: str | None
    size_bytes: int | None = None
    sha256: str | None = None
    etag_is_md5: bool = False
    limit_bytes: int | None = None

    def differs(self, file: File) -> str | None:
        """Fault of the received bytes, or None."""
        if file.seek(0, 2) != self.size_bytes:
            return f"{file.tell()} bytes instead of {self.size_bytes}"
        file.seek(0)
        if self.sha256:
            return None if sha256_of(file) == self.sha256 else "another SHA-256"
        if self.etag_is_md5:
            return None if md5_of(file) == self.etag else "another MD5"
        return None


class Bucket:
    """One bucket: lost answers, cut bodies and 5xx are retried, and downloads are compared with their hash.

    Every method raises StoreError: ObjectError for a fault of the one object.
    """

    def __init__(self, name: str, options: S3Options) -> None:
        self.name = name
        self.options = options

    @cached_property
    def client(self) -> Any:
        return make_client(self.options)

    def address(self, key: str) -> str:
        return f"s3://{self.name}/{key}"

    def put(self, key: str, data: bytes) -> None:
        extra = _described(key, hashlib.sha256(data).hexdigest())
        self._persist(key, lambda: self.client.put_object(Bucket=self.name, Key=key, Body=data, **extra))

    def put_file(self, key: str, path: Path) -> None:
        """Upload a file, a large one in parts. Raises OSError where the file cannot be read."""
        if path.stat().st_size <= PART_BYTES:
            return self.put(key, path.read_bytes())
        with path.open("rb") as file:
            extra = _described(key, sha256_of(file))
        return self._persist(key, lambda: self._upload(key, path, extra))

    def _upload(self, key: str, path: Path, extra: dict[str, Any]) -> None:
        from boto3.s3.transfer import TransferConfig
        from botocore.parsers import ResponseParserError

        parts = TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=4)
        with path.open("rb") as file:
            try:
                self.client.upload_fileobj(file, self.name, key, ExtraArgs=extra, Config=parts)
            except KeyError as error:  # rclone's answer to a repeated part has no ETag
                raise ResponseParserError(f"an answer without {error}") from error

    def fetch(
        self,
        key: str,
        file: File,
        etag: str | None = None,
        size_bytes: int | None = None,
        limit_bytes: int | None = None,
    ) -> None:
        """Write an object into an empty file open for reading and writing. A broken transfer resumes.

        etag, size_bytes: of the requested version; None = the present one. Compared with the SHA-256 that `put`
        left, or else with the ETag where that is an MD5. Raises OSError where the file cannot be written.
        limit_bytes: a larger object is refused before its body is read; None = any size
        """
        failures, reached, started = 0, 0, time.monotonic()
        download = _ObjectDownload(etag, size_bytes, limit_bytes=limit_bytes)
        while error := self._try_to_finish(key, file, download):
            failures += 1
            if file.tell() > reached:
                failures, reached, started = 1, file.tell(), time.monotonic()
            if _is_enough(error, failures, started):
                self._give_up(error, key)
            _pause(failures)

    def _try_to_finish(self, key: str, file: File, download: _ObjectDownload) -> Exception | None:
        """Fault after which to retry, the file positioned to resume; None when the object is complete."""
        from botocore.exceptions import FlexibleChecksumError

        try:
            self._read_on(key, file, download)
            if not (difference := download.differs(file)):
                return None
            error: Exception = _damaged(self.address(key), difference)
        except Exception as broken:
            if not is_transient(broken):
                self._give_up(broken, key)
            if not isinstance(broken, FlexibleChecksumError):
                return broken
            error = broken
        _empty(file)
        return error

    def _read_on(self, key: str, file: File, download: _ObjectDownload) -> None:
        from botocore.exceptions import FlexibleChecksumError

        done = file.tell()
        wanted = {"IfMatch": f'"{download.etag}"'} if download.etag else {}
        if done:
            wanted["Range"] = f"bytes={done}-"
        answer = self.client.get_object(Bucket=self.name, Key=key, **wanted)
        with closing(answer["Body"]) as body:
            total = int(answer.get("ContentRange", "/0").rpartition("/")[2]) or answer["ContentLength"]
            found = _plain(answer.get("ETag", ""))
            if download.etag not in (None, found) or download.size_bytes not in (None, total):
                raise _changed(self.address(key))
            if download.limit_bytes is not None and total > download.limit_bytes:
                raise too_large(self.address(key), total, download.limit_bytes)
            if "ContentRange" not in answer and done:  # a server that ignores ranges starts again
                _empty(file)
            download.etag, download.size_bytes = found, total
            metadata = {name.lower(): value for name, value in answer.get("Metadata", {}).items()}  # rclone capitalises
            download.sha256 = metadata.get(SHA256)
            download.etag_is_md5 = _PLAIN_MD5.fullmatch(found) is not None and not _is_encrypted(answer)
            try:
                for chunk in body.iter_chunks(CHUNK_BYTES):
                    file.write(chunk)
            except FlexibleChecksumError:
                if not done:  # rclone sends the checksum of the whole object with a part of it
                    raise

    def answers(self, prefix: str) -> bool:
        """Return whether the bucket lists keys with this prefix, so that the store itself works."""
        try:
            self._persist(prefix, lambda: self.client.list_objects_v2(Bucket=self.name, Prefix=prefix, MaxKeys=1))
        except StoreError:
            return False
        return True

    def read_start(self, key: str, etag: str, count: int) -> bytes:
        """Return the first bytes of an object. Raises StoreError; ObjectError where it is no longer this version."""

        def read() -> bytes:
            wanted = {"Range": f"bytes=0-{count - 1}", "IfMatch": f'"{etag}"'}
            with closing(self.client.get_object(Bucket=self.name, Key=key, **wanted)["Body"]) as body:
                return bytes(body.read(count))

        return self._persist(key, read)

    def exists(self, key: str) -> bool:
        try:
            self._persist(key, lambda: self.client.head_object(Bucket=self.name, Key=key))
        except ObjectError:
            return False
        return True

    def remove(self, key: str) -> None:
        self._persist(key, lambda: self.client.delete_object(Bucket=self.name, Key=key))

    def objects(self, prefix: str) -> Iterator[S3Object]:
        """Objects with this prefix, page by page, in the server's order."""
        more: dict[str, str] = {}
        while True:
            page = self._persist(
                prefix,
                lambda: self.client.list_objects_v2(Bucket=self.name, Prefix=prefix, **more),  # noqa: B023
            )
            for item in page.get("Contents", []):
                yield S3Object(item["Key"], item["Size"], _plain(item.get("ETag", "")))
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _persist(self, key: str, call: Callable[[], T]) -> T:
        """Call until the store answers. Every call may be repeated: it ends in the same state."""
        started = time.monotonic()
        for failures in count(1):
            try:
                return call()
            except Exception as error:
                if not is_transient(error) or _is_enough(error, failures, started):
                    self._give_up(error, key)
                _pause(failures)
        raise AssertionError("count() has no end")

    def _give_up(self, error: Exception, key: str) -> NoReturn:
        if explained := explain(error, self.address(key), self.options.server):
            raise explained from error
        raise error


def _is_enough(error: Exception, failures: int, started: float) -> bool:
    """Return whether to give up: a silent server sooner than one that breaks off, as its timeouts cost minutes."""
    from botocore.exceptions import ReadTimeoutError

    silent = isinstance(error, ReadTimeoutError) and time.monotonic() - started > PATIENCE_S
    return silent or failures == TRIES


def _empty(file: File) -> None:
    file.seek(0)
    file.truncate()


def _plain(etag: str) -> str:
    return etag.strip('"')


def _is_encrypted(answer: dict[str, Any]) -> bool:
    """Return whether the ETag only looks like an MD5: with KMS or customer keys (Amazon's API reference)."""
    return "SSECustomerAlgorithm" in answer or "kms" in answer.get("ServerSideEncryption", "")


def _described(key: str, sha256: str) -> dict[str, Any]:
    """Metadata for verification, and the type with which a browser plays an overlay instead of saving it."""
    kind = mimetypes.guess_type(key)[0] or "application/octet-stream"
    return {"Metadata": {SHA256: sha256}, "ContentType": kind}


def _pause(failures: int) -> None:
    time.sleep(random.uniform(0.05, 0.1) * 2**failures)  # noqa: S311  (jitter, not a secret)


def _changed(address: str) -> ObjectError:
    return ChangedError(
        f"{address} no longer has the ETag and size that were listed.", "List the objects again and read the new one."
    )


def _damaged(address: str, difference: str) -> ObjectError:
    return ObjectError(f"{address} was returned with {difference}, {TRIES} times.", "Store it again.")
