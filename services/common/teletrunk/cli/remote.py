"""The command far from the Manager: the same RPCs by the REST API."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from google.protobuf import json_format

from teletrunk import __version__
from teletrunk.cli.failed import Failed, Forbidden
from teletrunk.cli.place import Place
from teletrunk.errors import TABLE
from teletrunk.rest import ROUTES, Route

Answer = TypeVar("Answer")
_FORBIDDEN = 403


class RestStub:
    """Looks like a generated stub: an RPC's name with a request and a timeout."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._routes = {route.rpc: route for route in ROUTES}

    def __getattr__(self, rpc: str) -> Callable[..., Awaitable[Any]]:
        route = self._routes[rpc]

        async def ask(request: Any, timeout: float) -> Any:
            return await self._ask(route, request, timeout)

        return ask

    async def _ask(self, route: Route, request: Any, timeout: float) -> Any:
        fields = json_format.MessageToDict(request, preserving_proto_field_name=True)
        in_path = {name: quote(str(fields.pop(name, "")), safe="") for name in route.fields_in_path}
        if not all(in_path.values()):
            raise Failed("a name must not be empty")
        path = route.path.format(**in_path)
        sent: dict[str, Any] = {"params": fields} if route.verb in ("GET", "DELETE") else {"json": fields}
        try:
            answer = await self._client.request(route.verb, path, timeout=timeout, **sent)
        except httpx.HTTPError as error:
            raise Failed(f"the Manager at {self._client.base_url} does not answer: {_why(error)}") from None
        if answer.is_success:
            return json_format.Parse(answer.text or "{}", route.response(), ignore_unknown_fields=True)
        raise (Forbidden if answer.status_code == _FORBIDDEN else Failed)(_explained(answer))


def _why(error: httpx.HTTPError) -> str:
    """In a person's words; the library has an error for each way in which nothing comes."""
    match error:
        case httpx.TimeoutException():
            return "it took too long"
        case httpx.ConnectError():
            return str(error).removeprefix("All connection attempts failed") or "nobody listens there"
        case _:
            return str(error) or "the connection broke"


def _explained(answer: httpx.Response) -> str:
    try:
        problem = answer.json()
        text, row = str(problem.get("detail") or problem["error"]), TABLE.get(problem.get("error_id", ""))
    except (json.JSONDecodeError, KeyError, TypeError):
        return f"the answer is not of a Teletrunk Manager (HTTP {answer.status_code}): look at TELETRUNK_API_URL"
    return f"{text}. {row.remedy}" if row is not None else text


async def remote_work(place: Place, work: Callable[[Any], Awaitable[Answer]]) -> Answer:
    """Raises `Failed`."""
    if not place.api_token:
        raise Failed("TELETRUNK_API_URL is set: set TELETRUNK_API_TOKEN too (teletrunk token add on the Manager)")
    url = httpx.URL(place.api_url)
    if url.scheme not in ("http", "https") or not url.host:
        raise Failed(f"TELETRUNK_API_URL: {place.api_url} is no address of a Manager: write https://HOST:PORT")
    if url.scheme != "https" and url.host not in ("localhost", "127.0.0.1", "::1"):
        raise Failed("TELETRUNK_API_URL: the token would cross the network in plain text: write https://...")
    headers = {"Authorization": f"Bearer {place.api_token}", "User-Agent": f"teletrunk/{__version__}"}
    async with httpx.AsyncClient(base_url=place.api_url, headers=headers) as client:
        return await work(RestStub(client))
