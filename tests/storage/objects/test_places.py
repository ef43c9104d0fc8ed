"""Locations, and errors of disks."""

import errno
import os
import pickle
from pathlib import Path

import pytest

from storage.objects.places import ObjectError, S3Place, StoreError, disk_errors, parse_place


@pytest.mark.parametrize(
    ("location", "place"),
    [
        ("/a/b c", Path("/a/b c")),
        ("a", Path("a").absolute()),
        ("file:///a/b%20c", Path("/a/b c")),
        ("file://localhost/a", Path("/a")),
        ("s3://b", S3Place("b", "")),
        ("s3://b/", S3Place("b", "")),
        ("s3://b/p/q/", S3Place("b", "p/q")),
        ("s3://b//p", S3Place("b", "/p")),
        ("s3://b/p//q", S3Place("b", "p//q")),
        ("s3://b/p//", S3Place("b", "p/")),
        ("s3://b/a?b#c%20d", S3Place("b", "a?b#c%20d")),
        ("/a?b#c%20d", Path("/a?b#c%20d")),
    ],
)
def test_locations_are_parsed(location: str, place: Path | S3Place) -> None:
    assert parse_place(location) == place


@pytest.mark.parametrize(
    "location", ["", " ", "s3://", "s3:///p", "s3://b//", "http://b/p", "file://elsewhere/a", "a\0b"]
)
def test_invalid_locations_are_refused(location: str) -> None:
    with pytest.raises(StoreError, match="is not a folder, file:///folder or s3://bucket/prefix"):
        parse_place(location)


def test_an_error_has_found_expected_and_remedy() -> None:
    error = StoreError("It broke.", "Repair it.")
    assert str(error) == "It broke. Repair it."
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize(
    ("number", "kind", "remedy"),
    [
        (errno.ENOSPC, StoreError, "Free some space"),
        (errno.EACCES, StoreError, "Give this user the permission"),
        (errno.ENOENT, ObjectError, "Check that the file exists"),
        (errno.EBADF, StoreError, "Check the disk"),
    ],
)
def test_disk_errors_are_explained(number: int, kind: type[StoreError], remedy: str) -> None:
    with pytest.raises(StoreError, match=remedy) as caught, disk_errors(Path("/a/b")):
        raise OSError(number, os.strerror(number))
    assert type(caught.value) is kind
    assert "'/a/b'" in caught.value.happened
