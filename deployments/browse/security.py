"""Checks of every request, and headers of every answer.

Without a password the server listens on loopback only, and answers only to loopback names: a page elsewhere that lets
its own name point to this machine (DNS rebinding) is refused. With a password, every request must carry it. Nothing
but files of this server is loaded, run or framed.
"""

import base64
import binascii
import hmac

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.browse.context import browse_of

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
SAFE = {"GET", "HEAD"}


class Guard:
    """Middleware that refuses foreign hosts, wrong passwords and writes from other pages, and sets HEADERS."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] != "websocket":  # there are none
                await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        answer = refusal(Request(scope)) or self.app
        await answer(scope, receive, with_headers)


def refusal(request: Request) -> Response | None:
    """Return the answer to a request that may not be served; None = it may."""
    browse = browse_of(request)
    host = request.headers.get("host", "").lower()
    if browse.hosts and _without_port(host) not in browse.hosts:
        return PlainTextResponse("This server does not answer to this name.", 421)
    if browse.password is not None and not _carries(request, browse.password):
        challenge = {"WWW-Authenticate": 'Basic realm="Nightjar", charset="UTF-8"'}
        return PlainTextResponse("Give the user and password of PREFECT_SERVER_API_AUTH_STRING.", 401, challenge)
    if request.method not in SAFE and request.headers.get("origin", "") not in _own_origins(host):
        return PlainTextResponse("Another page may not change anything here.", 403)
    return None


def _without_port(host: str) -> str:
    name, separator, port = host.rpartition(":")
    return name if separator and port.isdigit() else host


def _own_origins(host: str) -> tuple[str, str]:
    return f"http://{host}", f"https://{host}"


def _carries(request: Request, password: str) -> bool:
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    try:
        given = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return False
    return scheme.lower() == "basic" and hmac.compare_digest(given, password.encode())
