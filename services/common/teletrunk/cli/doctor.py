"""teletrunk doctor: looks for the condition behind each row of the error contract, and says what to do."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from teletrunk import causes
from teletrunk.cli import kept_keys, outcomes
from teletrunk.cli.output import Json, counted, say
from teletrunk.cli.pbx_words import answer_of
from teletrunk.cli.seen import Seen, look, of_call, only
from teletrunk.config import ServiceSettings, load
from teletrunk.errors import TABLE
from teletrunk.one_way import one_way
from teletrunk.v1 import admin_pb2 as pb
from teletrunk.v1 import call_pb2, manager_pb2, trunk_pb2

_LATELY_S = 3_600.0
_MOST_NAMED = 5
_BANNED = causes.ADDRESS_BANNED
_CALLED_BY_FEW: dict[int, str] = {
    call_pb2.CALL_AUDIENCE_CONTACTS: "only its contacts",
    call_pb2.CALL_AUDIENCE_NOBODY: "nobody, or only single users,",
}


@dataclass(frozen=True)
class Finding:
    """`row` is of the error contract, or empty for what is no refusal. `past`: it was so, and may be over.

    `cause` is the row's, and `known` what its advice may name.
    """

    row: str
    about: str
    text: str
    own_remedy: str = ""
    past: bool = False
    cause: call_pb2.RefusalCause.ValueType = call_pb2.REFUSAL_CAUSE_UNSPECIFIED
    known: Mapping[str, str] = field(default_factory=dict)

    @property
    def remedy(self) -> str:
        return self.own_remedy or (causes.told(self.row, self.cause, **self.known).remedy if self.row else "")


def findings(seen: Seen, now: float) -> Iterator[Finding]:
    """Everything that is wrong, the causes of much before the causes of little."""
    if seen.whole:
        yield from _services(seen)
        yield from _plans(seen, now)
    yield from _accounts(seen)
    for account in seen.accounts:
        yield from _account(seen, account)
    for trunk in seen.trunks:
        yield from _trunk(trunk, now)
    for account in seen.accounts:
        yield from _audience(seen, account)
    if seen.whole:  # what comes of wrong passwords, after them
        yield from _bans(seen, now)
        yield from _unknown_logins(seen, now)
    yield from _calls(seen, now)


def _services(seen: Seen) -> Iterator[Finding]:
    for kind, row in (("worker", "worker-unavailable"), ("storage", "storage-unreachable")):
        there = [service for service in seen.services if service.kind == kind]
        if not any(service.attached for service in there):
            yield Finding(row, kind, f"no {kind} is attached to the Manager")
        elif all(is_leaving(service) for service in there if service.attached):
            names = [service.name for service in there if service.attached]
            text = f"the only {kind} that is attached, {', '.join(names)}, takes no more calls: it is drained"
            if kind == "storage":
                yield Finding("storage-off", kind, text)
                continue
            known = {"worker_id": names[0]} if len(names) == 1 else {}
            yield Finding("worker-restarting", kind, text, cause=causes.NO_MORE_CALLS.code, known=known)
        elif kind == "worker":
            for service in there:
                if not service.attached:
                    yield Finding(row, service.id, f"the Worker {service.name} is away")
                elif is_full(service):
                    carried = f"it carries {service.active_calls} of {service.most_calls} calls"
                    yield Finding("worker-full", service.id, f"the Worker {service.name} is full: {carried}")


def is_leaving(service: pb.AttachedService) -> bool:
    """Whether it waits for its last calls, and takes no new ones."""
    return service.draining or service.drained


def is_full(worker: pb.AttachedService) -> bool:
    """Whether it turns every call away until one has ended."""
    return 0 < worker.most_calls <= worker.active_calls


def _accounts(seen: Seen) -> Iterator[Finding]:
    if not seen.accounts:
        none = "there is no Telegram account" if seen.whole else "no Telegram account is yours or shared with you"
        yield Finding("", "accounts", f"{none}: teletrunk account add +PHONE")
    if seen.accounts and not seen.trunks:
        yield Finding("", "trunks", "there is no trunk: teletrunk trunk add ACCOUNT")


def _bans(seen: Seen, now: float) -> Iterator[Finding]:
    for ban in seen.bans:
        left = round(ban.until - now)
        text = f"is turned away for {left} s: it failed too often with wrong passwords or logins"
        remedy = causes.told(_BANNED.row, _BANNED.code, address=ban.network).remedy
        yield Finding("", ban.network, text, remedy)


def _unknown_logins(seen: Seen, now: float) -> Iterator[Finding]:
    """In one line: scanners try whatever there is, and among these may be one that somebody has mistyped."""
    lately = [each for each in seen.unknown_logins if now - each.last_at < _LATELY_S]
    if lately:
        named = ", ".join(f"{each.login} from {each.source_address}" for each in lately[:_MOST_NAMED])
        others = f" and {len(lately) - _MOST_NAMED} others" if len(lately) > _MOST_NAMED else ""
        times = sum(each.count for each in lately)
        text = f"somebody wants to register with logins that no trunk has, {counted(times, 'time')}: {named}{others}"
        yield Finding("login-not-found", "logins", text, past=True)


def _plans(seen: Seen, now: float) -> Iterator[Finding]:
    for plan in seen.plans:
        limits = plan.limits
        if limits.HasField("valid_until") and limits.valid_until < now:
            yield Finding("subscription-limit", plan.name, "the plan has expired")
        if limits.HasField("lines") and plan.lines_taken >= limits.lines:
            yield Finding("subscription-limit", plan.name, f"all {limits.lines} lines are taken")


def _account(seen: Seen, account: pb.Account) -> Iterator[Finding]:
    name = account.phone or account.username or account.account_id
    home = next((service for service in seen.services if service.id == account.storage_id), None)
    if account.state == manager_pb2.SESSION_STATE_UNAUTHORIZED:
        yield Finding("account-inactive", name, f"Telegram has ended its sign-in: {account.reason}")
    elif account.state == manager_pb2.SESSION_STATE_CONNECTING:
        why = f": {account.reason}" if account.reason else ""
        yield Finding("session-disconnected", name, f"its session has no connection to Telegram now{why}")
    elif account.state == manager_pb2.SESSION_STATE_ACTIVE and account.reason:
        for remark in account.reason.split("; "):
            waits = remark.startswith("Telegram wants no ")
            again = f": teletrunk account retry {name} lets it ask before, at the risk of a longer wait"
            advice = again if waits else ": set the clock of its Session Storage's machine right (NTP)"
            yield Finding("flood-wait" if waits else "", name, f"{remark}{advice}")
    elif account.state == manager_pb2.SESSION_STATE_UNSPECIFIED:
        away = seen.whole and (home is None or not home.attached)
        text = "its Session Storage is not attached" if away else "its Session Storage does not have its session"
        text = text if seen.whole else "its Session Storage is away, or does not have its session"
        yield Finding("storage-off" if away else "no-active-session", name, text)


def _audience(seen: Seen, account: pb.Account) -> Iterator[Finding]:
    name = account.phone or account.username or account.account_id
    if few := _CALLED_BY_FEW.get(seen.audiences.get(account.account_id, 0)):
        text = (
            f"incoming calls: {few} may call it. In a Telegram app of this account set "
            "Settings, Privacy, Calls to Everybody"
        )
        yield Finding("", name, text)


def _pbx(trunk: pb.Trunk) -> Iterator[Finding]:
    """Of a PBX that does not register here."""
    where = trunk.options.pbx.address
    if not trunk.states:
        text = f"no Worker reaches out to its PBX at {where}: one must be attached, with TELETRUNK_ALLOW_OUTBOUND"
        cause = causes.NO_WORKER_REACHES_OUT.code
        yield Finding("pbx-unreachable", trunk.login, text, cause=cause, known={"trunk": trunk.login})
    for state in trunk.states:
        if not state.up:
            text = f"its PBX at {where}: {state.why}"
            cause = causes.known("pbx-unreachable", state.cause) or causes.PBX_SILENT.code  # until it has said more
            yield Finding("pbx-unreachable", trunk.login, text, cause=cause, known={"trunk": trunk.login})


def _refused_registrations(trunk: pb.Trunk, now: float) -> Iterator[Finding]:
    """Why a PBX that wants to register does not come to it: each reason once, the latest first."""
    told: set[str] = set()
    for refused in trunk.refused_registrations:
        if refused.error_id in TABLE and refused.error_id not in told:
            told.add(refused.error_id)
            row = TABLE[refused.error_id]
            said = f"{row.sip_status} {row.phrase}{f': {refused.detail}' if refused.detail else ''}"
            ago = f"{counted(refused.count, 'time')}, the last {round(now - refused.last_at)} s ago"
            text = f"its registration from {refused.source_address} is refused with {said}, {ago}"
            known = {
                "trunk": trunk.login,
                "address": refused.source_address,
                "account": trunk.account_id,
                "worker_id": refused.worker_id,
            }
            yield Finding(row.id, trunk.login, text, cause=refused.cause, known=known)


def _trunk(trunk: pb.Trunk, now: float) -> Iterator[Finding]:
    for warning in trunk.warnings:
        yield Finding("", trunk.login, warning)
    if trunk.options.off:
        text = f"is switched off: teletrunk trunk change {trunk.login} --on"
        yield Finding("", trunk.login, text, past=True)  # somebody has wanted it
    elif trunk.options.kind != trunk_pb2.TRUNK_KIND_UNSPECIFIED:
        yield from _pbx(trunk)
    elif not trunk.registered_at:
        yield from _refused_registrations(trunk, now)
        yield Finding("not-registered", trunk.login, "no PBX is registered with it: no call comes in or goes out")


def _calls(seen: Seen, now: float) -> Iterator[Finding]:
    """What the latest calls met: each row once, with how often and when last."""
    refused: dict[str, list[call_pb2.CallRecord]] = {}
    for record in seen.calls:
        if record.error_id in TABLE:
            refused.setdefault(record.error_id, []).append(record)
    for row, records in refused.items():
        ago = round(now - records[0].ended_at)
        text = f"{len(records)} of the last {len(seen.calls)} calls ended with it, the last {ago} s ago"
        text = "the call ended with it" if len(seen.calls) == 1 else text
        last, which = records[0], "" if len(records) == 1 else "that one: "
        text = f"{text}: {which}{last.error_detail}" if last.error_detail else text
        known = outcomes.known_of(last)
        yield Finding(row, f"call {last.call_id}", text, past=True, cause=last.cause, known=known)
    yield from _refused_by_pbx(seen)
    for record in seen.calls:
        if text := one_way(record):
            yield Finding("", f"call {record.call_id}", f"one-way audio: {text}", past=True)
            return


def _refused_by_pbx(seen: Seen) -> Iterator[Finding]:
    """What PBXs have answered to calls from Telegram: each code once. One call that is asked about may be as usual."""
    answered: dict[int, list[call_pb2.CallRecord]] = {}
    for record in seen.calls:
        answer = outcomes.pbx_answer(record)
        if answer is not None and (len(seen.calls) == 1 or not answer.usual):
            answered.setdefault(record.sip_status, []).append(record)
    for code, records in answered.items():
        answer, said = answer_of(code, outcomes.known_of(records[0])), outcomes.pbx_said(records[0])
        times = "" if len(seen.calls) == 1 else f" {len(records)} of the last {len(seen.calls)} calls"
        text = f"the PBX has answered{times} with {said}: {answer.means}"
        yield Finding("", f"call {records[0].call_id}", text, answer.remedy, past=True)


_METHODS = {"rfc4733": "RFC 4733", "info": "INFO", "inband": "tones in the sound"}


def digits(record: call_pb2.CallRecord) -> str:
    """What is known of a call's DTMF: what the PBX offered, what was agreed, and what came."""
    offered = "RFC 4733 was offered and agreed" if record.media.dtmf_offered else "RFC 4733 was not offered by the PBX"
    method = _METHODS.get(record.media.dtmf_method, "RFC 4733 or INFO")
    seen = f"{counted(record.media.dtmf_digits, 'digit')} came, by {method}"
    asked_for = record.media.dtmf_method in ("", "rfc4733")
    remedy = "; set the trunk's DTMF to RFC 2833/4733 in the PBX" if asked_for and not record.media.dtmf_offered else ""
    return f"DTMF in call {record.call_id}: {offered}; {seen}{remedy}. Telegram has no keys of its own to pass on."


def doctor(
    account: Annotated[str, typer.Option(help="Only what concerns this account.")] = "",
    trunk: Annotated[str, typer.Option(help="Only what concerns this trunk.")] = "",
    call: Annotated[str, typer.Option(help="Only what concerns this call, or `last`.")] = "",
    as_json: Json = False,
) -> None:
    """Looks at everything that can stand in a call's way, and says what to do. Exit code 1 when something does now."""
    seen = of_call(call) if call else only(look(trunk=trunk, audiences=True), account, trunk)
    found = list(_calls(seen, time.time()) if call else findings(seen, time.time()))
    warnings = [] if call else kept_keys.warnings(load(ServiceSettings).data)
    dtmf = next((digits(record) for record in seen.calls if record.answered_at), "")
    if as_json:
        told = {"findings": as_rows(found), "dtmf": dtmf, "whole": seen.whole, "warnings": warnings}
        typer.echo(json.dumps(told))
    else:
        tell(found)
        if not seen.whole:
            say("Services, bans and plans are shown to owners only: they were not looked at.")
        if not found:
            say("Nothing stands in a call's way that can be seen from here.")
        if dtmf:
            say(dtmf)
        for warning in warnings:
            say(f"Warning: {warning}")
    raise typer.Exit(1 if any(not finding.past for finding in found) else 0)


def as_rows(found: list[Finding]) -> list[dict[str, Any]]:
    return [{"row": f.row, "about": f.about, "text": f.text, "remedy": f.remedy, "past": f.past} for f in found]


def tell(found: list[Finding]) -> None:
    for finding in found:
        say(f"{finding.row}: {finding.about}: {finding.text}" if finding.row else f"{finding.about}: {finding.text}")
        if finding.remedy:
            say(f"    {finding.remedy}")
