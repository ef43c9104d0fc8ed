"""Fetching published models, from a real HTTP server on loopback."""

import hashlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from models.types import NightjarError, refuse_credentials
from storage.objects import downloads as published
from storage.objects.downloads import PINNED, PUBLISHED, FetchError, fetch_published, fetch_url
from tests.conftest import ROOT


@dataclass
class Reply:
    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    announced: int | None = None


@dataclass
class Site:
    """The server's answers by path, and the requests that it received."""

    url: str
    pages: dict[str, Reply] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def fetch(self, path: str, cache: Path, progress: Callable[[int, int | None], None] = lambda *_: None) -> Path:
        return published._fetch(f"{self.url}{path}", cache, progress, _check_loopback)


def _check_loopback(url: str) -> None:
    """Instead of the https-only check: this machine only."""
    if urlsplit(url).scheme != "http" or urlsplit(url).hostname != "127.0.0.1":
        raise FetchError(f"not loopback: {url}")


@pytest.fixture
def site() -> Iterator[Site]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append(self.path)
            reply = served.pages.get(self.path, Reply(b"no", 404))
            self.send_response(reply.status)
            self.send_header("Content-Length", str(reply.announced or len(reply.body)))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = Site(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def model(site: Site) -> Site:
    """The first TF.js format: a manifest and two variables."""
    entries = {
        "a/weights": {"filename": "a_weights", "shape": [2, 3]},
        "a/biases": {"filename": "a_biases", "shape": [3]},
    }
    site.pages["/m/manifest.json"] = Reply(json.dumps(entries).encode())
    site.pages["/m/a_weights"] = Reply(bytes(range(24)))
    site.pages["/m/a_biases"] = Reply(bytes(12))
    return site


def files(cache: Path) -> dict[str, bytes]:
    """Every file in the cache except the checksums."""
    return {p.name: p.read_bytes() for p in cache.rglob("*") if p.is_file() and p.name != published.CHECKSUMS_FILE}


def test_a_manifest_is_fetched_with_its_files(model: Site, tmp_path: Path) -> None:
    progress: list[tuple[int, int | None]] = []
    manifest = model.fetch("/m/manifest.json", tmp_path, lambda done, total: progress.append((done, total)))
    assert manifest.name == "manifest.json"
    assert files(tmp_path) == {path.rpartition("/")[2]: reply.body for path, reply in model.pages.items()}
    size_bytes = sum(len(reply.body) for reply in model.pages.values())
    assert progress[-1] == (size_bytes, size_bytes)
    assert [done for done, _ in progress] == sorted(done for done, _ in progress)


def test_a_graph_model_is_fetched_with_its_shards(site: Site, tmp_path: Path) -> None:
    weights = [
        {"name": "w", "shape": [5], "dtype": "float32", "quantization": {"dtype": "uint16", "min": 0, "scale": 1}}
    ]
    raw = {"modelTopology": {}, "weightsManifest": [{"paths": ["s1.bin", "s2.bin"], "weights": weights}]}
    site.pages = {
        "/model.json": Reply(json.dumps(raw).encode()),
        "/s1.bin": Reply(b"12345"),
        "/s2.bin": Reply(b"67890"),
    }
    progress: list[tuple[int, int | None]] = []
    site.fetch("/model.json", tmp_path, lambda done, total: progress.append((done, total)))
    assert files(tmp_path).keys() == {"model.json", "s1.bin", "s2.bin"}
    assert progress[-1][0] == progress[-1][1]


def test_an_ir_is_fetched_with_its_weights(site: Site, tmp_path: Path) -> None:
    site.pages = {
        "/m/net.xml": Reply(b'<?xml version="1.0"?><net name="n" version="11"/>'),
        "/m/net.bin": Reply(bytes(9)),
    }
    progress: list[tuple[int, int | None]] = []
    xml = site.fetch("/m/net.xml", tmp_path, lambda done, total: progress.append((done, total)))
    assert xml.name == "net.xml"
    assert files(tmp_path) == {"net.xml": site.pages["/m/net.xml"].body, "net.bin": bytes(9)}
    assert progress[-1][0] == progress[-1][1] == sum(len(reply.body) for reply in site.pages.values())
    site.asked.clear()
    site.fetch("/m/net.xml", tmp_path)
    assert site.asked == []


def test_other_xml_is_not_a_model(site: Site, tmp_path: Path) -> None:
    site.pages["/feed.xml"] = Reply(b"<rss/>")
    with pytest.raises(FetchError, match="not an OpenVINO IR"):
        site.fetch("/feed.xml", tmp_path)
    assert files(tmp_path) == {}
    assert site.asked == ["/feed.xml"]


def test_existing_files_are_not_fetched_again(model: Site, tmp_path: Path) -> None:
    model.fetch("/m/manifest.json", tmp_path)
    model.asked.clear()
    model.fetch("/m/manifest.json", tmp_path)
    assert model.asked == []


def test_a_damaged_file_is_fetched_again(model: Site, tmp_path: Path) -> None:
    manifest = model.fetch("/m/manifest.json", tmp_path)
    (manifest.parent / "a_weights").write_bytes(b"rotten")
    model.asked.clear()
    model.fetch("/m/manifest.json", tmp_path)
    assert model.asked == ["/m/a_weights"]
    assert (manifest.parent / "a_weights").read_bytes() == bytes(range(24))


def test_changed_content_is_refused(model: Site, tmp_path: Path) -> None:
    manifest = model.fetch("/m/manifest.json", tmp_path)
    (manifest.parent / "a_weights").unlink()
    model.pages["/m/a_weights"] = Reply(bytes(24))
    with pytest.raises(FetchError, match=r"sha256 of .*a_weights is .* first downloaded\. If you trust the change"):
        model.fetch("/m/manifest.json", tmp_path)
    assert not (manifest.parent / "a_weights").exists()


def test_a_pinned_checksum_is_compared_at_the_first_download(
    model: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{model.url}/m/a_biases"
    monkeypatch.setitem(PINNED, url, hashlib.sha256(b"the true file").hexdigest())
    with pytest.raises(FetchError, match=r"sha256 of .*a_biases is"):
        model.fetch("/m/manifest.json", tmp_path)
    assert "a_biases" not in files(tmp_path)
    monkeypatch.setitem(PINNED, url, hashlib.sha256(bytes(12)).hexdigest())
    model.fetch("/m/manifest.json", tmp_path)
    assert "a_biases" in files(tmp_path)


def test_a_truncated_body_is_not_kept_and_the_next_try_resumes(model: Site, tmp_path: Path) -> None:
    model.pages["/m/a_weights"] = Reply(bytes(range(10)), announced=24)
    with pytest.raises(FetchError, match="received 10 bytes, expected 24"):
        model.fetch("/m/manifest.json", tmp_path)
    assert files(tmp_path).keys() == {"manifest.json"}
    model.pages["/m/a_weights"] = Reply(bytes(range(24)))
    model.asked.clear()
    model.fetch("/m/manifest.json", tmp_path)
    assert model.asked == ["/m/a_weights", "/m/a_biases"]


def test_shards_in_subfolders_are_fetched_into_subfolders(site: Site, tmp_path: Path) -> None:
    entries = {"w": {"filename": "weights/a/w.bin", "shape": [1]}, "v": {"filename": "./v.bin", "shape": [1]}}
    site.pages = {
        "/m/model.json": Reply(json.dumps(entries).encode()),
        "/m/weights/a/w.bin": Reply(b"1234"),
        "/m/v.bin": Reply(b"5678"),
    }
    main = site.fetch("/m/model.json", tmp_path)
    assert (main.parent / "weights/a/w.bin").read_bytes() == b"1234"
    assert (main.parent / "v.bin").read_bytes() == b"5678"
    site.asked.clear()
    site.fetch("/m/model.json", tmp_path)
    assert site.asked == [], "cached files are not fetched again"


def test_a_missing_file_names_the_address(model: Site, tmp_path: Path) -> None:
    del model.pages["/m/a_biases"]
    with pytest.raises(FetchError, match=r"The server answered 404 .*/m/a_biases\. .*--source PATH"):
        model.fetch("/m/manifest.json", tmp_path)


def test_an_offline_error_names_address_and_remedy(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    site = Site(f"http://127.0.0.1:{port}")
    with pytest.raises(FetchError, match=rf"http://127.0.0.1:{port}/manifest.json cannot be fetched .*--source PATH"):
        site.fetch("/manifest.json", tmp_path)
    assert files(tmp_path) == {}


def test_a_web_page_is_not_a_model(site: Site, tmp_path: Path) -> None:
    site.pages["/manifest.json"] = Reply(b"<html>Log in", headers={"Content-Type": "text/html"})
    with pytest.raises(FetchError, match="web page"):
        site.fetch("/manifest.json", tmp_path)
    site.pages["/manifest.json"] = Reply(b"<html>Log in")
    with pytest.raises(FetchError, match=r"not a TF\.js manifest"):
        site.fetch("/manifest.json", tmp_path)
    assert files(tmp_path) == {}
    site.pages["/manifest.json"] = Reply(b"{}")
    site.fetch("/manifest.json", tmp_path)  # a refused file leaves no checksum


@pytest.mark.parametrize(
    "name",
    [
        *("../../evil", "/etc/passwd", "..", "", "http://127.0.0.1/evil", "a\\b", ".hidden", "a\nb", 7),
        *("checksums.json", "a/../../evil", "a//b", "/a", "a/.hidden", "a/checksums.json"),
    ],
)
def test_names_that_lead_elsewhere_are_refused(site: Site, tmp_path: Path, name: object) -> None:
    site.pages["/manifest.json"] = Reply(json.dumps({"w": {"filename": name, "shape": [1]}}).encode())
    with pytest.raises(FetchError, match="Do not use this source"):
        site.fetch("/manifest.json", tmp_path / "cache")
    assert site.asked == ["/manifest.json"]
    assert [p.name for p in tmp_path.iterdir()] == ["cache"]


def test_an_oversized_body_is_not_kept(model: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "MAX_FILE_BYTES", 20)
    with pytest.raises(FetchError, match="more than 20 bytes"):
        model.fetch("/m/manifest.json", tmp_path)
    assert files(tmp_path) == {}


def test_the_same_rule_applies_to_redirects(site: Site, tmp_path: Path) -> None:
    site.pages["/old.pb"] = Reply(b"", 302, {"Location": "/new.pb"})
    site.pages["/new.pb"] = Reply(b"graph")
    assert site.fetch("/old.pb", tmp_path).read_bytes() == b"graph"


@pytest.mark.parametrize(
    "location",
    ["http://localhost:9/x.pb", "//localhost:9/x.pb", "file:///etc/passwd", "ftp://127.0.0.1/x.pb", "data:,x"],
)
def test_a_redirect_elsewhere_or_to_another_scheme_is_not_followed(site: Site, tmp_path: Path, location: str) -> None:
    site.pages["/away.pb"] = Reply(b"", 302, {"Location": location})
    with pytest.raises(FetchError, match=r"not loopback|cannot be fetched"):
        site.fetch("/away.pb", tmp_path)
    assert files(tmp_path) == {}


def test_a_redirect_to_an_address_with_credentials_is_refused(site: Site, tmp_path: Path) -> None:
    def check(url: str) -> None:
        refuse_credentials(url)
        _check_loopback(url)

    site.pages["/away.pb"] = Reply(b"", 302, {"Location": f"{site.url.replace('//', '//me:secret@')}/x.pb"})
    with pytest.raises(NightjarError) as refused:
        published._fetch(f"{site.url}/away.pb", tmp_path, lambda *_: None, check)
    assert "secret" not in str(refused.value)
    assert site.asked == ["/away.pb"]


@pytest.mark.parametrize("location", ["http://127.0.0.1:99999/x.pb", "http://[::1/x.pb", "/loop.pb"])
def test_a_redirect_without_a_target_is_explained(site: Site, tmp_path: Path, location: str) -> None:
    site.pages["/loop.pb"] = Reply(b"", 302, {"Location": location})
    with pytest.raises(FetchError, match=r"/loop\.pb cannot be fetched .*--source PATH"):
        site.fetch("/loop.pb", tmp_path)


def test_a_compressed_body_is_refused(site: Site, tmp_path: Path) -> None:
    site.pages["/m.pb"] = Reply(b"graph", headers={"Content-Encoding": "gzip"})
    with pytest.raises(FetchError, match="compressed"):
        site.fetch("/m.pb", tmp_path)
    assert files(tmp_path) == {}


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/m.pb", "file:///etc/passwd", "ftp://host/m.pb", "https:///m.pb", "m.pb"]
)
def test_only_https_is_fetched(url: str, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="does not begin with https"):
        fetch_url(url, tmp_path, lambda *_: None)


def test_an_address_without_a_file_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="plain file name"):
        fetch_url("https://127.0.0.1/models/", tmp_path, lambda *_: None)


def test_published_names_and_addresses() -> None:
    posenets = {name: model for name, model in PUBLISHED.items() if name.startswith("posenet-")}
    assert list(posenets) == ["posenet-050", "posenet-075", "posenet-100", "posenet-101"]
    assert [model.width for model in posenets.values()] == [0.50, 0.75, 1.00, 1.01]
    assert all(
        model.url.startswith("https://storage.googleapis.com/tfjs-models/weights/") for model in posenets.values()
    )
    openpose = PUBLISHED["openpose"].url
    assert openpose.startswith("https://storage.openvinotoolkit.org/")
    assert "/FP16/" in openpose
    assert {openpose, openpose.replace(".xml", ".bin")} <= PINNED.keys()
    assert all(url.startswith("https://") and len(sha256) == 64 for url, sha256 in PINNED.items())


def test_movenets_addresses_equal_those_of_tfjs() -> None:
    """`fromTFHub` of tfjs-converter's loadGraphModel: model.json below the model's address, with this query."""
    movenets = {name: model.url for name, model in PUBLISHED.items() if name.startswith("movenet-")}
    for name, path in (
        ("lightning", "singlepose/lightning/4"),
        ("thunder", "singlepose/thunder/4"),
        ("multipose", "multipose/lightning/1"),
    ):
        url = f"https://tfhub.dev/google/tfjs-model/movenet/{path}/model.json?tfjs-format=file"
        assert movenets.pop(f"movenet-{name}") == url
    assert not movenets


def test_shards_keep_the_query_of_the_address(site: Site, tmp_path: Path) -> None:
    """TF Hub serves shards only with the query of the model's address, and redirects to a store."""
    weights = [{"name": "w", "shape": [5], "dtype": "uint8"}]
    raw = {"modelTopology": {}, "weightsManifest": [{"paths": ["s1.bin"], "weights": weights}]}
    site.pages = {
        "/hub/1/model.json?tfjs-format=file": Reply(b"", 302, {"Location": f"{site.url}/store/model.json?signed=1"}),
        "/store/model.json?signed=1": Reply(json.dumps(raw).encode()),
        "/hub/1/s1.bin?tfjs-format=file": Reply(b"", 302, {"Location": f"{site.url}/store/s1.bin?signed=2"}),
        "/store/s1.bin?signed=2": Reply(b"12345"),
    }
    main = site.fetch("/hub/1/model.json?tfjs-format=file", tmp_path)
    assert main.name == "model.json"
    assert files(tmp_path)["s1.bin"] == b"12345"
    site.asked.clear()
    site.fetch("/hub/1/model.json?tfjs-format=file", tmp_path)
    assert site.asked == [], "existing files are recognised by their checksums"


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"posenet-050, posenet-075.*--source"):
        fetch_published("posenet-999", tmp_path, lambda *_: None)


@pytest.mark.real_data
def test_pinned_checksums_of_quant2_050_match_the_files(data: Path) -> None:
    pinned = {url.rpartition("/")[2]: sha256 for url, sha256 in PINNED.items() if "/quant2/050/" in url}
    folder = data / "posenet/tfjs_graph_uint16_050"
    assert pinned == {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in pinned}


def test_no_heavy_module_is_imported() -> None:
    heavy = "{'tensorflow', 'keras', 'openvino'}"
    code = f"import storage.objects.downloads, models.manifest, sys; print({heavy} & sys.modules.keys())"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
