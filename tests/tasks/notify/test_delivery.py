"""Delivery by Apprise to a real mail server and a real web server, and what leaves it after a failure."""

import base64
import logging
from urllib.parse import unquote

import pytest
from pydantic import SecretStr

from tasks.notify.addresses import Address, read_addresses
from tasks.notify.delivery import Outgoing, deliver
from tasks.site.settings import Settings, SettingsError, read_settings
from tests.servers_postgres import free_port
from tests.tasks.notify.receivers import PASSWORD, mail_receiver, web_receiver

PICTURE = b"\xff\xd8\xff\xe0 not really a JPEG \xff\xd9"
FALL = Outgoing("0123abcd", "Critical: fall at back door", "when: 22:14\nvideo: <b>&a</b>.mp4", "critical", PICTURE)


def address(url: str) -> Address:
    return Address(1, SecretStr(url))


def test_mail_has_a_stable_name_the_text_and_the_picture() -> None:
    with mail_receiver() as server:
        assert deliver(address(server.url), FALL) is None
        assert deliver(address(server.url), FALL) is None
    first, second = server.mails
    assert first["Subject"] == FALL.title
    assert first["Message-ID"] == second["Message-ID"]
    assert "0123abcd" in first["Message-ID"]
    html = first.get_body(("html",)).get_content()
    assert "&lt;b&gt;&amp;a&lt;/b&gt;.mp4" in html.replace("<br/>", "")
    [picture] = [part for part in first.walk() if part.get_content_type() == "image/jpeg"]
    assert picture.get_payload(decode=True) == PICTURE
    assert server.logins[0] == ("user", PASSWORD)


def test_the_web_receives_the_name_the_text_and_the_picture() -> None:
    with web_receiver() as server:
        assert deliver(address(server.url()), FALL) is None
    [body] = server.bodies
    assert (body["title"], body["message"], body["type"]) == (FALL.title, FALL.text, "failure")
    assert base64.b64decode(body["attachments"][0]["base64"]) == PICTURE
    assert server.keys == ["0123abcd"]


@pytest.mark.parametrize("scheme", ["ntfy", "gotify"])
def test_chat_services_accept_it(scheme: str) -> None:
    with web_receiver() as server:
        assert deliver(address(server.url(scheme, "/topic")), FALL) is None
    [(path, _, body)] = server.requests
    assert "22:14" in unquote(path) + body.decode(errors="replace")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("windows://", "on this machine only"),
        ("dbus://", "on this machine only"),
        ("gnome://", "on this machine only"),
        ("syslog://", "on this machine only"),
        (f"nosuch://user:{PASSWORD}@host", "no scheme"),
        (f"file:///etc/{PASSWORD}", "no scheme"),
        (f"mailto://user:{PASSWORD}@", "not a complete address"),
        (f"slack://{PASSWORD}", "not a complete address"),
    ],
)
def test_refused_addresses(
    url: str, expected: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    reason = deliver(address(url), FALL)
    assert reason is not None
    assert expected in reason
    captured = capfd.readouterr()
    assert PASSWORD not in reason + captured.out + captured.err + caplog.text


@pytest.mark.parametrize(
    ("scheme", "rest"), [("json", ""), ("mailto", "?mode=insecure&from=a@b.org&to=a@b.org"), ("ntfy", "topic")]
)
def test_reasons_of_failures_contain_no_part_of_the_address(
    scheme: str, rest: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    port = free_port()
    reason = deliver(address(f"{scheme}://user:{PASSWORD}@127.0.0.1:{port}/{rest}"), FALL)
    assert reason == "it did not answer, or refused the connection or the user"
    captured = capfd.readouterr()
    said = reason + captured.out + captured.err + caplog.text
    assert PASSWORD not in said
    assert str(port) not in said


def test_a_refusal_names_the_status() -> None:
    with web_receiver() as server:
        server.status = 401
        assert deliver(address(server.url()), FALL) == "it answered with the HTTP status 401"


def test_addresses_are_split_at_spaces_and_at_commas_before_an_address() -> None:
    text = (
        "json://one.example/a,b  mailto://u:p@two.example?to=a@x.org,b@x.org,\nntfy://three.example/t,ntfys://topic, "
    )
    found = read_addresses(Settings(notify_urls=text))
    assert [each.url.get_secret_value() for each in found] == [
        "json://one.example/a,b",
        "mailto://u:p@two.example?to=a@x.org,b@x.org",
        "ntfy://three.example/t",
        "ntfys://topic",
    ]
    assert [each.number for each in found] == [1, 2, 3, 4]


def test_an_address_is_shown_by_scheme_and_hash() -> None:
    shown = f"{address(f'json://user:{PASSWORD}@host.example')} {address(f'json://user:{PASSWORD}@host.example')!r}"
    assert "json" in shown
    assert PASSWORD not in shown
    assert "host.example" not in shown


def test_a_wrong_setting_is_refused_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTJAR_NOTIFY_URLS", f"json://host user:{PASSWORD}@example.org")
    read_settings.cache_clear()
    with pytest.raises(SettingsError, match="Address 2 is not of the form") as error:
        read_settings()
    assert PASSWORD not in str(error.value)
    read_settings.cache_clear()
