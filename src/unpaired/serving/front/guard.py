"""What every request passes: host, origin, token; and the headers that every response has."""

import asyncio
import hashlib
import hmac
import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unpaired.console import log
from unpaired.serving.front.metrics import Metrics
from unpaired.serving.front.problems import HttpProblem, problem_response

__all__ = ["Access", "Guard", "on_error", "on_gone", "on_http_error", "on_problem"]

_GONE = 499  # a status of nginx: the client has hung up
_SEND_SECONDS = 30.0  # in which a client has to take a part of a response
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; media-src 'self' blob:; manifest-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
_ENCODED = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]
_CORS = {
    "Access-Control-Allow-Methods": "GET, POST, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "authorization, content-type, prefer",
    "Access-Control-Expose-Headers": "location, retry-after, x-model, x-warning",
    "Access-Control-Max-Age": "600",
}


@dataclass(frozen=True)
class Access:
    """Who may ask: host names, origins of other pages, and the token, if there is one."""

    hosts: frozenset[str]
    any_address: bool
    origins: frozenset[str] = frozenset()
    token: str = ""

    def allows_host(self, host: str) -> bool:
        """Whether a request may name this host: against pages that rebind their own name.

        An address in digits cannot be rebound.
        """
        name = _host_of(f"//{host}")
        if name in self.hosts:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return self.any_address or address.is_loopback

    def allows_token(self, header: str) -> bool:
        """Whether an Authorization header has the token; compared in constant time."""
        kind, _, given = header.partition(" ")
        both = (hashlib.sha256(t.encode()).digest() for t in (given.strip(), self.token))
        return hmac.compare_digest(*both) and kind.lower() == "bearer"


@dataclass(frozen=True)
class Guard:
    """An ASGI application around another one."""

    app: ASGIApp
    access: Access
    metrics: Metrics
    route_of: Callable[[Scope], str]
    admit: Callable[[Request], None]
    """Raises HttpProblem for a request that there is no room for, before it goes any further."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        began, status, whole = time.monotonic(), 0, False
        request = Request(scope, receive)
        cors = self._cors(request)

        async def guarded(message: Message) -> None:
            nonlocal status, whole
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {name.lower() for name, _ in message["headers"]}
                further = [(k.lower().encode(), v.encode()) for k, v in cors.items()] + _ENCODED
                message["headers"] += [pair for pair in further if pair[0] not in present]
            async with asyncio.timeout(_SEND_SECONDS):
                await send(message)
            whole = message["type"] == "http.response.body" and not message.get("more_body")

        try:
            response = self._answer(request, cors)
            if response is None:
                await self.app(scope, receive, guarded)
            else:
                await response(scope, receive, guarded)
        except HttpProblem as problem:
            await problem_response(problem)(scope, receive, guarded)
        except Exception as error:
            if isinstance(error, TimeoutError) and status:
                log.debug("a client did not take its response")
            else:
                log.error("a request failed", exc_info=error)
            if not status:
                bug = HttpProblem(500, "the server failed: see its log")
                await problem_response(bug)(scope, receive, guarded)
            elif not whole:  # the connection is closed
                raise
        finally:
            route = self.route_of(scope)
            self.metrics.requests.labels(route=route, status=str(status)).inc()
            self.metrics.latency.labels(route=route).observe(time.monotonic() - began)

    def _answer(self, request: Request, cors: dict[str, str]) -> Response | None:
        """The answer to a request that goes no further; None for one that does.

        Raises:
            HttpProblem: it is rejected.
        """
        headers, access = request.headers, self.access
        if "content-length" in headers and "transfer-encoding" in headers:
            raise HttpProblem(  # where a proxy believes the one and we the other, one becomes two
                400,
                "a body has a length or is chunked, not both",
                headers={"Connection": "close"},
            )
        if not access.allows_host(headers.get("host", "")):
            raise HttpProblem(403, "this host name is not served here: see --allow-host")
        origin = headers.get("origin")
        if origin is not None and not cors and not _same(origin, headers):
            raise HttpProblem(403, "pages of other origins are not served: see --allow-origin")
        site = headers.get("sec-fetch-site", "none")
        by_page = origin is None and site not in ("none", "same-origin")
        if by_page and request.method not in ("GET", "HEAD"):
            raise HttpProblem(403, "pages of other origins are not served: see --allow-origin")
        if cors and request.method == "OPTIONS":
            return Response(status_code=204)
        is_closed = access.token and request.scope["path"].startswith("/v1/")
        if is_closed and not access.allows_token(headers.get("authorization", "")):
            raise HttpProblem(
                401,
                "the token is missing or wrong: send Authorization: Bearer TOKEN",
                headers={"WWW-Authenticate": "Bearer"},
            )
        self.admit(request)
        return None

    def _cors(self, request: Request) -> dict[str, str]:
        origin = request.headers.get("origin")
        if origin is None or origin not in self.access.origins:
            return {}
        allowed = {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}
        return _CORS | allowed | {"Cross-Origin-Resource-Policy": "cross-origin"}


def _host_of(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _same(origin: str, headers: Headers) -> bool:
    return origin.partition("://")[2] == headers.get("host", "")


async def on_http_error(request: Request, error: Exception) -> Response:
    """The problem for an error of the router: no such page, no such method."""
    assert isinstance(error, HTTPException)
    detail = {404: "no such page", 405: "not with this method"}.get(error.status_code, error.detail)
    headers = dict(error.headers or {})
    return problem_response(HttpProblem(error.status_code, detail, headers=headers))


async def on_problem(request: Request, error: Exception) -> Response:
    """The response to a request that a route rejects."""
    assert isinstance(error, HttpProblem)
    return problem_response(error)


async def on_gone(request: Request, error: Exception) -> Response:
    """What nobody gets, and the metrics count."""
    return Response(status_code=_GONE)


async def on_error(request: Request, error: Exception) -> Response:
    """The response to a request that finds a bug, which the guard logs."""
    return problem_response(HttpProblem(500, "the server failed: see its log"))
