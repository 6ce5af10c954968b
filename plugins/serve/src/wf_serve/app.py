"""The web application and its paths."""

from __future__ import annotations

import json
import logging
import math
import platform
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pydantic
import torch
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException

from wf import __version__
from wf.blame import FAILURES
from wf.errors import WfError
from wf_base.tree import Tree
from wf_run.bundle.folder import BundleFolder, path_of
from wf_run.directory.rundir import RunDirectory
from wf_serve.batching import Batcher
from wf_serve.limits import Limits
from wf_serve.logging import OneLine
from wf_serve.page import page
from wf_serve.records import Answers, adapter_of, described, is_image, with_images

_LOG = logging.getLogger("wf")
SHOWN = 20
"""The maximum number of reported problems of a request."""


class RequestError(Exception):
    """A request that is refused.

    Args:
        status: The HTTP status.
        detail: The problem: a text, or a list of ``loc`` and ``msg`` as in FastAPI.
    """

    def __init__(self, status: int, detail: Any) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


def about(trained: Any, place: str) -> dict[str, Any]:
    """The description of the model at ``/``: its name, schema, figures and versions."""
    bundle = path_of(place)
    if bundle is not None:
        manifest = BundleFolder.find(place)
        assert manifest is not None
        said = manifest.manifest
        name, figures, made_with = said["name"], said["training"]["metrics"], said.get("versions", {})
    else:
        directory = RunDirectory.open(place)
        said = directory.manifest
        name, figures, made_with = directory.path.name, said.get("metrics", {}), said.get("versions", {})
    return {
        "name": name,
        "model": trained.plan["model"]["use"],
        "task": trained.schema["outputs"]["task"],
        "inputs": trained.schema["inputs"],
        "outputs": trained.schema["outputs"],
        "figures": _finite(figures),
        "made_with": made_with,
        "served_with": {"wf": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }


def make_app(trained: Any, said: Mapping[str, Any], limits: Limits) -> Any:
    """The application.

    Args:
        trained: The model, see `wf_run.using.trained.Trained`.
        said: The result of `about`.
        limits: The limits on requests.
    """
    batcher = Batcher(lambda inputs: _finite(trained.answers(trained.predict(inputs))), limits)
    columns = said["inputs"]["columns"]
    adapter = adapter_of(columns, said["inputs"]["tensor"])

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        batcher.start()
        yield
        await batcher.stop()

    app = FastAPI(
        title=f"{said['name']}: {said['model']}",
        version=__version__,
        description=f"A {said['task'] or 'trained'} model of wf. Inputs are raw, as in its training data.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages load their scripts from a public server
        redoc_url=None,
    )
    docs = page(said, limits)

    @app.get("/", summary="What is served")
    async def root() -> dict[str, Any]:
        shown = {"max_bytes": limits.max_bytes, "max_records": limits.max_records}
        return {**said, "limits": shown, "paths": {"/predict": "POST", "/docs": "GET", "/health": "GET"}}

    @app.get("/docs", include_in_schema=False)
    async def documented() -> HTMLResponse:
        return HTMLResponse(docs)

    @app.get("/health", summary="Whether it answers")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "batches": batcher.batches}

    @app.post(
        "/predict",
        summary="Predictions for one record or several",
        response_model=Answers,
        openapi_extra=described(columns, adapter, limits),
        responses={413: {"description": "Too large"}, 400: {"description": "Not JSON"}},
    )
    async def predict(request: Request) -> JSONResponse:
        given = await _given(request, columns, adapter, limits)
        request.scope["wf.records"] = len(given)
        inputs: Tree = await batcher.prepare(lambda: _inputs(trained, given, columns))
        return JSONResponse({"predictions": await batcher.predict(inputs)})

    @app.exception_handler(RequestError)
    async def refused(_: Request, error: RequestError) -> JSONResponse:
        return JSONResponse({"detail": error.detail}, error.status)

    return OneLine(app)


def _inputs(trained: Any, given: list[Any], columns: list[Mapping[str, Any]]) -> Tree:
    """The model's raw inputs for the records of a request."""
    try:
        return trained.raw(given, "request")
    except WfError as error:
        raise RequestError(422, [{"loc": ["body"], "msg": str(error)}]) from error
    except FAILURES as error:  # numbers that do not form an array, or errors of a plugin's reader
        _LOG.warning("request refused: %s: %s", type(error).__name__, error)
        raise RequestError(
            422, [{"loc": ["body"], "msg": f"these are not valid inputs of the model: {error}"}]
        ) from error


async def _given(
    request: Request, columns: list[Mapping[str, Any]], adapter: pydantic.TypeAdapter[Any], limits: Limits
) -> list[Any]:
    """The records of a request, checked.

    Raises:
        RequestError: For a request that is too large, not JSON, or lacks a column.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    size = request.headers.get("content-length", "")
    if size.isdigit() and int(size) > limits.max_bytes:
        raise RequestError(413, f"the request has {int(size):,} bytes; {limits.max_bytes:,} are allowed (--max-bytes)")
    body = await _body(request, limits)
    if is_image(columns) and kind != "application/json":
        records = await _images(request, body, kind, limits)
    else:
        records = _rows(body, kind, adapter, columns)
    if not records:
        raise RequestError(422, [{"loc": ["body"], "msg": "there are no records in the request"}])
    if len(records) > limits.max_records:
        raise RequestError(413, f"{len(records):,} records; {limits.max_records:,} are allowed (--max-records)")
    return records


async def _body(request: Request, limits: Limits) -> bytes:
    """The body, read no further than the limit."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limits.max_bytes:
            raise RequestError(413, f"the request has more than {limits.max_bytes:,} bytes (--max-bytes)")
        parts.append(part)
    found = b"".join(parts)
    request._body = found  # so that a form can be read from it
    return found


def _rows(body: bytes, kind: str, adapter: pydantic.TypeAdapter[Any], columns: list[Mapping[str, Any]]) -> list[Any]:
    """The records of a JSON body."""
    if kind not in ("", "application/json", "application/x-www-form-urlencoded"):  # curl -d sends the last one
        raise RequestError(415, f"the request is {kind}; send JSON: Content-Type: application/json")
    try:
        found = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:  # also invalid encodings
        raise RequestError(400, f"the request is not JSON: {error}") from error
    records = found if isinstance(found, list) else [found]
    try:
        checked = adapter.validate_python(records)
    except pydantic.ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        detail = [
            {"loc": ["body", *one["loc"]], "msg": _words(one["loc"], one["type"], one["msg"]), "type": one["type"]}
            for one in problems[:SHOWN]
        ]
        if len(problems) > SHOWN:
            detail.append({"loc": ["body"], "msg": f"and {len(problems) - SHOWN:,} more", "type": "more"})
        raise RequestError(422, detail) from error
    given = [one.model_dump(by_alias=True) if isinstance(one, pydantic.BaseModel) else one for one in checked]
    if not any(column["type"] == "image" for column in columns):
        return given
    try:
        return [with_images(one, columns, number) for number, one in enumerate(given, 1)]
    except ValueError as error:
        raise RequestError(422, [{"loc": ["body"], "msg": str(error)}]) from error


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")


def _words(loc: tuple[int | str, ...], type: str, message: str) -> str:
    """The problem with a record, with its number from 1 and the column."""
    if not loc:
        return message
    record = f"record {loc[0] + 1}" if isinstance(loc[0], int) else str(loc[0])
    if len(loc) < 2:
        return f"{record}: {message}; a record is an object: {{column: value}}"
    known = {"missing": "is missing", "extra_forbidden": "is unknown: the model was not trained with it"}
    return f"{record}: column '{loc[1]}' {known[type]}" if type in known else f"{record}, column '{loc[1]}': {message}"


async def _images(request: Request, body: bytes, kind: str, limits: Limits) -> list[bytes]:
    """The images of a request: an upload of files, or one image as the body."""
    if kind.startswith("image/") or kind == "application/octet-stream":
        return [body] if body else []
    if kind != "multipart/form-data":
        raise RequestError(
            415,
            f"the request is {kind or 'of no content type'}; upload image files (curl -F files=@one.png), or send one "
            "image (Content-Type: image/png), or JSON with images in base64",
        )
    try:
        async with request.form(max_files=limits.max_records + 1) as form:
            return [await one.read() for _, one in form.multi_items() if isinstance(one, UploadFile)]
    except MultiPartException as error:
        many = "Too many files" in error.message
        raise RequestError(413 if many else 400, f"the upload cannot be read: {error.message}") from error


def _finite(value: Any) -> Any:
    """A JSON value, its numbers that are not finite as null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, (list, tuple)) else value
