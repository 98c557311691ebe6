"""teletrunk changes: what people have changed, a sentence each."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, get_args

import typer

from teletrunk.cli.client import DEADLINE_S, ask
from teletrunk.cli.moments import From, Until, unix
from teletrunk.cli.moments import told as moment
from teletrunk.cli.output import Json, say, show
from teletrunk.cli.trunk_options import WORDS
from teletrunk.v1 import admin_pb2 as pb

What = Literal[
    "accounts", "api_tokens", "assignments", "bans", "drains", "invitations", "join_tokens", "members",
    "service_names", "shares", "subscriptions", "trunks", "trusted_addresses", "webhooks",
]  # fmt: skip
_DID: Final = {"insert": "added", "update": "changed", "delete": "removed"}
_THINGS: Final[Mapping[str, str]] = {
    "accounts": "account",
    "api_tokens": "token",
    "bans": "ban",
    "invitations": "invitation",
    "join_tokens": "join token",
    "members": "member",
    "subscriptions": "subscription",
    "trunks": "trunk",
    "webhooks": "webhook",
}
# What ties two things together: `name` is the first one's, `other` the rest of the key.
_TIES: Final[Mapping[tuple[str, str], str]] = {
    ("assignments", "insert"): "assigned account {name} to Worker {other}",
    ("assignments", "delete"): "took account {name} from Worker {other}",
    ("drains", "insert"): "told Worker {name} to take no more calls",
    ("drains", "delete"): "let Worker {name} take calls again",
    ("service_names", "insert"): "named service {first} {name}",
    ("service_names", "update"): "named service {first} {name}",
    ("service_names", "delete"): "took the name {name} from service {first}",
    ("shares", "insert"): "shared account {name} with {other}",
    ("shares", "delete"): "shared account {name} with {other} no longer",
    ("trusted_addresses", "insert"): "let trunk {name} be used from {other}",
    ("trusted_addresses", "delete"): "let trunk {name} be used from {other} no longer",
}
_TIMES: Final = ("_at", "until")  # how the names of moments end
_NOTHING: Final = ("", None, False, 0, "{}")


def changes(
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many, the newest.")] = 50,
    who: Annotated[str, typer.Option(help="Only what this person changed: a token's name, or `command`.")] = "",
    what: Annotated[
        What | None,
        typer.Option("--what", "--kind", metavar="THINGS", help=f"Only changes of {', '.join(get_args(What))}."),
    ] = None,
    thing: Annotated[
        str, typer.Option("--object", "--key", help="Only changes of this one: a login, phone, name or id.")
    ] = "",
    since: From = None,
    until: Until = None,
    as_json: Json = False,
) -> None:
    """What people have changed, newest first: when, who, what, and from what to what."""
    request = pb.ListChangesRequest(
        limit=limit,
        who=who,
        kind=what or "",
        key=thing,
        since=unix(since),
        until=unix(until),
    )
    answer = ask(lambda admin: admin.ListChanges(request, timeout=DEADLINE_S))
    show(answer, as_json, lambda: say("\n".join(map(sentence, answer.changes)) or "No changes."))


def sentence(change: pb.Change) -> str:
    """One change in one line."""
    return f"{moment(change.at)}  {change.who} {_done(change)}"


def _done(change: pb.Change) -> str:
    first, _, other = change.key.partition("/")
    name = change.name or first
    if tie := _TIES.get((change.kind, change.action)):
        return tie.format(name=name, first=first, other=other)
    thing = _THINGS.get(change.kind, change.kind.replace("_", " "))
    told = f"{_DID.get(change.action, change.action)} {thing} {change.name or change.key}"
    facts = ", ".join(_facts(change))
    return f"{told}: {facts}" if facts else told


def _facts(change: pb.Change) -> Iterator[str]:
    """What has become of each field; of something new what it has, but for what its sentence says already."""
    before, after = json.loads(change.before or "{}"), json.loads(change.after or "{}")
    if change.action == "update":
        yield from _differences(before, after)
    elif change.action == "insert":
        for name, value in _flat(after):
            if value not in (*_NOTHING, "(secret)", change.key, change.name):
                yield f"{_words(name)} {_value(name, value)}"


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """With the fields of what is kept as an object in its place."""
    for name, value in values.items():
        if isinstance(inner := _fields(value), dict):
            yield from _flat(inner)
        else:
            yield name, value


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for name in {**before, **after}:
        was, now = before.get(name), after.get(name)
        if isinstance(inner := _fields(now), dict):
            yield from _differences(_fields(was) or {}, inner)
        elif was != now:
            yield f"{_words(name)} {_value(name, was)} -> {_value(name, now)}"
        elif was == "(secret)":
            yield f"{_words(name)} is another one"


def _fields(value: object) -> dict[str, Any] | None:
    """Of what is kept as a JSON object."""
    if isinstance(value, str) and value.startswith("{"):
        with contextlib.suppress(ValueError):  # somebody's own text
            value = json.loads(value)
    return value if isinstance(value, dict) else None


def _words(name: str) -> str:
    return name.removeprefix("sealed_").replace("_", " ")


def _value(name: str, value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "nothing"
    if isinstance(value, float) and name.endswith(_TIMES) and value:
        return moment(value)
    if choices := WORDS.get(name):  # of a trunk's options, which are kept as the protocol names them
        return choices.get(str(value or next(iter(choices))), str(value))
    return "nothing" if value in ("", None) else str(value)
