"""The flow convert-model on real published weights, and on what is no model at all."""

import socket
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
def test_a_converted_model_is_stored_by_its_hash_and_again_changes_nothing(data: Path) -> None:
    first = convert_model("posenet-050", str(data / WEIGHTS))
    assert convert_model("posenet-050", str(data / WEIGHTS)) == first
    assert convert_model("posenet-050", str(data / WEIGHTS), size=257) != first
    with open_site() as site:
        folder, manifest = fetch_model(site.artifacts, first, site.settings.model_cache)
        found = find_model(site.engine, "posenet-050")
    assert (manifest.version_id, manifest.task, manifest.input.shape) == (first, "pose", (1, 224, 224, 3))
    assert manifest.decode_params["origin_px"] == 15
    assert {path.name for path in folder.iterdir()} == {"model.xml", "model.bin", "manifest.json"}
    assert found is not None
    assert found[1].source_location == str(data / WEIGHTS)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"source": "/no/such/file"}, "Give --source a path that exists"),
        ({"source": "http://example.org/model.json"}, "https"),
        ({"name": "posenet-099"}, "No model 'posenet-099' is published"),
    ],
)
def test_a_source_that_cannot_be_had_is_one_clear_error(options: dict[str, str], words: str) -> None:
    with pytest.raises(NightjarError, match=words):
        convert_model(**{"name": "posenet-075", **options})  # type: ignore[call-overload]


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.pb").write_bytes(b"<html>sign in</html>" * 50)
    with pytest.raises(NightjarError):
        convert_model("posenet-075", str(tmp_path / "model.pb"))
    with open_site() as site:
        assert find_model(site.engine, "posenet-075") is None


def test_offline_names_the_address_and_the_way_on(monkeypatch: pytest.MonkeyPatch) -> None:
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
