"""Reading of the site file: defaults, mistakes that are named, and hostile text."""

from pathlib import Path

import pytest

from tasks.site.settings import Settings
from tasks.site_file.load import SiteFileError, parse_site_file, read_site_file

PATH = Path("nightjar.toml")


def test_without_a_file_there_are_only_defaults(tmp_path: Path) -> None:
    found = read_site_file(Settings(home=tmp_path, timezone="Asia/Tokyo", _env_file=None))
    assert found.cameras == ()
    assert found.site.time_zone == "Asia/Tokyo"
    assert found.site.recording_gap_s == 2.0


def test_a_named_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SiteFileError, match="NIGHTJAR_SITE_FILE"):
        read_site_file(Settings(home=tmp_path, site_file=tmp_path / "none.toml", _env_file=None))


@pytest.mark.parametrize("name", ["nightjar.toml", "other.toml"])
def test_the_file_is_read_from_the_home_or_from_the_setting(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\xef\xbb\xbf[site]\r\nrecording_gap_s = 5\r\n[[cameras]]\r\nname = 'T\xc3\xbcr'\r\n")
    found = read_site_file(Settings(home=tmp_path, site_file=None if name == "nightjar.toml" else path, _env_file=None))
    assert found.site.recording_gap_s == 5
    assert [camera.name for camera in found.cameras] == ["Tür"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[site]\ntime_zoen = 'UTC'", "[site]: the key 'time_zoen' is not known. Did you mean 'time_zone'?"),
        ("[sites]", "the key 'sites' is not known. Did you mean 'site'?"),
        ("[[camera]]\nname = 'a'", "the key 'camera' is not known. Did you mean 'cameras'?"),
        ("[cameras]\nname = 'a'", "[cameras]: the section has another form. Write it as [[cameras]]."),
        ("[[site]]", "[site]: the section has another form. Write it as [site]."),
        ("[[cameras]]\nfiles = 'a'", "[[cameras]] number 1: the key 'name' is missing."),
        (
            "[[cameras]]\nname = 'a'\n[[cameras]]\nname = 'door'\nfilse = '*'",
            "[[cameras]] number 2 ('door'): the key 'filse' is not known. Did you mean 'files'?",
        ),
        (
            "[[cameras]]\nname = 'a'\nstart = { pattern = '%s', inn = 'name' }",
            "[[cameras]] number 1 ('a'), start: the key 'inn' is not known. Did you mean 'in'?",
        ),
        ("[site]\ntime_zone = 'Europe/Berlni'", "[site], time_zone: the time zone 'Europe/Berlni' does not exist."),
        ("[site]\nrecording_gap_s = nan", "[site], recording_gap_s: input should be a finite number."),
        ("[site]\nrecording_gap_s = -1", "[site], recording_gap_s: input should be greater than or equal to 0."),
        ("[[rules]]\nrule = 'fall'\nwhne = 'x'", "[[rules]] number 1 ('fall'): the key 'whne' is not known."),
        ("[notify]\nseverity = 'loud'", "[notify], severity: input should be 'info', 'warning' or 'critical'."),
        ("name = 'a", "It is not TOML"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_the_nearest_key(text: str, told: str) -> None:
    with pytest.raises(SiteFileError) as error:
        parse_site_file(PATH, text)
    assert told in str(error.value)


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(SiteFileError) as error:
        parse_site_file(PATH, "[site]\nx = 1\n[[zones]]\nname = 'bed'\n[notify]\nnigth = true")
    assert len(error.value.problems) == 3


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[" * 100_000, b"a" * (5 << 20)], ids=["not text", "deep", "large"])
def test_a_file_that_is_no_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "nightjar.toml"
    path.write_bytes(content)
    with pytest.raises(SiteFileError):
        read_site_file(Settings(home=tmp_path, _env_file=None))
