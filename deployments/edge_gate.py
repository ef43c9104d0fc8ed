"""The gate between nginx and Prefect's API: what an edge credential asks for is about the pool `edge`, and bounded.

nginx knows who asks and which routes there are; it cannot look into a body, nor know which pool a run belongs to. The
gate asks Prefect that once per id and remembers it. It has no credential of its own: it hands on the one that nginx
puts into each request, so that whoever reaches it past nginx meets Prefect's own question for a password.
"""

import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

import httpx
import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tasks.text.log_lines import keep_log_lines_whole

POOL = "edge"
USER_HEADER = "x-nightjar-edge"
NOT_HANDED_ON = {"host", "content-length", "connection", "transfer-encoding", "accept-encoding", USER_HEADER}
HANDED_BACK = {"content-type", "retry-after"}
BODY_LIMIT_BYTES = 64 << 10
LOGS_LIMIT_BYTES = 2 << 20
# A run of a few minutes sets five states of about a kilobyte, and writes some kilobytes of log lines.
BURST_BYTES, BYTES_PER_S = 2 << 20, 2 << 10
STATE_COST_BYTES = 1 << 10
MOST_WORKERS = 16
MOST_HEARTBEAT_S = 300
MOST_REMEMBERED = 100_000
# None that has a run done again, or makes a worker wait for a person.
STATES = {"PENDING", "RUNNING", "COMPLETED", "FAILED", "CRASHED", "CANCELLING", "CANCELLED"}

log = logging.getLogger(__name__)


class RequestRefused(Exception):
    """A request that is answered here. status: of HTTP; detail: for the worker's log"""

    def __init__(self, detail: str, status: int = 403, retry_after_s: int | None = None) -> None:
        super().__init__(detail)
        self.detail, self.status, self.retry_after_s = detail, status, retry_after_s

    def response(self) -> Response:
        headers = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        return JSONResponse({"detail": self.detail}, self.status, headers)


@dataclass
class Allowance:
    """Bytes that a credential may have stored: a burst, and then so many per second."""

    left: float = BURST_BYTES
    at_s: float = field(default_factory=lambda: time.monotonic())

    def take(self, size_bytes: int) -> bool:
        now_s = time.monotonic()
        self.left = min(BURST_BYTES, self.left + (now_s - self.at_s) * BYTES_PER_S)
        self.at_s = now_s
        if size_bytes > self.left:
            return False
        self.left -= size_bytes
        return True


@dataclass
class Holder:
    """Activity of one credential since the gate was started. workers: the names that it gave to its workers"""

    workers: set[str] = field(default_factory=set)
    states: Allowance = field(default_factory=Allowance)
    logs: Allowance = field(default_factory=Allowance)


@dataclass(frozen=True)
class Asked:
    """One request. body: as it is handed on"""

    request: Request
    target: str
    id: str
    body: bytes
    holder: Holder

    def headers(self) -> dict[str, str]:
        return {name: value for name, value in self.request.headers.items() if name not in NOT_HANDED_ON}

    def document(self) -> dict[str, Any]:
        """Parse the body as a JSON object. Raises RequestRefused."""
        found = _parsed(self.body)
        if not isinstance(found, dict):
            raise RequestRefused("The body is not a JSON object.", 422)
        return found


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise RequestRefused("The body is not JSON.", 422) from None


Check = Callable[["Gate", Asked], Awaitable[bytes]]
"""Gives the body that is handed on. Raises RequestRefused."""


class Gate:
    """Checks requests and hands them on."""

    def __init__(self, server: httpx.AsyncClient) -> None:
        self._server = server
        self._holders: dict[str, Holder] = {}
        self._ours: dict[str, set[str]] = {"flow_runs": set(), "deployments": set(), "flows": set()}

    async def answer(self, request: Request) -> Response:
        """Prefect's answer, or why the request is refused."""
        try:
            return await self._hand_on(*await self._checked(request))
        except RequestRefused as refused:
            log.warning("refused %r %s: %s", request.headers.get(USER_HEADER), request.method, refused.detail)
            return refused.response()
        except httpx.TransportError as error:
            return JSONResponse({"detail": f"Prefect's server does not answer ({type(error).__name__})."}, 502)

    async def _checked(self, request: Request) -> tuple[Asked, bytes]:
        query = request.scope["query_string"]
        target = (request.scope["raw_path"] + (b"?" + query if query else b"")).decode("latin-1")
        for pattern, limit_bytes, check in ROUTES:
            if found := re.fullmatch(pattern, f"{request.method} {target}"):
                holder = self._holder(request.headers.get(USER_HEADER, ""))
                body = await _read(request, limit_bytes)
                asked = Asked(request, target, found.groupdict().get("id") or "", body, holder)
                return asked, await check(self, asked)
        raise RequestRefused("An edge worker needs no such route.")

    def _holder(self, user: str) -> Holder:
        if len(self._holders) >= MOST_REMEMBERED:
            self._holders.clear()
        return self._holders.setdefault(user, Holder())

    async def _hand_on(self, asked: Asked, body: bytes) -> Response:
        answer = await self._server.request(asked.request.method, asked.target, content=body, headers=asked.headers())
        headers = {name: value for name, value in answer.headers.items() if name in HANDED_BACK}
        return Response(answer.content, answer.status_code, headers)

    async def require_ours(self, asked: Asked, kind: str, ids: Iterable[str]) -> None:
        """Raise RequestRefused unless these runs, deployments or flows are all the pool's. kind: as in the API"""
        ours, wanted = self._ours[kind], set(map(_canonical, ids))
        if unknown := sorted(wanted - ours):
            # A flow is the pool's by its deployments.
            counted = "deployments" if kind == "flows" else kind
            filters = {kind: {"id": {"any_": unknown}}, "work_pools": {"name": {"any_": [POOL]}}}
            answer = await self._server.post(f"/api/{counted}/count", json=filters, headers=_credential(asked))
            if answer.status_code == 401:
                raise RequestRefused("The request is without Prefect's password, which nginx adds.", 401)
            if not answer.is_success:
                raise RequestRefused(f"Prefect's server failed with {answer.status_code}.", 503, retry_after_s=5)
            if answer.json() < len(unknown):
                raise RequestRefused(f"Not all of these {kind} are of the pool {POOL}.")
            if len(ours) >= MOST_REMEMBERED:
                ours.clear()
            ours.update(unknown)


def _credential(asked: Asked) -> dict[str, str]:
    names = ("authorization", "prefect-csrf-token", "prefect-csrf-client")
    return {name: value for name, value in asked.headers().items() if name in names}


def _canonical(text: str) -> str:
    try:
        return str(UUID(text))
    except (ValueError, AttributeError, TypeError):
        raise RequestRefused("An id is not a UUID.", 422) from None


async def _read(request: Request, limit_bytes: int) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > limit_bytes:
            raise RequestRefused(f"A body of more than {limit_bytes >> 10} KB.", 413)
    return bytes(body)


async def pass_on(gate: Gate, asked: Asked) -> bytes:
    return asked.body


async def check_owner(gate: Gate, asked: Asked, kind: str) -> bytes:
    await gate.require_ours(asked, kind, [asked.id])
    return asked.body


async def check_state(gate: Gate, asked: Asked) -> bytes:
    """Accept a state of the pool's own run and write it anew, so that exactly what was checked is sent."""
    document = asked.document()
    state = document.get("state")
    kind = state.get("type") if isinstance(state, dict) else None
    if not isinstance(kind, str) or kind not in STATES:
        raise RequestRefused(f"A worker sets one of the states {', '.join(sorted(STATES))}.")
    await gate.require_ours(asked, "flow_runs", [asked.id])
    _charge(asked)
    return json.dumps({name: document[name] for name in ("state", "force") if name in document}).encode()


async def check_labels(gate: Gate, asked: Asked) -> bytes:
    await gate.require_ours(asked, "flow_runs", [asked.id])
    _charge(asked)
    return asked.body


def _charge(asked: Asked) -> None:
    if not asked.holder.states.take(max(STATE_COST_BYTES, len(asked.body))):
        raise RequestRefused("Too many states and labels by this credential.", 429, retry_after_s=30)


async def check_filter(gate: Gate, asked: Asked) -> bytes:
    """Restrict the filter to the pool's runs."""
    return json.dumps({**asked.document(), "work_pools": {"name": {"any_": [POOL]}}}).encode()


async def check_heartbeat(gate: Gate, asked: Asked) -> bytes:
    """Accept heartbeats of a bounded number of names per credential, each with a bounded interval."""
    document, workers = asked.document(), asked.holder.workers
    name, interval_s = document.get("name"), document.get("heartbeat_interval_seconds")
    if not (isinstance(name, str) and 0 < len(name) <= 200 and name.isprintable()):
        raise RequestRefused("A worker's name is up to 200 printable characters.", 422)
    if interval_s is not None and not (isinstance(interval_s, int | float) and 0 < interval_s <= MOST_HEARTBEAT_S):
        raise RequestRefused(f"A heartbeat comes at least every {MOST_HEARTBEAT_S} s.", 422)
    if name not in workers and len(workers) >= MOST_WORKERS:
        raise RequestRefused(f"One credential may have {MOST_WORKERS} workers. Give each machine its own.")
    workers.add(name)
    return json.dumps({"name": name, "heartbeat_interval_seconds": interval_s}).encode()


async def check_logs(gate: Gate, asked: Asked) -> bytes:
    """Lines of the pool's own runs. What is more than a run can have to say is dropped, not refused: its work goes on.

    Without task runs, of which Prefect knows none at the edge: an id there would be of another pool's.
    """
    lines = _parsed(asked.body)
    if not isinstance(lines, list) or not all(isinstance(line, dict) for line in lines):
        raise RequestRefused("Log lines are a JSON list of objects.", 422)
    await gate.require_ours(asked, "flow_runs", {line.get("flow_run_id") or "" for line in lines})
    if not asked.holder.logs.take(len(asked.body)):
        log.warning("dropped %s log lines of %r", len(lines), asked.request.headers.get(USER_HEADER))
        return b"[]"
    return json.dumps([{**line, "task_run_id": None} for line in lines]).encode()


_ID = "(?P<id>[0-9a-f-]{36})"
# "METHOD target", what a body may have, and the check. The list in nginx' file is the same: both must agree.
ROUTES: tuple[tuple[str, int, Check], ...] = (
    ("GET /api/health", 0, pass_on),
    ("GET /api/admin/version", 0, pass_on),
    ("GET /api/admin/storage", 0, pass_on),
    (r"GET /api/csrf-token\?client=[0-9a-f-]{36}", 0, pass_on),
    (f"GET /api/work_pools/{POOL}", 0, pass_on),
    (f"POST /api/work_pools/{POOL}/queues/filter", BODY_LIMIT_BYTES, pass_on),
    (f"POST /api/work_pools/{POOL}/get_scheduled_flow_runs", BODY_LIMIT_BYTES, pass_on),
    (f"POST /api/work_pools/{POOL}/workers/heartbeat", BODY_LIMIT_BYTES, check_heartbeat),
    ("POST /api/flow_runs/filter", BODY_LIMIT_BYTES, check_filter),
    (f"GET /api/deployments/{_ID}", 0, partial(check_owner, kind="deployments")),
    (f"GET /api/flows/{_ID}", 0, partial(check_owner, kind="flows")),
    (f"GET /api/flow_runs/{_ID}", 0, partial(check_owner, kind="flow_runs")),
    (f"POST /api/flow_runs/{_ID}/set_state", BODY_LIMIT_BYTES, check_state),
    (f"PATCH /api/flow_runs/{_ID}/labels", BODY_LIMIT_BYTES, check_labels),
    ("POST /api/logs/", LOGS_LIMIT_BYTES, check_logs),
)


def make_app(server: str) -> Callable[[Any, Any, Any], Awaitable[None]]:
    """Build the gate as an ASGI application. server: Prefect's address, without /api"""
    gate = Gate(httpx.AsyncClient(base_url=server, timeout=120, trust_env=False))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        response = await gate.answer(Request(scope, receive))
        await response(scope, receive, send)

    return app


def run_edge_gate(port: int, server: str) -> None:
    """Serve on loopback until SIGTERM or Ctrl-C. server: Prefect's address, without /api"""
    keep_log_lines_whole()
    quiet: dict[str, Any] = {"log_level": "warning", "access_log": False, "server_header": False}
    uvicorn.run(make_app(server), host="127.0.0.1", port=port, lifespan="off", ws="none", **quiet)
