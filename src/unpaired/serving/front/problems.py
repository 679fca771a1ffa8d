"""Errors as clients get them: `application/problem+json` (RFC 9457), one line each."""

import math
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse, Response

__all__ = ["HttpProblem", "problem_response"]


class HttpProblem(Exception):
    """A request that is rejected: its status, one line, and what else a client may need.

    `limit` is the name of a limit as `/v1/models` tells it, with its value. `retry_after` are
    seconds, rounded up.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        limit: tuple[str, int] | None = None,
        retry_after: float | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.limit = status, detail, limit
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = str(max(math.ceil(retry_after), 1))


def problem_response(problem: HttpProblem) -> Response:
    """The response that tells of a problem."""
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
    }
    if problem.limit:
        content["limit"] = {"name": problem.limit[0], "value": problem.limit[1]}
    return JSONResponse(
        content,
        status_code=problem.status,
        headers=problem.headers,
        media_type="application/problem+json",
    )
