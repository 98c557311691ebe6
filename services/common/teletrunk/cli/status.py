"""teletrunk status: one screen of everything."""

from __future__ import annotations

import json
import time
from typing import Any

import typer

from teletrunk.cli.account import named, state_of
from teletrunk.cli.doctor import as_rows, findings, is_full, is_leaving, tell
from teletrunk.cli.output import Json, say, table
from teletrunk.cli.seen import Seen, look
from teletrunk.v1 import admin_pb2 as pb
from teletrunk.v1 import trunk_pb2


def status(as_json: Json = False) -> None:
    """One screen: services, accounts, trunks and where they are registered, calls that are up, and what is wrong now.

    Exit code 1 when something is.
    """
    seen = look(bindings=True)
    found = list(findings(seen, time.time()))
    wrong = [finding for finding in found if not finding.past]
    if as_json:
        typer.echo(json.dumps({**_facts(seen), "wrong": as_rows(wrong)}))
    else:
        _draw(seen)
        say("" if wrong else "Nothing is wrong that can be seen from here.")
        tell(wrong)
        if any(finding.past and finding.row for finding in found):
            say("Not all of the latest calls or registrations went well: teletrunk doctor")
    raise typer.Exit(1 if wrong else 0)


def _calls_up(seen: Seen) -> int:
    return sum(service.active_calls for service in seen.services)


def _facts(seen: Seen) -> dict[str, Any]:
    return {
        "services": [
            {
                "id": s.id,
                "name": s.name,
                "kind": s.kind,
                "address": s.address,
                "tls_address": s.sip_tls_address,
                "state": state_of_service(s),
            }
            for s in seen.services
        ],
        "accounts": [
            {"id": a.account_id, "phone": a.phone, "username": a.username, "session": state_of(a)}
            for a in seen.accounts
        ],
        "trunks": [
            {
                "id": t.trunk_id,
                "login": t.login,
                "account_id": t.account_id,
                "registered_at": _where(seen, t),
                "pbx": _stands(seen, t),
            }
            for t in seen.trunks
        ],
        "calls_up": _calls_up(seen),
        "whole": seen.whole,
    }


def _draw(seen: Seen) -> None:
    if seen.whole:
        table(
            "services",
            ["service", "name", "address", "state"],
            [row for service in seen.services for row in _rows(service)],
        )
    table("accounts", ["account", "session", "trunks"], [[named(a), state_of(a), str(a.trunks)] for a in seen.accounts])
    phones = {account.account_id: account.phone or account.username for account in seen.accounts}
    rows = [[t.login, phones.get(t.account_id, t.account_id), _stands(seen, t)] for t in seen.trunks]
    table("trunks", ["trunk", "account", "PBX"], rows)
    if seen.whole:
        say(f"Calls up: {_calls_up(seen)}")


def _rows(service: pb.AttachedService) -> list[list[str]]:
    """Where it takes SIP over TLS stands below it."""
    rows = [[service.kind, service.name, service.address, state_of_service(service)]]
    return rows + [["", "", service.sip_tls_address, "by TLS"]] * bool(service.sip_tls_address)


def _stands(seen: Seen, trunk: pb.Trunk) -> str:
    """Where its PBX is, or at which Worker it is registered when that is not known."""
    if trunk.options.off:
        return "switched off"
    if trunk.options.kind == trunk_pb2.TRUNK_KIND_UNSPECIFIED:
        if trunk.bindings:
            return ", ".join(f"{each.source_address} by {each.transport.upper()}" for each in trunk.bindings)
        where = _where(seen, trunk)
        return f"registered at Worker {', '.join(where)}" if where else "not registered"
    return f"{trunk.options.pbx.address}: {'up' if any(state.up for state in trunk.states) else 'down'}"


def _where(seen: Seen, trunk: pb.Trunk) -> list[str]:
    """The SIP addresses of the Workers at which a PBX is registered with it."""
    addresses = {service.id: service.address for service in seen.services}
    return [addresses.get(worker_id) or worker_id for worker_id in trunk.registered_at]


def state_of_service(service: pb.AttachedService) -> str:
    if not service.attached:
        return f"away for {time.time() - service.last_seen:.0f} s"
    if is_leaving(service):
        return "draining"
    return "full" if is_full(service) else "attached"
