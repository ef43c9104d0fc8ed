"""Published model files: their addresses, and their download over https into a local cache. No conversion, no S3.

Files that a manifest names are fetched from its folder or below, by plain names only. A checksum is pinned here if its
authors publish one, recorded at the first download otherwise, and compared with every later download.
"""

import contextlib
import hashlib
import json
import math
import re
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urljoin, urlsplit

import httpx

from models.types import NightjarError, refuse_credentials
from storage.leftovers import temporary_file
from storage.private import make_folder

Progress = Callable[[int, int | None], None]

MAX_FILE_BYTES = 512 * 1024**2  # PoseNet 1.01 is 14 MB, ResNet50 100 MB
MAX_FILES = 2000
TIMEOUT_S = 30.0
_BLOCK_BYTES = 1 << 16
CHECKSUMS_FILE = "checksums.json"

_TFJS = "https://storage.googleapis.com/tfjs-models/"
_TFHUB = "https://tfhub.dev/google/tfjs-model/movenet/{}/model.json?tfjs-format=file"  # as TF.js asks; Kaggle answers
_OPENPOSE = (
    "https://storage.openvinotoolkit.org/repositories/open_model_zoo/2023.0/models_bin/1/"
    "human-pose-estimation-0001/FP16/human-pose-estimation-0001"
)


class FetchError(NightjarError):
    """A file could not be fetched, or differs from the one that was fetched before."""


@dataclass(frozen=True)
class Published:
    """A model that its authors publish. url: of its .json or .xml; width: of a PoseNet's MobileNetV1"""

    url: str
    width: float | None = None


PUBLISHED = {
    f"posenet-{width}": Published(f"{_TFJS}weights/posenet/mobilenet_v1_{width}/manifest.json", int(width) / 100)
    for width in ("050", "075", "100", "101")
} | {
    "openpose": Published(f"{_OPENPOSE}.xml"),
    "movenet-lightning": Published(_TFHUB.format("singlepose/lightning/4")),
    "movenet-thunder": Published(_TFHUB.format("singlepose/thunder/4")),
    "movenet-multipose": Published(_TFHUB.format("multipose/lightning/1")),
}

PINNED = {  # address -> sha256, as published or recorded by others
    f"{_TFJS}savedmodel/posenet/mobilenet/{path}": sha256
    for path, sha256 in {
        "float/075/model-stride16.json": "dd63bf2d3b983e8c80020749f135164beda00a33374c8a7be230b9598f24f798",
        "float/075/group1-shard1of2.bin": "ce6afc62f89782d43139fab76c641b281a82dee2cd2759aa036c4b28aea16439",
        "float/075/group1-shard2of2.bin": "2a35b8cfb86eb50928931e03dc30c0972fdd375f148b177ee40676b81a17692d",
        "quant2/050/model-stride16.json": "5c20d9a02bef5d735e6ae5c631da294701197312412154f532d2b81fe506af5b",
        "quant2/050/group1-shard1of1.bin": "ad074e69cd58ec5a5efb209b2ee7061689ab4e1e07c39b13671fe59a6edfb9d3",
    }.items()
} | {
    f"{_OPENPOSE}.xml": "ebd70031f92e52b7f1d6ef3b1aead6eff0c9c52130e65ecf77a2447b90a32b84",
    f"{_OPENPOSE}.bin": "fd4604233dd9ca09fba51c098b662e5fe6b03bf5dac174b686c3d6d5977cf8d5",
}


def fetch_published(name: str, cache_dir: Path, on_progress: Progress) -> Path:
    """Fetch a published model. Returns the path of its manifest.json or .xml, next to its files. Raises FetchError."""
    if name not in PUBLISHED:
        raise FetchError(f"There is no published model {name!r}. Give one of {', '.join(PUBLISHED)}, or --source PATH.")
    return fetch_url(PUBLISHED[name].url, cache_dir, on_progress)


def fetch_url(url: str, cache_dir: Path, on_progress: Progress) -> Path:
    """Fetch a model by its https address into the cache, with the files that a .json names or the .bin of an .xml.

    on_progress: receives (bytes so far, total bytes or None). Unchanged files in the cache are not fetched again.
    Raises FetchError where the address is not https, does not answer, or its content changed; OSError where the file
    cannot be written.
    """
    return _fetch(url, cache_dir, on_progress, _check_https)


def _fetch(url: str, cache_dir: Path, on_progress: Progress, check: Callable[[str], None]) -> Path:
    check(url)
    folder = cache_dir / hashlib.sha256(url.encode()).hexdigest()[:16]
    make_folder(folder)
    with _client(check) as client:
        return _fetch_model(_ModelDownload(folder, url, on_progress, client))


def _client(check: Callable[[str], None]) -> httpx.Client:
    """Return a client that checks each address before a request, also those to which a server redirects."""
    return httpx.Client(
        verify=ssl.create_default_context(),  # the system's certificates, which include a company's own
        timeout=TIMEOUT_S,
        follow_redirects=True,
        headers={"Accept-Encoding": "identity"},
        event_hooks={"request": [lambda request: check(str(request.url))]},
    )


def _fetch_model(download: "_ModelDownload") -> Path:
    """Fetch the file at the download's address and those that it needs."""
    main = download.get(_plain_name(urlsplit(download.url).path.rpartition("/")[2], download.url))
    if main.suffix == ".json":
        names, size_bytes = _named_files(main)
        download.total_bytes = download.done_bytes + size_bytes
        for name in names:
            download.get(name)
    if main.suffix == ".xml":
        _refuse_other_xml(main)
        download.get(f"{main.stem}.bin")
    return main


def _refuse_other_xml(main: Path) -> None:
    head = main.read_bytes()[:1024].replace(b"\0", b"")  # in UTF-16, too
    if b"<net " not in head:
        _forget(main)
        raise FetchError(f"{main.name} is XML, but not an OpenVINO IR. Check the address.")


def _check_https(url: str) -> None:
    refuse_credentials(url)
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise FetchError(f"The address {url!r} does not begin with https://. Give one that does, or --source PATH.")


def _plain_name(name: object, origin: object) -> str:
    """Return the plain name of a file. Raises FetchError for anything else: a path, an address, a hidden file."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}", name):
        raise FetchError(f"{origin} names the file {name!r}, which is not a plain file name. Do not use this source.")
    if name == CHECKSUMS_FILE:
        raise FetchError(f"{origin} names the file {name}, which Nightjar itself writes. Do not use this source.")
    return name


def _named_files(main: Path) -> tuple[list[str], int]:
    """List the files that a TF.js JSON names, and their total bytes by their shapes and types."""
    try:
        raw = json.loads(main.read_bytes())
        if "weightsManifest" in raw:
            names = [name for group in raw["weightsManifest"] for name in group["paths"]]
            entries = [entry for group in raw["weightsManifest"] for entry in group["weights"]]
        else:
            names, entries = [entry["filename"] for entry in raw.values()], list(raw.values())
        size_bytes = sum(math.prod(entry["shape"]) * _item_bytes(entry) for entry in entries)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        _forget(main)
        raise FetchError(f"{main.name} is not a TF.js manifest ({error!r}). Check the address.") from error
    if len(names) > MAX_FILES:
        raise FetchError(
            f"{main.name} names {len(names)} files, and a model has at most {MAX_FILES}. Check the address."
        )
    return [_path_below(name, main.name) for name in names], size_bytes


def _path_below(name: object, origin: object) -> str:
    """Return a path of plain names in folders below the model's. Raises FetchError for any other path."""
    parts = name.removeprefix("./").split("/") if isinstance(name, str) else [name]
    return "/".join(_plain_name(part, origin) for part in parts)


def _item_bytes(entry: dict[str, Any]) -> int:
    kind = (entry.get("quantization") or entry).get("dtype", "float32")
    return {"uint8": 1, "bool": 1, "uint16": 2, "float16": 2}.get(kind, 4)


class _ModelDownload:
    """The files of one address: those next to `url`, into `folder`, with their checksums."""

    def __init__(self, folder: Path, url: str, on_progress: Progress, client: httpx.Client) -> None:
        self.folder, self.url, self.on_progress, self.client = folder, url, on_progress, client
        self.done_bytes = 0
        self.total_bytes: int | None = None

    def get(self, name: str) -> Path:
        """Fetch one file unless it is there unchanged."""
        path, url = self.folder / name, _beside(self.url, name)
        expected = PINNED.get(url) or _checksums(self.folder).get(name)
        if expected and path.is_file() and _sha256(path) == expected:
            self._count(path.stat().st_size)
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_file(self.folder) as (temporary, file):
            found = self._copy(url, file)
            file.flush()
            if expected and found != expected:
                raise FetchError(
                    f"The sha256 of {url} is {found[:12]}…, but {expected[:12]}… was published or first downloaded. "
                    f"If you trust the change, remove {self.folder} and try again."
                )
            temporary.replace(path)
        _record(self.folder, name, found)
        return path

    def _copy(self, url: str, file: BinaryIO) -> str:
        """Write the body of `url` into the open file; return its sha256."""
        digest = hashlib.sha256()
        with _explained(url), self.client.stream("GET", url) as response:
            response.raise_for_status()
            _refuse_other_content(url, response)
            announced = response.headers.get("Content-Length", "")
            if self.total_bytes is None and announced.isdigit() and not urlsplit(url).path.endswith((".json", ".xml")):
                # The last file or the only one; a manifest's whole size is known once it is read.
                self.total_bytes = self.done_bytes + int(announced)
            for block in response.iter_raw(_BLOCK_BYTES):
                if response.num_bytes_downloaded > MAX_FILE_BYTES:
                    raise FetchError(
                        f"{url} has more than {MAX_FILE_BYTES:,} bytes, which no model has. Check the address."
                    )
                digest.update(block)
                file.write(block)
                self._count(len(block))
        return digest.hexdigest()

    def _count(self, size_bytes: int) -> None:
        self.done_bytes += size_bytes
        self.on_progress(self.done_bytes, self.total_bytes)


def _beside(url: str, name: str) -> str:
    """Return the address of a file next to another one, with the same query, like TF.js."""
    query = urlsplit(url).query
    return urljoin(url, name) + (f"?{query}" if query else "")


def _refuse_other_content(url: str, response: httpx.Response) -> None:
    """Raise FetchError for a web page (a login portal, or a wrong address), and for a compressed body."""
    if response.headers.get("Content-Type", "").partition(";")[0].strip().lower() == "text/html":
        raise FetchError(
            f"{url} answered with a web page instead of a file. Check the address, or log in to the network."
        )
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise FetchError(
            f"{url} sent a compressed answer without a request for it. Download the file elsewhere, and give --source "
            "PATH."
        )


@contextlib.contextmanager
def _explained(url: str) -> Iterator[None]:
    """Turn network errors into FetchErrors that say what happened and how to repair it."""
    try:
        yield
    except httpx.HTTPStatusError as error:
        answer = error.response
        raise FetchError(
            f"The server answered {answer.status_code} {answer.reason_phrase} for {url}. "
            "Check the address, or download the file elsewhere and give it with --source PATH."
        ) from error
    except (httpx.RequestError, httpx.InvalidURL) as error:
        raise FetchError(
            f"{url} cannot be fetched ({str(error) or type(error).__name__}). Check the internet connection and try "
            "again, or download the file on another machine and give it with --source PATH."
        ) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checksums(folder: Path) -> dict[str, str]:
    try:
        found = json.loads((folder / CHECKSUMS_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise FetchError(f"{folder / CHECKSUMS_FILE} is damaged ({error}). Remove {folder} and try again.") from error
    return {str(name): str(sha256) for name, sha256 in found.items()}


def _record(folder: Path, name: str, sha256: str) -> None:
    _write(folder, {**_checksums(folder), name: sha256})


def _forget(path: Path) -> None:
    """Remove a file that does not belong to the model, and its checksum."""
    path.unlink(missing_ok=True)
    _write(path.parent, {name: sha for name, sha in _checksums(path.parent).items() if name != path.name})


def _write(folder: Path, checksums: dict[str, str]) -> None:
    with temporary_file(folder) as (temporary, file):
        file.write(json.dumps(checksums, indent=2, sort_keys=True).encode())
        file.flush()
        temporary.replace(folder / CHECKSUMS_FILE)
