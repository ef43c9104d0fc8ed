"""The flow convert-model on real published weights, and on other files."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from flows.convert_model import convert_model
from models.types import NightjarError
from storage.objects.downloads import PUBLISHED
from storage.sql.catalogue import find_model
from tasks.model.cache import fetch_model
from tasks.site.site import open_site

pytestmark = pytest.mark.usefixtures("prefect_server", "home")
WEIGHTS = "posenet/tfjs_graph_uint16_050/model-stride16.json"


@pytest.mark.slow
@pytest.mark.real_data
def test_a_converted_model_is_stored_by_its_hash_once(data: Path) -> None:
    first = convert_model("posenet-050", str(data / WEIGHTS), size=224)
    assert convert_model("posenet-050", str(data / WEIGHTS), size=224) == first
    assert convert_model("posenet-050", str(data / WEIGHTS), size=257) != first
    with open_site() as site:
        folder, manifest = fetch_model(site.artifacts, first, site.settings.model_cache)
        found = find_model(site.engine, "posenet-050")
    assert (manifest.version_id, manifest.task, manifest.input.shape) == (first, "pose", (1, 224, 224, 3))
    assert manifest.decode_params["origin_px"] == 15
    assert {path.name for path in folder.iterdir()} == {"model.xml", "model.bin", "manifest.json"}
    assert found is not None
    assert found[1].source_location == str(data / WEIGHTS)


CONVERT = """
import sys
from deployments.cli import main
try:
    main(sys.argv[1:])
finally:
    print(sorted({"prefect", "tensorflow", "openvino"} & sys.modules.keys()))
"""


@pytest.mark.slow
def test_the_command_converts_without_prefect(home: Path) -> None:
    """TensorFlow is in the confined child only."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    command = [sys.executable, "-c", CONVERT, "convert", "posenet-demo", "--size", "65"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
    with open_site() as site:
        found = find_model(site.engine, "posenet-demo")
        assert found is not None
        folder, manifest = fetch_model(site.artifacts, found[1].version_sha256, site.settings.model_cache)
    assert manifest.input.shape == (1, 65, 65, 3)
    assert re.search(rf"Stored posenet-demo as version {manifest.version_id[:12]} at ", done.stderr)
    assert {path.name for path in folder.iterdir()} == {"model.xml", "model.bin", "manifest.json"}
    assert not (home / "prefect" / "prefect.db").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"source": "/no/such/file"}, "Give --source a path that exists"),
        ({"source": "http://example.org/model.json"}, "https"),
        ({"name": "posenet-099"}, "No model 'posenet-099' is published"),
    ],
)
def test_an_unavailable_source_is_one_clear_error(options: dict[str, str], words: str) -> None:
    with pytest.raises(NightjarError, match=words):
        convert_model(**{"name": "posenet-075", **options})  # type: ignore[call-overload]


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.pb").write_bytes(b"<html>sign in</html>" * 50)
    with pytest.raises(NightjarError):
        convert_model("posenet-075", str(tmp_path / "model.pb"))
    with open_site() as site:
        assert find_model(site.engine, "posenet-075") is None


def test_an_offline_error_names_address_and_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *rest, **more: refuse() if "google" in str(host) else resolve(host, *rest, **more),
    )
    with pytest.raises(NightjarError, match="--source") as caught:
        convert_model("posenet-075")
    assert PUBLISHED["posenet-075"].url in str(caught.value)
