"""What the heads of requests say: parameters, addresses, preferences."""

import re

from starlette.requests import Request

from unpaired.serving.front.problems import HttpProblem

__all__ = ["client_of", "parameter", "preferred_wait"]


def parameter(request: Request, name: str) -> str | None:
    """A parameter of the query, or None.

    Raises:
        HttpProblem: it is given more than once.
    """
    given = request.query_params.getlist(name)
    if len(given) > 1:
        raise HttpProblem(422, f"{name} is given {len(given)} times: give it once")
    return given[0] if given else None


def client_of(request: Request) -> str:
    """The address that a request comes from."""
    return request.client.host if request.client else ""


def preferred_wait(request: Request, most: int) -> float:
    """The seconds that a client wants to wait, by its Prefer header (RFC 7240)."""
    prefer = request.headers.get("prefer", "").lower()
    if "respond-async" in prefer:
        return 0
    asked = re.search(r"wait=(\d{1,6})", prefer)
    return min(int(asked[1]), most) if asked else most
