"""The description of a server's interface (OpenAPI 3.1), as `/openapi.json` has it."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from unpaired.serving.limits import ServeLimits

__all__ = ["describe"]

Schema = dict[str, Any]

_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_STATE = {"enum": ["waiting", "running", "done", "failed", "cancelled"]}
_JOB_ID = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
_WHY = {
    400: "The request has no body, a body of two lengths, or is no HTTP.",
    401: "The token is missing or wrong.",
    403: "The host name or the origin is not served.",
    404: "No such page, job, model or sample.",
    408: "The body came too slowly.",
    409: "The job or the image has not ended, or has no result.",
    413: "Over a limit; `limit` names it.",
    415: "Not an image of a format that is read, or a form where none is taken.",
    422: "A parameter, or an image that cannot be translated.",
    429: "Too many jobs wait, or too many of this address are unfinished.",
    500: "A bug, or an image with which a worker died.",
    503: "The server has no room or no worker, or is ending.",
}
_LATER = {"Retry-After": {"schema": {"type": "integer", "minimum": 1}}}


def describe(
    limits: ServeLimits,
    models: Mapping[str, Any],
    formats: Mapping[str, Sequence[str]],
    token: bool,
) -> Schema:
    """The description of a server of `models`, as its workers told of them."""
    names = list(models)
    domains = {
        each
        for facts in models.values()
        for direction in facts["directions"]
        for each in (direction["to"], direction["id"][1])
    }
    to = {"enum": sorted(domains)} if domains else _TEXT
    common = [
        _query("to", to, "The domain to translate to: its name, or a or b.", required=True),
        _query(
            "model",
            {"enum": names} if names else _TEXT,
            "The model; there may be only one.",
            required=len(names) > 1,
        ),
        _query("format", {"enum": list(formats["output"])}, "File format of the results."),
    ]
    image = {"content": {"image/*": {}, "application/octet-stream": {}}, "required": True}
    several: Schema = {"multipart/form-data": {"schema": _LIST}, "application/zip": {}}
    either = {"content": several | image["content"], "required": True}  # type: ignore[operator]
    prefer = {
        "name": "Prefer",
        "in": "header",
        "schema": _TEXT,
        "description": "`respond-async` gives a job at once, `wait=SECONDS` after some time.",
    }
    accepting = (400, 403, 408, 413, 415, 422, 429, 500, 503)
    job_id = _path("id", _JOB_ID)
    paths: Schema = {
        "/v1/translate": {
            "post": {
                "operationId": "translate",
                "summary": "Translate one image; its bytes are the body.",
                "parameters": [*common, prefer],
                "requestBody": image,
                "responses": {
                    "200": _image("The translation."),
                    "202": _accepted(f"It takes longer than {limits.wait_seconds} s: a job."),
                    **_problems(*accepting),
                },
            }
        },
        "/v1/jobs": {
            "post": {
                "operationId": "createJob",
                "summary": "Translate the images of a zip file or a list, or one, without waiting.",
                "parameters": [
                    *common,
                    _query("name", _TEXT, "The name of the one image."),
                ],
                "requestBody": either,
                "responses": {"202": _accepted("The job."), **_problems(*accepting)},
            }
        },
        "/v1/jobs/{id}": {
            "parameters": [job_id],
            "get": {
                "operationId": "getJob",
                "summary": "How far a job is.",
                "responses": {"200": _json("Job", "The job."), **_problems(403, 404)},
            },
            "delete": {
                "operationId": "deleteJob",
                "summary": "Cancel a job and remove its results.",
                "responses": {"204": {"description": "It is removed."}, **_problems(403, 404)},
            },
        },
        "/v1/jobs/{id}/events": {
            "parameters": [job_id],
            "get": {
                "operationId": "watchJob",
                "summary": "The job at each change, until it ends, as server-sent events.",
                "responses": {
                    "200": {
                        "description": "Events whose data is a Job.",
                        "content": {"text/event-stream": {"schema": _TEXT}},
                    },
                    **_problems(403, 404),
                },
            },
        },
        "/v1/jobs/{id}/result": {
            "parameters": [job_id],
            "get": {
                "operationId": "getResult",
                "summary": "The translation, or a zip file of several.",
                "parameters": [_query("image", _COUNT, "One image of the job, from 0.")],
                "responses": {
                    "200": _image("The result.", zips=True),
                    **_problems(403, 404, 409, 413, 415, 422, 500, 503),
                },
            },
        },
        "/v1/models": {
            "get": {
                "operationId": "listModels",
                "summary": "The models, their domains, and all limits.",
                "responses": {"200": _json("Models", "The models."), **_problems(403)},
            }
        },
        "/v1/models/{name}/samples/{number}": {
            "parameters": [_path("name", _TEXT), _path("number", _COUNT)],
            "get": {
                "operationId": "getSample",
                "summary": "A contact sheet of the training's progress.",
                "responses": {
                    "200": {"description": "A PNG image.", "content": {"image/png": {}}},
                    **_problems(403, 404),
                },
            },
        },
        "/healthz": {"get": _plain("health", "Whether the server answers.", "Status")},
        "/readyz": {"get": _plain("ready", "Whether it accepts jobs.", "Status", 503)},
        "/openapi.json": {"get": _plain("describe", "This description.", "Description")},
        "/metrics": {
            "get": {
                "operationId": "metrics",
                "summary": "The metrics, for Prometheus.",
                "responses": {
                    "200": {
                        "description": "Text.",
                        "content": {"text/plain": {"schema": _TEXT}},
                    },
                    **_problems(403),
                },
            }
        },
    }
    if token:
        for path, operations in paths.items():
            if path.startswith("/v1/"):
                for method in {"get", "post", "delete"} & set(operations):
                    operations[method]["responses"] |= _problems(401)
                    operations[method]["security"] = [{"token": []}]
    schemes = {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}} if token else {}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "unpaired",
            "version": version("unpaired"),
            "description": "Unpaired image-to-image translation. ServeLimits are in /v1/models.",
        },
        "paths": paths,
        "components": {"schemas": _SCHEMAS, **schemes},
    }


_LIST: Schema = {
    "type": "object",
    "properties": {
        "image": {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "minItems": 1,
            "description": "One part an image, with its file name.",
        }
    },
    "required": ["image"],
    "additionalProperties": False,
}


def _query(name: str, schema: Schema, about: str, *, required: bool = False) -> Schema:
    return {
        "name": name,
        "in": "query",
        "required": required,
        "schema": schema,
        "description": about,
    }


def _path(name: str, schema: Schema) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(name: str, about: str) -> Schema:
    return {"description": about, "content": {"application/json": {"schema": _ref(name)}}}


def _image(about: str, *, zips: bool = False) -> Schema:
    headers = {"X-Model": {"schema": _TEXT}, "X-Warning": {"schema": _TEXT}}
    kinds = ["jpeg", "png", "webp", "bmp", "tiff", "avif", "jp2"]
    content: Schema = {f"image/{kind}": {} for kind in kinds}
    if zips:
        content["application/zip"] = {}
    return {"description": about, "headers": headers, "content": content}


def _accepted(about: str) -> Schema:
    headers = {"Location": {"schema": _TEXT, "description": "The address of the job."}}
    return _json("Job", about) | {"headers": headers}


def _problems(*statuses: int) -> Schema:
    return {
        str(status): {
            "description": _WHY[status],
            "content": {"application/problem+json": {"schema": _ref("Problem")}},
            **({"headers": _LATER} if status in (429, 503) else {}),
        }
        for status in statuses
    }


def _plain(operation: str, about: str, name: str, *statuses: int) -> Schema:
    responses = {"200": _json(name, about), **_problems(403, *statuses)}
    return {"operationId": operation, "summary": about, "responses": responses}


def _object(*optional: str, **properties: Schema) -> Schema:
    required = sorted(set(properties) - set(optional))
    return {"type": "object", "properties": properties, "required": required}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


_SCHEMAS: Schema = {
    "Problem": _object(
        "limit",
        type=_TEXT,
        title=_TEXT,
        status={"type": "integer"},
        detail=_TEXT,
        limit=_object(name=_TEXT, value={"type": "integer"}),
    ),
    "Job": _object(
        id=_JOB_ID,
        state=_STATE,
        model=_TEXT,
        to=_TEXT,
        position=_or_null(_COUNT),
        seconds_left=_or_null({"type": "number", "minimum": 0}),
        done=_COUNT,
        total=_COUNT,
        images={
            "type": "array",
            "items": _object(
                name=_TEXT, state=_STATE, error=_or_null(_TEXT), warning=_or_null(_TEXT)
            ),
        },
        error=_or_null(_TEXT),
        result=_or_null(_TEXT),
        expires=_or_null(_COUNT),
    ),
    "Models": _object(
        models={
            "type": "array",
            "items": _object(
                name=_TEXT,
                domains={"type": "object"},
                directions={"type": "array", "items": {"type": "object"}},
                size=_COUNT,
                step=_COUNT,
                samples={"type": "array", "items": _TEXT},
            ),
        },
        formats={"type": "object"},
        limits={"type": "object", "additionalProperties": _COUNT},
        metadata=_TEXT,
        token={"type": "boolean"},
        version=_TEXT,
    ),
    "Status": _object(status=_TEXT),
    "Description": {"type": "object"},
}
