"""Models of the store in a new database."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.manifest import MANIFEST_FILE, Manifest
from models.types import NightjarError
from tasks.model.cache import model_prefix
from tasks.model.names import require_model
from tasks.site.settings import read_settings
from tasks.site.site import Site, open_site
from tests.tiny_model import write_tiny_model


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    folder = tmp_path_factory.mktemp("model") / "ir"
    write_tiny_model(folder)
    return Manifest.from_json((folder / MANIFEST_FILE).read_text())


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A new database and an empty store."""
    monkeypatch.setenv("NIGHTJAR_HOME", str(tmp_path))
    for name in ("NIGHTJAR_DATABASE_URL", "NIGHTJAR_ARTIFACTS"):
        monkeypatch.delenv(name, raising=False)
    read_settings.cache_clear()
    with open_site() as opened:
        yield opened
    read_settings.cache_clear()


def store(site: Site, manifest: Manifest, text: str | None = None) -> str:
    """The manifest only: registering reads no IR."""
    site.artifacts.put_bytes(
        f"{model_prefix(manifest.version_id)}/{MANIFEST_FILE}", (text or manifest.to_json()).encode()
    )
    return manifest.version_id


def test_a_stored_model_is_found_by_name_and_by_hash(site: Site, manifest: Manifest) -> None:
    version_id = store(site, manifest)
    store(site, dataclasses.replace(manifest, frames_per_second=2.0))
    model_version_id, version = require_model(site, "tiny")
    assert (version.version_sha256, version.manifest) == (version_id, manifest.to_json())
    assert require_model(site, version_id[:12])[0] == model_version_id


def test_two_stored_versions_of_a_name_are_distinguished_by_hash(site: Site, manifest: Manifest) -> None:
    hashes = [store(site, each) for each in (manifest, dataclasses.replace(manifest, decode_params={"one": 1}))]
    with pytest.raises(NightjarError, match="the store has 2 versions of it") as refused:
        require_model(site, "tiny")
    assert all(each[:12] in str(refused.value) for each in hashes)
    assert require_model(site, hashes[1][:12])[1].version_sha256 == hashes[1]
    assert require_model(site, "tiny")[1].version_sha256 == hashes[1]


def test_damaged_and_foreign_manifests_are_skipped(site: Site, manifest: Manifest) -> None:
    other = dataclasses.replace(manifest, name="other")
    whole = manifest.to_json().encode()
    for number, data in enumerate((b"{", b"[]", whole[:-9], whole, b"\xff")):
        site.artifacts.put_bytes(f"models/{f'{number}' * 64}/{MANIFEST_FILE}", data)
    site.artifacts.put_bytes(f"models/{MANIFEST_FILE}", whole)
    with pytest.raises(NightjarError, match="Model 'tiny' does not exist"):
        require_model(site, "tiny")
    store(site, other)
    assert require_model(site, "other")[1].name == "other"
