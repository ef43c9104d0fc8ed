"""Gate between nginx and Prefect's API: limits requests of edge workers to the pool `edge`, and bounds them.

nginx authenticates the workers and allows routes, but cannot read a body or know the pool of a run. The gate asks
Prefect for the pool once per id and caches the answer. It has no credential of its own: it forwards the password that
nginx adds to each request, so Prefect refuses requests that bypass nginx.
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
NOT_FORWARDED = {"host", "content-length", "connection", "transfer-encoding", "accept-encoding", USER_HEADER}
RETURNED_HEADERS = {"content-type", "retry-after"}
BODY_LIMIT_BYTES = 64 << 10
LOGS_LIMIT_BYTES = 2 << 20
# A run of a few minutes sets five states of about a kilobyte, and writes some kilobytes of log lines.
BURST_BYTES, BYTES_PER_S = 2 << 20, 2 << 10
STATE_COST_BYTES = 1 << 10
MOST_WORKERS = 16
MOST_HEARTBEAT_S = 300
MOST_REMEMBERED = 100_000
# Without the states that repeat a run or pause it until a person resumes it.
STATES = {"PENDING", "RUNNING", "COMPLETED", "FAILED", "CRASHED", "CANCELLING", "CANCELLED"}

log = logging.getLogger(__name__)


class RequestRefused(Exception):
    """A refused request. status: HTTP status; detail: text for the worker's log"""

    def __init__(self, detail: str, status: int = 403, retry_after_s: int | None = None) -> None:
        super().__init__(detail)
        self.detail, self.status, self.retry_after_s = detail, status, retry_after_s

    def response(self) -> Response:
        headers = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        return JSONResponse({"detail": self.detail}, self.status, headers)


@dataclass
class Allowance:
    """Token bucket for the bytes that a credential may store: BURST_BYTES, refilled by BYTES_PER_S."""

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
class CredentialUse:
    """Activity of one credential since the start of the gate. workers: names of its workers"""

    workers: set[str] = field(default_factory=set)
    states: Allowance = field(default_factory=Allowance)
    logs: Allowance = field(default_factory=Allowance)


@dataclass(frozen=True)
class EdgeRequest:
    """One request of an edge worker. body: as received"""

    request: Request
    target: str
    id: str
    body: bytes
    use: CredentialUse

    def headers(self) -> dict[str, str]:
        return {name: value for name, value in self.request.headers.items() if name not in NOT_FORWARDED}

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


Check = Callable[["Gate", EdgeRequest], Awaitable[bytes]]
"""Returns the body to forward. Raises RequestRefused."""


class Gate:
    """Checks requests and forwards them."""

    def __init__(self, server: httpx.AsyncClient) -> None:
        self._server = server
        self._uses: dict[str, CredentialUse] = {}
        self._in_pool: dict[str, set[str]] = {"flow_runs": set(), "deployments": set(), "flows": set()}

    async def answer(self, request: Request) -> Response:
        """Return Prefect's answer, or the reason for the refusal."""
        try:
            return await self._forward(*await self._checked(request))
        except RequestRefused as refused:
            log.warning("refused %r %s: %s", request.headers.get(USER_HEADER), request.method, refused.detail)
            return refused.response()
        except httpx.TransportError as error:
            return JSONResponse({"detail": f"Prefect's server does not answer ({type(error).__name__})."}, 502)

    async def _checked(self, request: Request) -> tuple[EdgeRequest, bytes]:
        query = request.scope["query_string"]
        target = (request.scope["raw_path"] + (b"?" + query if query else b"")).decode("latin-1")
        for pattern, limit_bytes, check in ROUTES:
            if found := re.fullmatch(pattern, f"{request.method} {target}"):
                use = self._use_of(request.headers.get(USER_HEADER, ""))
                body = await _read(request, limit_bytes)
                edge_request = EdgeRequest(request, target, found.groupdict().get("id") or "", body, use)
                return edge_request, await check(self, edge_request)
        raise RequestRefused("Edge workers may not use this route.")

    def _use_of(self, user: str) -> CredentialUse:
        if len(self._uses) >= MOST_REMEMBERED:
            self._uses.clear()
        return self._uses.setdefault(user, CredentialUse())

    async def _forward(self, edge_request: EdgeRequest, body: bytes) -> Response:
        answer = await self._server.request(
            edge_request.request.method, edge_request.target, content=body, headers=edge_request.headers()
        )
        headers = {name: value for name, value in answer.headers.items() if name in RETURNED_HEADERS}
        return Response(answer.content, answer.status_code, headers)

    async def require_in_pool(self, edge_request: EdgeRequest, kind: str, ids: Iterable[str]) -> None:
        """Raise RequestRefused unless all of these belong to the pool. kind: flow_runs, deployments or flows"""
        known, wanted = self._in_pool[kind], set(map(_canonical, ids))
        if unknown := sorted(wanted - known):
            # A flow belongs to the pool if one of its deployments does.
            counted = "deployments" if kind == "flows" else kind
            filters = {kind: {"id": {"any_": unknown}}, "work_pools": {"name": {"any_": [POOL]}}}
            answer = await self._server.post(f"/api/{counted}/count", json=filters, headers=_credential(edge_request))
            if answer.status_code == 401:
                raise RequestRefused("The request has no valid Prefect password. nginx must add it.", 401)
            if not answer.is_success:
                raise RequestRefused(f"Prefect's server answered {answer.status_code}.", 503, retry_after_s=5)
            if answer.json() < len(unknown):
                raise RequestRefused(f"Not all of these {kind} belong to the pool {POOL}.")
            if len(known) >= MOST_REMEMBERED:
                known.clear()
            known.update(unknown)


def _credential(edge_request: EdgeRequest) -> dict[str, str]:
    names = ("authorization", "prefect-csrf-token", "prefect-csrf-client")
    return {name: value for name, value in edge_request.headers().items() if name in names}


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
            raise RequestRefused(f"The body has more than {limit_bytes >> 10} KB.", 413)
    return bytes(body)


async def forward_unchanged(gate: Gate, edge_request: EdgeRequest) -> bytes:
    return edge_request.body


async def check_owner(gate: Gate, edge_request: EdgeRequest, kind: str) -> bytes:
    await gate.require_in_pool(edge_request, kind, [edge_request.id])
    return edge_request.body


async def check_state(gate: Gate, edge_request: EdgeRequest) -> bytes:
    """Check a state of a run of the pool, and rebuild the body from the checked values."""
    document = edge_request.document()
    state = document.get("state")
    kind = state.get("type") if isinstance(state, dict) else None
    if not isinstance(kind, str) or kind not in STATES:
        raise RequestRefused(f"A worker may set only the states {', '.join(sorted(STATES))}.")
    await gate.require_in_pool(edge_request, "flow_runs", [edge_request.id])
    _charge(edge_request)
    return json.dumps({name: document[name] for name in ("state", "force") if name in document}).encode()


async def check_labels(gate: Gate, edge_request: EdgeRequest) -> bytes:
    await gate.require_in_pool(edge_request, "flow_runs", [edge_request.id])
    _charge(edge_request)
    return edge_request.body


def _charge(edge_request: EdgeRequest) -> None:
    if not edge_request.use.states.take(max(STATE_COST_BYTES, len(edge_request.body))):
        raise RequestRefused("This credential has set too many states and labels.", 429, retry_after_s=30)


async def check_filter(gate: Gate, edge_request: EdgeRequest) -> bytes:
    """Restrict the filter to the pool's runs."""
    return json.dumps({**edge_request.document(), "work_pools": {"name": {"any_": [POOL]}}}).encode()


async def check_heartbeat(gate: Gate, edge_request: EdgeRequest) -> bytes:
    """Accept heartbeats of a bounded number of names per credential, each with a bounded interval."""
    document, workers = edge_request.document(), edge_request.use.workers
    name, interval_s = document.get("name"), document.get("heartbeat_interval_seconds")
    if not (isinstance(name, str) and 0 < len(name) <= 200 and name.isprintable()):
        raise RequestRefused("A worker's name must have 1 to 200 printable characters.", 422)
    if interval_s is not None and not (isinstance(interval_s, int | float) and 0 < interval_s <= MOST_HEARTBEAT_S):
        raise RequestRefused(f"The heartbeat interval must be at most {MOST_HEARTBEAT_S} s.", 422)
    if name not in workers and len(workers) >= MOST_WORKERS:
        raise RequestRefused(f"One credential may have {MOST_WORKERS} workers. Give each machine its own credential.")
    workers.add(name)
    return json.dumps({"name": name, "heartbeat_interval_seconds": interval_s}).encode()


async def check_logs(gate: Gate, edge_request: EdgeRequest) -> bytes:
    """Check log lines of runs of the pool. Lines beyond the allowance are dropped, and the run continues.

    Task run ids are removed: edge runs have no task runs, so an id would belong to another pool.
    """
    lines = _parsed(edge_request.body)
    if not isinstance(lines, list) or not all(isinstance(line, dict) for line in lines):
        raise RequestRefused("Log lines must be a JSON list of objects.", 422)
    await gate.require_in_pool(edge_request, "flow_runs", {line.get("flow_run_id") or "" for line in lines})
    if not edge_request.use.logs.take(len(edge_request.body)):
        log.warning("dropped %s log lines of %r", len(lines), edge_request.request.headers.get(USER_HEADER))
        return b"[]"
    return json.dumps([{**line, "task_run_id": None} for line in lines]).encode()


_ID = "(?P<id>[0-9a-f-]{36})"
# "METHOD target", limit of the body, check. nginx' file has the same list.
ROUTES: tuple[tuple[str, int, Check], ...] = (
    ("GET /api/health", 0, forward_unchanged),
    ("GET /api/admin/version", 0, forward_unchanged),
    ("GET /api/admin/storage", 0, forward_unchanged),
    (r"GET /api/csrf-token\?client=[0-9a-f-]{36}", 0, forward_unchanged),
    (f"GET /api/work_pools/{POOL}", 0, forward_unchanged),
    (f"POST /api/work_pools/{POOL}/queues/filter", BODY_LIMIT_BYTES, forward_unchanged),
    (f"POST /api/work_pools/{POOL}/get_scheduled_flow_runs", BODY_LIMIT_BYTES, forward_unchanged),
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
