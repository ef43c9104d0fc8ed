"""OpenStack Swift with its S3 API in one process: a real S3 server from a wheel, on loopback, without root.

    python swift_server.py FOLDER PORT [CERTIFICATE KEY]

The credentials are one line `account:user secret` on standard input, so that no process list shows them.
Swift is four WSGI servers (account, container, object, proxy) that find each other by ring files. Here all four are
green threads of one process, with one disk, one replica, and a dict in place of memcached.
"""

# ruff: noqa: E402  (eventlet has to patch the standard library before anything else is imported)
import eventlet

eventlet.monkey_patch()

import logging
import os
import pwd
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eventlet import wsgi
from eventlet.greenio import GreenSocket

BACKENDS = ("account", "container", "object")
FILTERS = ("catch_errors", "gatekeeper", "healthcheck", "listing_formats", "bulk", "s3api", "tempauth", "slo", "dlo")
LISTING = 20  # keys per page instead of S3's 1000, to test pagination with few objects
HASH_SALT = "[swift-hash]\nswift_hash_path_prefix = test\nswift_hash_path_suffix = test\n"
POLICY = "[storage-policy:0]\nname = one\ndefault = yes\n"


class Cache(dict[str, Any]):
    """The functions of memcached that Swift needs, in one process."""

    def get(self, key: str, raise_on_error: bool = False) -> Any:  # type: ignore[override]
        return dict.get(self, key)

    def set(self, key: str, value: Any, **_: Any) -> None:
        self[key] = value

    def incr(self, key: str, delta: int = 1, **_: Any) -> int:
        self[key] = int(dict.get(self, key) or 0) + delta
        return int(self[key])

    def delete(self, key: str, **_: Any) -> None:
        self.pop(key, None)


def listen(port: int = 0) -> socket.socket:
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", port))
    server.listen(256)
    return server


def write_rings(etc: Path, sockets: dict[str, socket.socket]) -> None:
    """Write one ring file per backend: a single device at the port on which it listens."""
    from swift.common.ring import RingBuilder

    for name in BACKENDS:
        port = sockets[name].getsockname()[1]
        place = {"ip": "127.0.0.1", "port": port, "replication_ip": "127.0.0.1", "replication_port": port}
        ring = RingBuilder(part_power=4, replicas=1, min_part_hours=0)
        ring.add_dev({"region": 1, "zone": 1, "device": "d1", "weight": 1, "meta": "", **place})
        ring.rebalance()
        ring.get_ring().save(str(etc / f"{name}.ring.gz"))


def write_configs(folder: Path, user: str, secret: str) -> dict[str, Path]:
    """Write one paste file per server, readable by its owner only: the proxy's contains the secret."""
    common = (
        f"[DEFAULT]\nswift_dir = {folder / 'etc'}\nuser = {pwd.getpwuid(os.getuid()).pw_name}\n"
        f"devices = {folder / 'disks'}\nmount_check = false\ndisable_fallocate = true\nlog_level = ERROR\n"
    )
    texts = {name: f"[pipeline:main]\npipeline = {name}-server\n{app_section(name)}" for name in BACKENDS}
    options = {
        "s3api": f"location = us-east-1\nmax_bucket_listing = {LISTING}\n",
        "tempauth": f"user_{user.replace(':', '_')} = {secret} .admin\n",
    }
    sections = "".join(f"[filter:{name}]\nuse = egg:swift#{name}\n{options.get(name, '')}" for name in FILTERS)
    pipeline = f"[pipeline:main]\npipeline = {' '.join(FILTERS)} proxy-server\n"
    texts["proxy"] = pipeline + app_section("proxy") + "account_autocreate = true\n" + sections
    files = {name: folder / "etc" / f"{name}-server.conf" for name in texts}
    for name, file in files.items():
        file.touch(mode=0o600)
        file.write_text(common + texts[name])
    return files


def app_section(name: str) -> str:
    return f"[app:{name}-server]\nuse = egg:swift#{name}\n"


def with_cache(app: Callable[..., Any]) -> Callable[..., Any]:
    cache = Cache()

    def cached(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        environ["swift.cache"] = cache
        return app(environ, start_response)

    return cached


def main(folder: Path, port: int, tls: list[str]) -> None:
    user, secret = sys.stdin.readline().split()
    etc = folder / "etc"
    etc.mkdir(parents=True)
    (folder / "disks" / "d1").mkdir(parents=True)
    (etc / "swift.conf").write_text(HASH_SALT + POLICY)
    from swift.common import utils

    utils.set_swift_dir(str(etc))  # before swift.common.wsgi reads the setting
    from swift.common.wsgi import SwiftHttpProtocol, loadapp

    sockets = {name: listen() for name in BACKENDS} | {"proxy": listen(port)}
    write_rings(etc, sockets)
    silent = logging.getLogger("silent")
    silent.addHandler(logging.NullHandler())
    silent.propagate = False
    options = {"protocol": SwiftHttpProtocol, "log_output": False, "capitalize_response_headers": False}
    for name, config in write_configs(folder, user, secret).items():
        app, server = loadapp(str(config)), GreenSocket(sockets[name])
        if name == "proxy":
            app = with_cache(app)
            server = eventlet.wrap_ssl(server, certfile=tls[0], keyfile=tls[1], server_side=True) if tls else server
        eventlet.spawn(wsgi.server, server, app, silent, **options)
    while True:
        eventlet.sleep(3600)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), int(sys.argv[2]), sys.argv[3:])
