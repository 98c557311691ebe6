"""teletrunk explain: what a refusal means, and what to do."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from typing import Annotated, Any

import typer

from teletrunk import causes
from teletrunk.cli import completion, outcomes
from teletrunk.cli.client import DEADLINE_S, ask, fail
from teletrunk.cli.errors_doc import FLOWS, MENDERS, facts, title
from teletrunk.cli.ladder import header
from teletrunk.cli.output import Json, say, table
from teletrunk.cli.pbx_words import Answer, Saying, is_standard, rows_of_code, sayings
from teletrunk.errors import TABLE, Row
from teletrunk.v1 import admin_pb2 as pb
from teletrunk.v1 import call_pb2

_Q850 = re.compile(r"\bq\.850\s*;\s*cause=(\d{1,3})\b")


def explain(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            help="A row's id, a SIP code, a phrase, or a header as it was seen; quotes are not needed.",
            autocompletion=completion.rows,
        ),
    ] = None,
    call: Annotated[str, typer.Option(help="A call id, its beginning or end, or `last`.")] = "",
    as_json: Json = False,
) -> None:
    """What a refusal means, and what to do. Without anything: all of them."""
    asked = " ".join(what or ())
    if asked and call:
        fail("give either what to explain, or --call")
    if call:
        _explain_call(call, as_json)
    elif asked:
        rows, said = find(asked), sayings(_plain(asked))
        if not rows and not said:
            fail(f"no refusal of Teletrunk fits {asked!r}: teletrunk explain shows all; other codes are the peer's own")
        _show([causes.in_words(row.id, _plain(asked)) for row in rows], as_json, said)
    elif as_json:
        _show(list(TABLE.values()), as_json)
    else:
        cells = [[str(row.sip_status), row.phrase, row.id, FLOWS[row.flow], MENDERS[row.mender]]
                 for row in TABLE.values()]  # fmt: skip
        table("refusals", ["SIP", "phrase", "id", "where", "who can mend it"], cells)


def find(what: str) -> list[Row]:
    """The rows that a person may mean: by id, by code, or by what stood on the wire."""
    text = _plain(what)
    named = [row for row in TABLE.values() if text == row.id or f'"{row.id}"' in text]
    if named:
        return named
    if cause := _Q850.search(text):  # what we send in a Reason header (RFC 3326)
        return [row for row in TABLE.values() if row.q850 == int(cause[1])]
    code = re.match(r"(?:sip/2\.0 )?(\d{3})\b ?", text)
    rows = [row for row in TABLE.values() if code is None or row.sip_status == int(code[1])]
    phrase = text[code.end() :] if code else text
    if not phrase or (code and is_standard(phrase)):
        return rows
    whole = [row for row in rows if row.phrase.lower() in phrase]
    return whole or [row for row in rows if phrase in title(row).lower() or phrase in row.id] or rows_of_code(text)


def _plain(what: str) -> str:
    return " ".join(what.lower().split())


def _explain_call(call: str, as_json: bool) -> None:
    record = ask(lambda admin: admin.GetCall(pb.GetCallRequest(call_id=call), timeout=DEADLINE_S)).record
    if record.error_id and record.error_id not in TABLE:
        fail(f"call {record.call_id} ended with {record.error_id}, which this version does not know")
    rows = [outcomes.row_of(record)] if record.error_id else []
    answer = outcomes.pbx_answer(record)
    if as_json:
        _print(rows, call=_summary(record), pbx_answer=_as_told(answer) if answer else None)
        return
    say("\n".join(header(record)[:3]))
    if rows:
        _show(rows, as_json)
    elif answer is not None:
        say(f"The PBX answered: {outcomes.pbx_said(record)}\n  {answer.means}\n  What to do: {answer.remedy}")
    else:
        say("The gateway did not refuse this call: it ended as the PBX or the Telegram user wished.")


def _summary(record: call_pb2.CallRecord) -> dict[str, Any]:
    names = ("call_id", "caller", "called", "sip_status", "ended_by", "telegram_reason", "error_id")
    return {name: getattr(record, name) for name in names}


def _as_told(answer: Answer) -> dict[str, Any]:
    return {"codes": answer.codes, "means": answer.means, "remedy": answer.remedy, "usual": answer.usual}


def _show(rows: list[Row], as_json: bool, said: list[Saying] | None = None) -> None:
    if as_json:
        _print(rows, sayings=[dataclasses.asdict(saying) for saying in said or ()])
        return
    blocks = [*map(_of_peer, said or ()), *map(_lines, rows)]
    say("\n\n".join("\n".join(block) for block in blocks))


def _of_peer(saying: Saying) -> list[str]:
    behind = [f"  Rows that may be behind it: {', '.join(saying.rows)}"] if saying.rows else []
    return [saying.words, f"  {saying.means}", f"  What to do: {saying.remedy}", *behind]


def _lines(row: Row) -> list[str]:
    told = {"What to do": row.remedy, **facts(row), "Where": FLOWS[row.flow]}
    return [
        f"{title(row)}  ({row.id})",
        f"  {row.essence}",
        *(f"  {key}: {text}" for key, text in told.items() if text),
    ]


def _print(rows: list[Row], **more: Any) -> None:
    refusals = [_as_facts(row) for row in rows]
    sys.stdout.write(json.dumps({**more, "refusals": refusals}) + "\n")


def _as_facts(row: Row) -> dict[str, Any]:
    facts = {field.name: getattr(row, field.name) for field in dataclasses.fields(row) if field.name != "advice"}
    return {**facts, "remedy": row.remedy, "grpc_status": row.grpc_status.name}
