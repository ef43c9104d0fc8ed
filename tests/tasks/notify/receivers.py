"""Real receivers of messages on loopback: a mail server and a web server, which keep what they accept."""

import base64
import email
import email.policy
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PASSWORD = "planted-address-password-c41d"


@dataclass
class WebReceiver:
    """Accepted requests as (path, headers, body). status: the answer to all requests from now on"""

    port: int = 0
    status: int = 200
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    def url(self, scheme: str = "json", path: str = "/night") -> str:
        return f"{scheme}://user:{PASSWORD}@127.0.0.1:{self.port}{path}"

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, _, body in self.requests]

    @property
    def keys(self) -> list[str]:
        return [headers["Idempotency-Key"] for _, headers, _ in self.requests]


@contextmanager
def web_receiver(port: int = 0) -> Iterator[WebReceiver]:
    """Run a web server that accepts POST and PUT."""
    received = WebReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if received.status == 200:
                received.requests.append((self.path, dict(self.headers), body))
            self.send_response(received.status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        do_PUT = do_POST

        def log_message(self, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server(("127.0.0.1", port), Handler) as server:
        received.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield received
        finally:
            server.shutdown()


@dataclass
class MailReceiver:
    """Accepted mails, with the users and passwords of their senders."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"mailto://user:{PASSWORD}@127.0.0.1:{self.port}/?mode=insecure&from=night@example.org&to=me@example.org"


class MailHandler(socketserver.StreamRequestHandler):
    """The commands of RFC 5321, and PLAIN and LOGIN of RFC 4954, without encryption."""

    received: MailReceiver

    def handle(self) -> None:
        self._say("220 loopback ESMTP")
        while line := self.rfile.readline().decode().strip():
            command, _, rest = line.partition(" ")
            if not self._obey(command.upper(), rest):
                return

    def _obey(self, command: str, rest: str) -> bool:
        if command == "EHLO":
            self._say("250-loopback\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 AUTH PLAIN LOGIN")
        elif command == "AUTH":
            self._authenticate(*rest.split())
        elif command == "DATA":
            self._say("354 end with a dot")
            self._receive()
        elif command == "QUIT":
            self._say("221 bye")
            return False
        else:
            self._say("250 ok")
        return True

    def _authenticate(self, method: str, first: str = "") -> None:
        if method.upper() == "LOGIN":
            user = base64.b64decode(first or self._ask("VXNlcm5hbWU6")).decode()
            password = base64.b64decode(self._ask("UGFzc3dvcmQ6")).decode()
        else:
            _, user, password = base64.b64decode(first or self._ask("")).decode().split("\0")
        self.received.logins.append((user, password))
        self._say("235 ok")

    def _ask(self, text: str) -> bytes:
        self._say(f"334 {text}")
        return self.rfile.readline().strip()

    def _receive(self) -> None:
        lines: list[bytes] = []
        while (line := self.rfile.readline()) != b".\r\n":
            lines.append(line[1:] if line.startswith(b"..") else line)
        self.received.mails.append(email.message_from_bytes(b"".join(lines), policy=email.policy.default))
        self._say("250 accepted")

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


class MailServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


@contextmanager
def mail_receiver() -> Iterator[MailReceiver]:
    """Run a mail server."""
    received = MailReceiver()
    with MailServer(("127.0.0.1", 0), type("Handler", (MailHandler,), {"received": received})) as server:
        received.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield received
        finally:
            server.shutdown()
