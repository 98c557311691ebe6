"""teletrunk call ..."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from teletrunk.cli.client import DEADLINE_S, ask
from teletrunk.cli.ladder import ladder
from teletrunk.cli.output import Json, say, show, table
from teletrunk.v1 import admin_pb2 as pb
from teletrunk.v1 import call_pb2

app = typer.Typer(no_args_is_help=True)


@app.command("list")
def list_calls(limit: Annotated[int, typer.Option(min=1, max=500)] = 20, as_json: Json = False) -> None:
    """The latest calls, newest first."""
    answer = ask(lambda admin: admin.ListCalls(pb.ListCallsRequest(limit=limit), timeout=DEADLINE_S))
    show(answer, as_json, lambda: table(
        "calls", ["id", "at", "direction", "caller", "called", "talked", "ended by", "SIP", "refusal"],
        [_row(record) for record in answer.calls]))  # fmt: skip


def _row(record: call_pb2.CallRecord) -> list[str]:
    talked = record.ended_at - record.answered_at if record.answered_at else 0.0
    return [
        record.call_id,
        time.strftime("%m-%d %H:%M:%S", time.localtime(record.invited_at)),
        "to Telegram" if record.direction == call_pb2.DIRECTION_SIP_TO_TELEGRAM else "to SIP",
        record.caller,
        record.called,
        f"{talked:.1f} s",
        record.ended_by,
        str(record.sip_status),
        record.error_id,
    ]


@app.command("show")
def show_call(
    call: Annotated[str, typer.Argument(help="A call id, its beginning, or `last`.")] = "last", as_json: Json = False
) -> None:
    """One call, with its ladder from all three services' events."""
    answer = ask(lambda admin: admin.GetCall(pb.GetCallRequest(call_id=call), timeout=DEADLINE_S))
    show(answer.record, as_json, lambda: say("\n".join(ladder(answer.record))))
