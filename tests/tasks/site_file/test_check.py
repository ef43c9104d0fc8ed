"""The description of a site file and of what it says about files."""

from datetime import UTC, datetime
from pathlib import Path

from tasks.site_file.check import WIDTH, describe_files, describe_mistakes, describe_site_file
from tasks.site_file.clock import ArchivedFile
from tasks.site_file.load import parse_site_file
from tasks.site_file.spec import SiteFile

TEXT = """
[site]
time_zone = "Europe/Berlin"
[[cameras]]
files = "recordings/**"
layout = "frigate"
[[cameras]]
name = "phone"
files = "phone/**"
layout = ["android", "iphone"]
[[cameras]]
name = "attic"
files = "attic/**"
[[zones]]
camera = "bakc"
name = "bed"
polygon = [[0.1, 0.5], [0.4, 0.5], [0.4, 0.9]]
"""


def test_files_are_grouped_with_examples_and_mistakes_are_warned_of() -> None:
    site_file = parse_site_file(Path("nightjar.toml"), TEXT)
    files = [ArchivedFile(f"recordings/2026-03-01/22/back/14.{second:02d}.mp4", "/cctv") for second in range(30)]
    files.append(ArchivedFile("phone/IMG_1.MOV", "/cctv", creation_time=datetime(2026, 7, 1, 12, tzinfo=UTC)))
    files.append(ArchivedFile("phone/a.mp4", "/cctv"))
    files.append(ArchivedFile("\x1b[31mx" + "ü" * 100 + "end.mp4", "s3://bucket/x"))
    text = "\n".join([*describe_site_file(site_file, Path("nightjar.toml")), *describe_files(site_file, files)])
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "/cctv: 32 files" in text
    assert "camera 'back', 30 files, clock from the path" in text
    assert "recordings/2026-03-01/22/back/14.00.mp4  2026-03-01 23:14:00 CET" in text
    assert "14.29.mp4" not in text
    assert "phone/IMG_1.MOV  2026-07-01 14:00:00 CEST" in text
    assert "camera 'phone', 1 file, no clock: its container has no creation time" in text
    assert "no camera, 1 file, no clock: no glob" in text
    assert "\x1b" not in text
    assert "end.mp4" in text
    assert "no file belongs to entry 3 of [[cameras]] ('attic'" in text
    assert "Did you" in text
    assert "'back'?" in text


def test_without_a_site_file_its_place_is_told() -> None:
    text = " ".join(describe_site_file(SiteFile(), None))
    assert "There is no site file." in text
    assert "NIGHTJAR_SITE_FILE" in text


def test_mistakes_are_one_paragraph_each() -> None:
    lines = list(describe_mistakes(Path("nightjar.toml"), ["[site]: the key 'x' is not known.", "y " * 60]))
    assert lines[:2] == ["nightjar.toml cannot be used:", "- [site]: the key 'x' is not known."]
    assert max(map(len, lines)) <= WIDTH
