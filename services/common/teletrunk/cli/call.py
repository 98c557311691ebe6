"""teletrunk call ..."""

from __future__ import annotations

import csv
import datetime
import json
import sys
import time
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any, Literal

import typer

from teletrunk.cli import completion
from teletrunk.cli.client import DEADLINE_S, ask, ask_live_calls, every, goes_on
from teletrunk.cli.ladder import called_by, ladder
from teletrunk.cli.moments import From, Until, unix
from teletrunk.cli.output import Json, say, short, show, table
from teletrunk.v1 import admin_pb2 as pb
from teletrunk.v1 import call_pb2
from teletrunk.v1 import live_calls_pb2 as live_pb

app = typer.Typer(no_args_is_help=True)


class Way(StrEnum):
    to_telegram = "to-telegram"
    to_sip = "to-sip"


_WAYS = {
    None: call_pb2.DIRECTION_UNSPECIFIED,
    Way.to_telegram: call_pb2.DIRECTION_SIP_TO_TELEGRAM,
    Way.to_sip: call_pb2.DIRECTION_TELEGRAM_TO_SIP,
}


@app.command("list")
def list_calls(
    limit: Annotated[int, typer.Option(min=1, max=500)] = 20,
    account: Annotated[str, typer.Option(help="An account id, phone or @username.")] = "",
    trunk: Annotated[str, typer.Option(help="A trunk's login or id.")] = "",
    number: Annotated[str, typer.Option(help="Who called or was called: a number or @username.")] = "",
    direction: Annotated[Way | None, typer.Option(help="Where the call went.")] = None,
    answered: Annotated[bool | None, typer.Option("--answered/--unanswered")] = None,
    row: Annotated[
        str, typer.Option(help="The refusal's id, as teletrunk explain shows them.", autocompletion=completion.rows)
    ] = "",
    sip_call_id: Annotated[str, typer.Option(help="The Call-ID that the PBX's log has.")] = "",
    since: From = None,
    until: Until = None,
    as_json: Json = False,
) -> None:
    """The latest calls that fit, newest first. An id may be typed as it is shown."""
    request = pb.ListCallsRequest(
        limit=limit,
        account=account,
        trunk=trunk,
        number=number,
        direction=_WAYS[direction],
        answered=answered,
        row=row,
        sip_call_id=sip_call_id,
        since=unix(since),
        until=unix(until),
    )
    answer = ask(lambda admin: admin.ListCalls(request, timeout=DEADLINE_S))
    ids = short([record.call_id for record in answer.calls])
    rows = [_row(record, ids[record.call_id]) for record in answer.calls]
    show(answer, as_json, lambda: table("calls", ["id", "at", "caller", "called", "talked", "end"], rows))


def _row(record: call_pb2.CallRecord, short_id: str) -> list[str]:
    talked = f"{record.ended_at - record.answered_at:.0f} s" if record.answered_at else "-"
    to_telegram = record.direction == call_pb2.DIRECTION_SIP_TO_TELEGRAM
    return [
        short_id,
        time.strftime("%m-%d %H:%M:%S", time.localtime(record.invited_at)),
        record.caller if to_telegram else f"tg {record.caller}",
        f"tg {record.called}" if to_telegram else called_by(record),
        talked,
        record.error_id or f"by {record.ended_by or '?'}",
    ]


LiveCall = Annotated[str, typer.Argument(help="A call's id, its beginning or end, as `call live` shows it.")]


@app.command()
def live(
    of: Annotated[str, typer.Option(help="Only of this trunk's or account's id.")] = "", as_json: Json = False
) -> None:
    """Calls that are up now, or on their way there, newest first."""
    answer = ask_live_calls(lambda calls: every(calls.ListLiveCalls, live_pb.ListLiveCallsRequest(of=of)))
    ids = short([call.call_id for call in answer.calls])
    rows = [_live_row(call, ids[call.call_id]) for call in answer.calls]
    show(answer, as_json, lambda: table("calls", ["id", "since", "caller", "called", "talks"], rows))


def _live_row(call: Any, short_id: str) -> list[str]:
    to_telegram = call.direction == call_pb2.DIRECTION_SIP_TO_TELEGRAM
    return [
        short_id,
        time.strftime("%H:%M:%S", time.localtime(call.invited_at)),
        call.caller if to_telegram else f"tg {call.caller}",
        f"tg {call.called}" if to_telegram else call.called,
        f"{max(0.0, time.time() - call.answered_at):.0f} s" if call.answered_at else "not yet",
    ]


@app.command()
def digits(call: LiveCall, keys: Annotated[str, typer.Argument(help="0-9 * # A-D; a comma waits.")]) -> None:
    """Press keys towards the PBX in a call that talks: for its voice menus, say."""
    request = live_pb.SendDigitsRequest(call_id=call, digits=keys)
    ask_live_calls(lambda calls: calls.SendDigits(request, timeout=DEADLINE_S))
    say(f"pressed {keys}")


@app.command("hang-up")
def hang_up(call: LiveCall) -> None:
    """End a call, on both sides."""
    ask_live_calls(lambda calls: calls.HangUp(live_pb.HangUpRequest(call_id=call), timeout=DEADLINE_S))
    say("ended")


_PAGE = 500
_TIMES = ("invited_at", "ringing_at", "answered_at", "ended_at")
_COLUMNS = (
    "call_id", "direction", "account_id", "account", "trunk_id", "trunk", "worker_id",
    "caller", "called", "invited_at", "ringing_at",
    "answered_at", "ended_at", "ended_by", "error_id", "sip_status", "telegram_reason", "sip_call_id",
)  # fmt: skip
_MEDIA = ("codec", "rtp_received", "rtp_lost", "rtp_jitter_ms", "media_connect_ms", "late_to_telegram", "late_to_sip")


@app.command()
def export(
    since: From = None,
    until: Until = None,
    form: Annotated[Literal["csv", "json"], typer.Option("--format", help="json: an object a line.")] = "csv",
) -> None:
    """All records of a time, newest first: CSV for people, or one JSON object a line for programs (Unix times)."""
    rows = _exported(unix(since), unix(until))
    if form == "json":
        for row in rows:
            sys.stdout.write(json.dumps(row) + "\n")
        return
    writer = csv.DictWriter(sys.stdout, [*_COLUMNS, *_MEDIA])
    writer.writeheader()
    writer.writerows({name: _harmless(value) for name, value in _for_people(row).items()} for row in rows)


def _for_people(row: dict[str, Any]) -> dict[str, Any]:
    """Times by RFC 3339, empty for what never came; a call from Telegram is for a trunk."""
    times = {name: _rfc3339(row[name]) if row[name] else "" for name in _TIMES}
    return row | times | {"called": row["called"] or row["trunk"]}


def _rfc3339(at: float) -> str:
    return datetime.datetime.fromtimestamp(at).astimezone().isoformat(timespec="milliseconds")


def _harmless(value: Any) -> Any:
    """A caller's name must not become a spreadsheet's formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _exported(since: float, until: float) -> Iterator[dict[str, Any]]:
    request = pb.ListCallsRequest(limit=_PAGE, since=since, until=until)
    accounts = ask(lambda admin: every(admin.ListAccounts, pb.ListAccountsRequest())).accounts
    trunks = ask(lambda admin: every(admin.ListTrunks, pb.ListTrunksRequest())).trunks
    names = {account.account_id: account.phone or account.username for account in accounts}
    logins = {trunk.trunk_id: trunk.login for trunk in trunks}
    while True:
        answer = ask(lambda admin: admin.ListCalls(request, timeout=DEADLINE_S))
        for record in answer.calls:
            row = {name: getattr(record, name, "") for name in _COLUMNS}
            row["account"] = names.get(record.account_id, "")
            told = {leg.trunk_id: leg.login for leg in record.sip_legs}
            row["trunk"] = logins.get(record.trunk_id) or told.get(record.trunk_id, "")
            row["sip_call_id"] = next((leg.sip_call_id for leg in record.sip_legs), "")
            row["direction"] = "to-telegram" if record.direction == call_pb2.DIRECTION_SIP_TO_TELEGRAM else "to-sip"
            yield row | {name: getattr(record.media, name) for name in _MEDIA}
        if not goes_on(request, answer):
            return


@app.command("show")
def show_call(
    call: Annotated[str, typer.Argument(help="A call id, its beginning or end, or `last`.")] = "last",
    as_json: Json = False,
) -> None:
    """One call, with its ladder from all three services' events."""
    answer = ask(lambda admin: admin.GetCall(pb.GetCallRequest(call_id=call), timeout=DEADLINE_S))
    lines = ladder(answer.record)
    if answer.record.error_id:
        lines.append(f"why, and what to do: teletrunk explain --call {answer.record.call_id}")
    show(answer.record, as_json, lambda: say("\n".join(lines)))
