"""The FastAPI application, made from the table of routes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, RedirectResponse, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from google.protobuf import json_format
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import ASGIApp, Receive, Scope, Send
from teletrunk import __version__, causes
from teletrunk.errors import Refusal
from teletrunk.places import Places
from teletrunk.remedies import Part, command_line
from teletrunk.rest import ROUTES, Route
from teletrunk.wrong_value import in_words

from teletrunk_manager.api.asking import STATUS, Aborted, LocalContext
from teletrunk_manager.api.documents import Document
from teletrunk_manager.api.merging import merging
from teletrunk_manager.api.models import TEXT, answer_model, request_model
from teletrunk_manager.api.page import page_of
from teletrunk_manager.api.repeating import Answer, Repeating
from teletrunk_manager.api.shown import shown
from teletrunk_manager.api.wording import for_programs, is_command
from teletrunk_manager.api.words import words
from teletrunk_manager.db.audit import asked_by
from teletrunk_manager.mistakes import Mistake
from teletrunk_manager.tokens import Holder, Tokens

_MOST_BYTES = 64 * 1024
_MOST_AT_ONCE = 50  # of one token's holder: some requests wait for people, and places are few
_LONGEST_IN_PATH = 200
_BEARER = HTTPBearer(description="A token from `teletrunk token add`.", auto_error=False)
_Teller = Callable[[Iterable[Part]], str]
_WANTS_TOKEN = {"WWW-Authenticate": "Bearer"}
_KEY = r"^[A-Za-z0-9_.:-]{1,128}$"


class Problem(BaseModel):
    """Every answer that is not a success, by RFC 9457. `error_id` is a row of the error contract, or empty."""

    type: str = Field(description="about:blank, or where the row is explained.")
    title: str = Field(description="What the status means.")
    status: int
    detail: str = Field(description="One line that says what to do.")
    error_id: str = ""
    remedy: str = Field("", description="What to do about a refusal of the error contract.")
    error: str = Field(description="The detail again, for those who knew only that.")


PROBLEM = "application/problem+json"
_SCHEMA = {"schema": {"$ref": "#/components/schemas/Problem"}}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": HTTPStatus(status).phrase, "content": {PROBLEM: _SCHEMA}}
    for status in (400, 401, 403, 404, 409, 411, 413, 422, 429, 500, 503, 504)
}


def make_app(servicers: Sequence[object], tokens: Tokens, repeating: Repeating) -> FastAPI:
    """`servicers` are the services for people; each route finds the one that has its RPC."""
    app = _Described(title="Teletrunk", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(RequestValidationError, _unreadable)
    app.add_exception_handler(StarletteHTTPException, _http_problem)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(Mistake, _mistaken)
    app.add_middleware(_Sized)
    app.add_api_route("/", _entrance, methods=["GET", "HEAD"], include_in_schema=False)
    documents = {
        "/openapi.json": Document("application/json", lambda: json.dumps(app.openapi())),
        "/docs": Document("text/html", lambda: page_of(app.openapi())),
    }
    for path, document in documents.items():
        app.add_route(path, document.__call__, methods=["GET"], include_in_schema=False)
    app.add_api_route("/health", _health, methods=["GET", "HEAD"], include_in_schema=False)
    inside: Places[str] = Places()
    app.state.verbs = _verbs()
    for route in ROUTES:
        servicer = next(each for each in servicers if route.rpc in vars(type(each)))
        _add(app, route, getattr(servicer, route.rpc), tokens, repeating, inside)
    return app


class _Described(FastAPI):
    """Its description has the model of problems once: FastAPI would have them as plain JSON."""

    def openapi(self) -> dict[str, Any]:
        described = super().openapi()
        described["components"]["schemas"]["Problem"] = Problem.model_json_schema()
        return described


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


def _add(app: FastAPI, route: Route, method: Any, tokens: Tokens, repeating: Repeating, inside: Places[str]) -> None:
    guard = Guard(route, tokens)
    in_path = route.fields_in_path
    is_list = "next" in route.response.DESCRIPTOR.fields_by_name
    in_query = route.verb in ("GET", "DELETE")
    body_model = request_model(route.request.DESCRIPTOR, query=in_query, without=in_path)

    async def answered(who: Holder, fields: dict[str, Any], told: _Teller) -> Answer:
        asked_by(who.name, for_all=who.sees_all)
        try:
            request = json_format.ParseDict(fields, route.request())
            if not inside.take(who.name, _MOST_AT_ONCE):
                return 429, _told(429, "too many requests of yours are being answered: wait for some")
            try:
                answer = await method(request, LocalContext())
            finally:
                inside.give_back([who.name])
        except json_format.ParseError as error:
            return 422, _told(422, str(error))
        except Mistake as mistake:
            status = STATUS.get(mistake.code, 500)
            return status, _told(status, told(mistake.parts))
        except Aborted as problem:
            return problem.status, _told(problem.status, problem.text, problem.refusal)
        return route.status, json.dumps(shown(answer)) if route.status != 204 else ""

    async def with_query(request: Request, who: Holder, query: Any) -> Response:
        fields = {**query.model_dump(mode="json", exclude_none=True), **_checked(request.path_params)}
        status, text = await answered(who, fields, _teller(request))
        answer = _response(status, text)
        if is_list and status == 200 and (following := json.loads(text)["next"]):
            answer.headers["Link"] = f'<{request.url.include_query_params(page=following)}>; rel="next"'
        return answer

    async def with_body(request: Request, who: Holder, body: Any, idempotency_key: Any = None) -> Response:
        told = _teller(request)
        if route.verb == "PATCH":
            given = merging(body, route.request.DESCRIPTOR)
        else:
            given = body.model_dump(mode="json", exclude_none=True)
        fields = {**given, **_checked(request.path_params)}
        if idempotency_key is None:
            return _response(*await answered(who, fields, told))
        asked = json.dumps([route.rpc, fields], sort_keys=True)
        key = f"{who.name}/{idempotency_key}"
        asked_by(who.name, for_all=who.sees_all)
        return _response(*await repeating.once(key, asked, lambda: answered(who, fields, told)))

    endpoint: Any
    if in_query:
        endpoint = with_query
        endpoint.__annotations__["query"] = Annotated[body_model, Query()]
    else:
        endpoint = with_body
        endpoint.__annotations__["body"] = body_model
        if not any(field.is_required() for field in body_model.model_fields.values()):
            endpoint.__defaults__ = (body_model(), None)  # nothing has to be said
        endpoint.__annotations__["idempotency_key"] = Annotated[str | None, Header(pattern=_KEY)]
    endpoint.__annotations__ |= {"request": Request, "who": Annotated[Holder, Depends(guard)]}
    if route.verb == "GET":  # what is there can be asked for without being sent (RFC 9110 9.3.2)
        app.add_api_route(route.path, endpoint, methods=["HEAD"], include_in_schema=False)
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


def _teller(request: Request) -> _Teller:
    """What tells whoever asks what to do."""
    return command_line if is_command(request.headers.get("user-agent", "")) else for_programs


def _success(route: Route) -> dict[str, Any]:
    told = {"description": HTTPStatus(route.status).phrase}
    return told if route.status == 204 else {**told, "model": answer_model(route.response.DESCRIPTOR)}


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
    """Lets in whoever has a token whose role suffices; to look at things, also one that may look at everything."""

    def __init__(self, route: Route, tokens: Tokens) -> None:
        self._needed = route.role
        self._only_looks = route.verb == "GET"
        self._tokens = tokens

    async def __call__(self, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]) -> Holder:
        holder = await self._tokens.holder(credentials.credentials) if credentials else None
        if holder is None:
            given = "this token is not known, or was removed" if credentials else "give a token"
            raise HTTPException(401, f"{given}: Authorization: Bearer tt_... (teletrunk token add)", _WANTS_TOKEN)
        if holder.role < self._needed and not (holder.sees_all and self._only_looks):
            raise HTTPException(403, f"{holder.name} is {holder.role.name}, and this is for {self._needed.name}s")
        return holder


def _response(status: int, body: str) -> Response:
    if status == 204:
        return Response(status_code=204)
    return Response(body, status, media_type="application/json" if status < 400 else PROBLEM)


def _told(status: int, text: str, refusal: Refusal | None = None) -> str:
    error_id = refusal.row.id if refusal else ""
    where = f"https://github.com/teletrunk/teletrunk/blob/main/docs/errors.md#{error_id}" if error_id else "about:blank"
    problem = Problem(
        type=where,
        title=HTTPStatus(status).phrase,
        status=status,
        detail=text,
        error_id=error_id,
        remedy=for_programs(causes.told(refusal.row.id, refusal.cause).advice) if refusal else "",
        error=text,
    )
    return problem.model_dump_json()


def _problem(
    status: int, text: str, refusal: Refusal | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    return Response(_told(status, text, refusal), status, headers, media_type=PROBLEM)


async def _entrance(request: Request) -> Response:
    """Whoever types the address alone is shown where to go."""
    return RedirectResponse("docs")


def _verbs() -> list[tuple[re.Pattern[str], str]]:
    """Each path as a pattern, and a verb of it."""
    return [(re.compile(re.sub(r"{\w+}", "[^/]+", route.path)), route.verb) for route in ROUTES]


def _allowed(request: Request) -> list[str]:
    found = {verb for path, verb in request.app.state.verbs if path.fullmatch(request.url.path)} or {"GET"}
    return sorted(found | ({"HEAD"} if "GET" in found else set()))


async def _health(request: Request) -> Response:
    """That somebody listens here; whether the Manager can serve is /ready's at its metrics address."""
    return PlainTextResponse("up\n")


def _says_less(error: Mapping[str, Any]) -> bool:
    """A name that is not known here explains why another is missing."""
    return bool(error["type"] != "extra_forbidden")


async def _unreadable(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = min(error.errors(), key=_says_less)
    if first["type"] == "json_invalid":  # its place is a number of characters
        why = str((first.get("ctx") or {}).get("error", "it ends too early")).lower()
        return _problem(422, f"body: must be JSON ({why}, at character {first['loc'][-1]})")
    where = ".".join(str(part) for part in first["loc"])
    return _problem(422, f"{where}: {in_words(first)}")


async def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 405:  # Starlette names those of the first route that has this path
        headers["Allow"] = ", ".join(_allowed(request))
    return _problem(error.status_code, str(error.detail), headers=headers)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return _problem(STATUS.get(error.row.grpc_status, 500), error.phrase, error)


async def _mistaken(request: Request, error: Exception) -> Response:
    assert isinstance(error, Mistake)
    status = STATUS.get(error.code, 500)
    return _problem(status, _teller(request)(error.parts), headers=_WANTS_TOKEN if status == 401 else None)
