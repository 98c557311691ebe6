"""The FastAPI application, made from the table of routes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from google.protobuf import json_format
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import ASGIApp, Receive, Scope, Send
from teletrunk import __version__
from teletrunk.errors import Refusal
from teletrunk.rest import ROUTES, Role, Route
from teletrunk.wrong_value import in_words

from teletrunk_manager.administrators import Administrators
from teletrunk_manager.api.asking import STATUS, Aborted, LocalContext
from teletrunk_manager.api.models import TEXT, model_of
from teletrunk_manager.api.repeating import Answer, Repeating
from teletrunk_manager.api.words import words
from teletrunk_manager.db.audit import asked_by
from teletrunk_manager.mistakes import Mistake

_MOST_BYTES = 64 * 1024
_LONGEST_IN_PATH = 200
_BEARER = HTTPBearer(description="A token from `teletrunk token add`.", auto_error=False)
_KEY = r"^[A-Za-z0-9_.:-]{1,128}$"


class Problem(BaseModel):
    """Every answer that is not a success, by RFC 9457. `error_id` is a row of the error contract, or empty."""

    type: str = Field(description="about:blank, or where the row is explained.")
    title: str = Field(description="What the status means.")
    status: int
    detail: str = Field(description="One line that says what to do.")
    error_id: str = ""
    error: str = Field(description="The detail again, for those who knew only that.")


PROBLEM = "application/problem+json"
_SCHEMA = {"schema": Problem.model_json_schema()}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": HTTPStatus(status).phrase, "content": {PROBLEM: _SCHEMA}}
    for status in (400, 401, 403, 404, 409, 411, 413, 422, 429, 500, 503, 504)
}


def make_app(servicers: Sequence[object], administrators: Administrators, repeating: Repeating) -> FastAPI:
    """`servicers` are the services for people; each route finds the one that has its RPC."""
    app = FastAPI(title="Teletrunk", version=__version__, docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    app.add_exception_handler(RequestValidationError, _unreadable)
    app.add_exception_handler(StarletteHTTPException, _http_problem)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(Mistake, _mistaken)
    app.add_middleware(_Sized)
    app.add_api_route("/health", _health, methods=["GET", "HEAD"], include_in_schema=False)
    for route in ROUTES:
        servicer = next(each for each in servicers if route.rpc in vars(type(each)))
        _add(app, route, getattr(servicer, route.rpc), administrators, repeating)
    return app


class _Sized:
    """A body says how long it is, and is not long: nobody fills our memory."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope.get("headers", ()))
        if b"transfer-encoding" in headers:
            await _problem(411, "send Content-Length")(scope, receive, send)
        elif int(headers.get(b"content-length", b"0")) > _MOST_BYTES:
            await _problem(413, f"send at most {_MOST_BYTES} bytes")(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _add(app: FastAPI, route: Route, method: Any, administrators: Administrators, repeating: Repeating) -> None:
    guard = Guard(route.role, administrators)
    in_path = route.fields_in_path
    in_query = route.verb in ("GET", "DELETE")
    body_model = model_of(route.request.DESCRIPTOR, query=in_query, without=in_path)

    async def answered(name: str, role_all: bool, fields: dict[str, Any]) -> Answer:
        asked_by(name, for_all=role_all)
        try:
            request = json_format.ParseDict(fields, route.request())
            answer = await method(request, LocalContext())
        except json_format.ParseError as error:
            return 422, _told(422, str(error))
        except Aborted as problem:
            return problem.status, _told(problem.status, problem.text, problem.error_id)
        shown = json_format.MessageToDict(
            answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        return route.status, json.dumps(shown) if route.status != 204 else ""

    async def with_query(request: Request, who: tuple[str, Role], query: Any) -> Response:
        name, role = who
        fields = {**query.model_dump(mode="json", exclude_none=True), **_checked(request.path_params)}
        return _response(*await answered(name, role is Role.owner, fields))

    async def with_body(request: Request, who: tuple[str, Role], body: Any, idempotency_key: Any = None) -> Response:
        name, role = who
        fields = {**body.model_dump(mode="json", exclude_none=True), **_checked(request.path_params)}
        if idempotency_key is None:
            return _response(*await answered(name, role is Role.owner, fields))
        told = json.dumps([route.rpc, fields], sort_keys=True)
        key = f"{name}/{idempotency_key}"
        return _response(*await repeating.once(key, told, lambda: answered(name, role is Role.owner, fields)))

    endpoint: Any
    if in_query:
        endpoint = with_query
        endpoint.__annotations__["query"] = Annotated[body_model, Query()]
    else:
        endpoint = with_body
        endpoint.__annotations__["body"] = body_model
        endpoint.__annotations__["idempotency_key"] = Annotated[str | None, Header(pattern=_KEY)]
    endpoint.__annotations__ |= {"request": Request, "who": Annotated[tuple[str, Role], Depends(guard)]}
    app.add_api_route(
        route.path,
        endpoint,
        methods=[route.verb],
        name=route.rpc,
        operation_id=route.rpc,
        status_code=route.status,
        responses={**_PROBLEMS, route.status: _success(route)},
        openapi_extra={"parameters": [_in_path(field) for field in in_path]} if in_path else None,
        tags=[route.tag],
        summary=re.sub(r"(?<=[a-z])(?=[A-Z])", " ", route.rpc).capitalize(),
        description=f"{_words_of(route)}Role: {route.role.name}.",
    )


def _success(route: Route) -> dict[str, Any]:
    told = {"description": HTTPStatus(route.status).phrase}
    return told if route.status == 204 else {**told, "model": model_of(route.response.DESCRIPTOR)}


def _words_of(route: Route) -> str:
    services = route.module.DESCRIPTOR.services_by_name.values()
    names = (method.full_name for service in services for method in service.methods if method.name == route.rpc)
    told = words().get(next(names), "")
    return f"{told} " if told else ""


def _checked(in_path: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in in_path.items():
        if not re.fullmatch(TEXT[1:-1], value) or len(value) > _LONGEST_IN_PATH:
            raise HTTPException(422, f"{name}: must be up to {_LONGEST_IN_PATH} characters without control characters")
    return in_path


def _in_path(name: str) -> dict[str, Any]:
    schema = {"type": "string", "minLength": 1, "maxLength": _LONGEST_IN_PATH, "pattern": TEXT}
    return {"name": name, "in": "path", "required": True, "schema": schema}


class Guard:
    """Lets in whoever has a token whose role suffices."""

    def __init__(self, needed: Role, administrators: Administrators) -> None:
        self._needed = needed
        self._administrators = administrators

    async def __call__(
        self, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]
    ) -> tuple[str, Role]:
        holder = await self._administrators.holder(credentials.credentials) if credentials else None
        if holder is None:
            raise HTTPException(
                401, "give a token: Authorization: Bearer tt_... (teletrunk token add)", {"WWW-Authenticate": "Bearer"}
            )
        if holder[1] < self._needed:
            raise HTTPException(403, f"{holder[0]} is {holder[1].name}, and this is for {self._needed.name}s")
        return holder


def _response(status: int, body: str) -> Response:
    if status == 204:
        return Response(status_code=204)
    return Response(body, status, media_type="application/json" if status < 400 else PROBLEM)


def _told(status: int, text: str, error_id: str = "") -> str:
    where = f"https://github.com/teletrunk/teletrunk/blob/main/docs/errors.md#{error_id}" if error_id else "about:blank"
    problem = Problem(
        type=where, title=HTTPStatus(status).phrase, status=status, detail=text, error_id=error_id, error=text
    )
    return problem.model_dump_json()


def _problem(status: int, text: str, error_id: str = "", headers: Mapping[str, str] | None = None) -> Response:
    return Response(_told(status, text, error_id), status, headers, media_type=PROBLEM)


async def _health(request: Request) -> Response:
    """That somebody listens here; whether the Manager can serve is /ready's at its metrics address."""
    return PlainTextResponse("up\n")


async def _unreadable(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return _problem(422, f"{where}: {in_words(first)}")


async def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    return _problem(error.status_code, str(error.detail), headers=error.headers)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return _problem(STATUS.get(error.row.grpc_status, 500), error.phrase, error.row.id)


async def _mistaken(request: Request, error: Exception) -> Response:
    assert isinstance(error, Mistake)
    return _problem(STATUS.get(error.code, 500), str(error))
