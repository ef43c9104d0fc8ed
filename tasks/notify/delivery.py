"""Delivery of one message to one address by Apprise, restricted. The only importer of Apprise.

Apprise's log lines contain parts of addresses. They are collected here, and only a reason in our own words leaves this
module.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks.notify.addresses import Address

if TYPE_CHECKING:
    from apprise import NotifyBase

# Plugins that run programs of this machine, or show the message on its screen: nobody sits in front of it at night.
LOCAL_PLUGINS = frozenset({"blink1", "dbus", "glib", "gnome", "macosx", "syslog", "windows"})
HTTP_STATUS = re.compile(r"\berror[= ]+(\d{3})\b")
UNREACHABLE = ("onnection", "ocket", "imed out", "timeout", "resolve")
WITH_KEY_HEADER = frozenset({"custom_form", "custom_json", "custom_xml"})
MAIL = "apprise.plugins.email.base"
# Together below SEND_S. Apprise gives up after 4 s each; a slow receiver would then get the message a second time.
CONNECT_S, READ_S = 8.0, 10.0
LOGGERS = ("apprise", "urllib3", "urllib3.connectionpool")


@dataclass(frozen=True)
class Outgoing:
    """A message as it is sent.

    key: equal whenever this message is sent to this address again, for receivers that drop repetitions
    severity: info, warning or critical; picture: JPEG, empty without one
    """

    key: str
    title: str
    text: str
    severity: str = "info"
    picture: bytes = b""


def deliver(address: Address, message: Outgoing) -> str | None:
    """Send a message. Returns None if it was accepted, otherwise the reason without any part of the address."""
    with _collected_log() as lines:
        try:
            plugin = _plugin(address)
            if isinstance(plugin, str):
                return plugin
            return None if _notify(plugin, message) else _reason(lines)
        except Exception as error:  # its text may contain the address
            return f"its service could not be used ({type(error).__name__})"


@contextmanager
def _collected_log() -> Iterator[list[str]]:
    """Collect the log lines of Apprise and its HTTP library, and let none of them pass to other handlers."""
    lines: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.handlers, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [handler], False
    try:
        yield lines
    finally:
        for logger, (handlers, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate


def _plugin(address: Address) -> "NotifyBase | str":
    """Return the service of an address, or the reason why there is none."""
    from apprise import Apprise, AppriseAsset
    from apprise.manager_plugins import NotificationManager

    known: Any = NotificationManager()  # type: ignore[no-untyped-call]
    if address.scheme not in known:
        return f"{address.scheme}:// is no scheme of Apprise. Correct NIGHTJAR_NOTIFY_URLS."
    if _module_of(known[address.scheme]) in LOCAL_PLUGINS:
        return f"{address.scheme}:// shows messages on this machine only. Choose a service that reaches people."
    # Nothing is kept on disk, and no redirect carries the password to another host.
    asset: Any = AppriseAsset(
        app_id="Nightjar", app_desc="Nightjar", async_mode=False, http_redirects=False, storage_mode="memory"
    )
    found = Apprise.instantiate(address.url.get_secret_value(), asset=asset)
    if found is None:
        return f"it is not a complete address of {address.scheme}://. Correct NIGHTJAR_NOTIFY_URLS."
    return found


def _module_of(plugin: object) -> str:
    """Return the name of the plugin's module below apprise.plugins."""
    return str(getattr(plugin, "__module__", "")).removeprefix("apprise.plugins.").partition(".")[0]


def _notify(plugin: "NotifyBase", message: Outgoing) -> bool:
    from apprise import Apprise, AppriseAttachment, NotifyFormat, NotifyType
    from apprise.attachment.memory import AttachMemory
    from apprise.common import OverflowMode

    _set_key(plugin, message.key)
    plugin.socket_connect_timeout = max(plugin.socket_connect_timeout, CONNECT_S)
    plugin.socket_read_timeout = max(plugin.socket_read_timeout, READ_S)
    plugin.overflow_mode = OverflowMode.TRUNCATE  # else a service with a limit refuses the message
    attach = None
    if message.picture and plugin.attachment_support:
        peak = AttachMemory(message.picture, name="peak.jpg", mimetype="image/jpeg")  # type: ignore[no-untyped-call]
        attach = AppriseAttachment([peak])
    types = {"info": NotifyType.INFO, "warning": NotifyType.WARNING, "critical": NotifyType.FAILURE}
    sender = Apprise(asset=plugin.asset)
    sender.add(plugin)
    accepted = sender.notify(
        message.text,
        title=message.title,
        notify_type=types[message.severity],
        body_format=NotifyFormat.TEXT,
        attach=attach,
    )
    return bool(accepted)


def _set_key(plugin: Any, key: str) -> None:
    """Give the message a name that a repeated message keeps, as Message-ID of a mail or header of an HTTP request."""
    import sys

    if type(plugin).__module__ == MAIL:
        sys.modules[MAIL].make_msgid = (  # type: ignore[attr-defined] # which has no parameter for it
            lambda idstring=None, domain=None: f"<{key}@{domain or 'nightjar.invalid'}>"
        )
    elif _module_of(type(plugin)) in WITH_KEY_HEADER:
        plugin.headers = {"Idempotency-Key": key, **plugin.headers}


def _reason(lines: list[str]) -> str:
    """Return the reason of a failure in our words: Apprise's own contain hosts, users and tokens."""
    for line in reversed(lines):
        if found := HTTP_STATUS.search(line):
            return f"it answered with the HTTP status {found[1]}"
        if any(word in line for word in UNREACHABLE):
            return "it did not answer, or refused the connection or the user"
    return "it did not accept the message"
