"""The shipped nginx configuration in front of a real Prefect server, with ports, files and names for the tests."""

import base64
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from tests.deployments.running import NIGHTJAR
from tests.servers_prefect import running_prefect
from tests.servers_s3 import free_port, write_certificate

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "deployments" / "nginx" / "nightjar-edge.conf"
ADMIN, EDGE, OTHER = "admin:server-secret", "pi-4:edge-secret", "pi-5:other-secret"
MAIN = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    log_format test '$remote_user $request_method $request_uri $status $upstream_status $http_upgrade';
    access_log {folder}/access.log test;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/nightjar-edge.conf;
}}
"""


@dataclass(frozen=True)
class EdgeProxy:
    """nginx, the gate and a Prefect server.

    url: nginx', over TLS
    certificate: to trust
    server_url: Prefect's own, behind both
    gate_url: the gate's, bypassing nginx
    log: nginx', one line per request
    """

    url: str
    certificate: Path
    server_url: str
    gate_url: str
    log: Path

    def ask(self, method: str, path: str, password: str | None, **options: Any) -> httpx.Response:
        """path: after /api"""
        return _ask(_client(str(self.certificate)), f"{self.url}{path}", method, password, **options)

    def ask_server(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request as the administrator, bypassing the proxy."""
        return _ask(_client(), f"{self.server_url}{path}", method, ADMIN, **options)

    def requests(self) -> list[tuple[str, str, int, bool]]:
        """(method, path with ids as ID, status, websocket) of all requests with the edge's credential so far."""
        found = []
        for line in self.log.read_text().splitlines():
            user, method, uri, status, _, upgrade = line.split()
            if user == EDGE.partition(":")[0]:
                found.append((method, with_ids_as_id(uri), int(status), upgrade != "-"))
        return found


def with_ids_as_id(uri: str) -> str:
    return re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", uri)


@cache
def _client(certificate: str | None = None) -> httpx.Client:
    """A client that keeps its connections: reading certificates takes 0.05 s, and a thousand requests are sent."""
    return httpx.Client(verify=certificate or True, timeout=30)


def _ask(client: httpx.Client, url: str, method: str, password: str | None, **options: Any) -> httpx.Response:
    """A busy server on SQLite may answer 503, which is retried, as Prefect's own clients do."""
    user, _, secret = (password or "").partition(":")
    auth = (user, secret) if password else None
    deadline = time.monotonic() + 10
    while (answer := client.request(method, url, auth=auth, **options)).status_code == 503:
        if time.monotonic() > deadline:
            break
        time.sleep(1)
    return answer


@contextmanager
def running_edge_proxy(folder: Path) -> Iterator[EdgeProxy]:
    """A Prefect server with a password, the gate in front of it, nginx in front of both; all end with the context."""
    database = f"sqlite+aiosqlite:///{folder}/prefect.db"
    password = {"PREFECT_SERVER_API_AUTH_STRING": ADMIN}
    with running_prefect(folder / "home", database, **password) as server:
        port = free_port()
        certificate, key = write_certificate(folder)
        (folder / "edge.htpasswd").write_text("".join(map(htpasswd_line, (EDGE, OTHER))))
        token = base64.b64encode(ADMIN.encode()).decode()
        (folder / "server-credential.conf").write_text(f'proxy_set_header Authorization "Basic {token}";\n')
        gate_port = free_port()
        (folder / "nightjar-edge.conf").write_text(filled_in(folder, port, gate_port, certificate, key))
        user = (
            "user root;" if os.getuid() == 0 else ""
        )  # otherwise its workers are "nobody", who cannot read the folder
        (folder / "nginx.conf").write_text(user + MAIN.format(folder=folder))
        (folder / "access.log").touch()
        gate = start_gate(gate_port, server.port, folder)
        process = start_nginx(folder)
        try:
            gate_url = f"http://127.0.0.1:{gate_port}/api"
            proxy = EdgeProxy(
                f"https://127.0.0.1:{port}/api", certificate, server.api_url, gate_url, folder / "access.log"
            )
            await_proxy(proxy, process, folder)
            yield proxy
        finally:
            for each in (process, gate):
                each.terminate()
                each.wait(20)


def filled_in(folder: Path, port: int, gate_port: int, certificate: Path, key: Path) -> str:
    """The shipped file, in which only the values are filled in that its own comments name."""
    text = SHIPPED.read_text()
    for old, new in {
        "listen 4443 ssl": f"listen 127.0.0.1:{port} ssl",
        "http://127.0.0.1:4201": f"http://127.0.0.1:{gate_port}",
        "/etc/nginx/nightjar/server.pem": str(certificate),
        "/etc/nginx/nightjar/server.key": str(key),
        "/etc/nginx/nightjar/edge.htpasswd;": f"{folder}/edge.htpasswd;",
        "/etc/nginx/nightjar/server-credential.conf;": f"{folder}/server-credential.conf;",
        "rate=50r/s": "rate=9999r/s",
    }.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def htpasswd_line(credential: str) -> str:
    user, _, password = credential.partition(":")
    command = ["openssl", "passwd", "-6", "-stdin"]
    hashed = subprocess.run(command, input=password, capture_output=True, text=True, check=True).stdout.strip()
    return f"{user}:{hashed}\n"


def nginx() -> str | None:
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def start_nginx(folder: Path) -> subprocess.Popen[bytes]:
    command = [str(nginx()), "-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", str(folder / "error.log")]
    return subprocess.Popen(command)


def start_gate(port: int, server_port: int, folder: Path) -> subprocess.Popen[bytes]:
    command = [NIGHTJAR, "edge-gate", "--port", str(port), "--server", f"http://127.0.0.1:{server_port}/api"]
    with (folder / "gate.log").open("wb") as log:
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)


def await_proxy(proxy: EdgeProxy, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if proxy.ask("GET", "/health", EDGE).status_code == 200:
                return
        except httpx.TransportError:
            assert process.poll() is None, (folder / "error.log").read_text()
        assert time.monotonic() < deadline, [(folder / name).read_text() for name in ("error.log", "gate.log")]
        time.sleep(0.1)
