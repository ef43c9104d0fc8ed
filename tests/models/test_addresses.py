"""Addresses with credentials are refused, and errors do not repeat the credentials."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.types import NightjarError, refuse_credentials
from storage.objects.downloads import FetchError, fetch_url
from storage.objects.places import parse_place

SCHEMES = st.sampled_from(["s3", "https", "http", "S3", "file", "postgresql+psycopg"])
HOSTS = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,20}", fullmatch=True)
SECRETS = st.from_regex(r"[A-Za-z0-9+=._~%!$&*-]{8,30}", fullmatch=True)
PATHS = st.from_regex(r"(/[A-Za-z0-9@:._-]{0,10}){0,3}", fullmatch=True)


@given(SCHEMES, SECRETS, st.none() | SECRETS, HOSTS, PATHS)
def test_credentials_in_an_address_are_refused_and_not_repeated(
    scheme: str, user: str, password: str | None, host: str, path: str
) -> None:
    login = user if password is None else f"{user}:{password}"
    with pytest.raises(NightjarError) as caught:
        refuse_credentials(f"{scheme}://{login}@{host}{path}")
    assert user not in str(caught.value)


def is_refused(address: str) -> bool:
    try:
        refuse_credentials(address)
    except NightjarError:
        return True
    return False


@given(SCHEMES, HOSTS, st.none() | st.integers(1, 65535), PATHS)
def test_other_addresses_pass(scheme: str, host: str, port: int | None, path: str) -> None:
    address = f"{scheme}://{host}{'' if port is None else f':{port}'}{path}"
    assert not is_refused(address)
    assert is_refused(address.replace("://", "://me:you@", 1)), "the same address with credentials"


@pytest.mark.parametrize(
    "address",
    [
        "/videos/me:you@home",
        "videos",
        "./a@b",
        "s3://bucket/a@b:c",
        "http://[::1]:4200/api",
        "http://[::1]",
        "https://h/?q=a@b",
    ],
)
def test_similar_texts_are_not_taken_for_credentials(address: str) -> None:
    assert not is_refused(address)


@pytest.mark.parametrize("address", ["s3://AKIA:wJalr/XUtn+FEMI@bucket/x", "https://me:pa/ss@host/model.json"])
def test_a_password_with_a_slash_is_found(address: str) -> None:
    with pytest.raises(NightjarError, match="contains a user name or a password"):
        refuse_credentials(address)


def test_archives_and_sources_are_checked(tmp_path: Path) -> None:
    for location in ("s3://key:hunter2@bucket/x", "https://me:hunter2@host/x", "file://me:hunter2@host/x"):
        with pytest.raises(NightjarError) as caught:
            parse_place(location)
        assert "hunter2" not in str(caught.value)
    with pytest.raises(NightjarError) as caught:
        fetch_url("https://me:hunter2@host/model.json", tmp_path, lambda done, total: None)
    assert "hunter2" not in str(caught.value)
    assert not isinstance(caught.value, FetchError)
