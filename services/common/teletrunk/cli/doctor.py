"""teletrunk doctor: looks for the condition behind each row of the error contract, and says what to do."""

from __future__ import annotations

import asyncio
import difflib
import ipaddress
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from teletrunk import causes
from teletrunk.cli import kept_keys, outcomes
from teletrunk.cli.client import DEADLINE_S, ask, ask_fleet, ask_subscriptions, every, fail
from teletrunk.cli.failed import Forbidden
from teletrunk.cli.output import Json, say
from teletrunk.cli.pbx_words import answer_of
from teletrunk.config import ServiceSettings, load
from teletrunk.errors import TABLE
from teletrunk.v1 import admin_pb2 as pb
from teletrunk.v1 import call_pb2, fleet_pb2, manager_pb2, subscription_pb2, trunk_pb2

_LATE_CALLS = 50
_ASKED_ACCOUNTS = 20  # each is a question to Telegram
_ASKED_TRUNKS = 20  # each is a question to Workers
_TALKED_S = 3.0
_LATELY_S = 3_600.0
_MOST_NAMED = 5
_CALLED_BY_FEW: dict[int, str] = {
    call_pb2.CALL_AUDIENCE_CONTACTS: "only its contacts",
    call_pb2.CALL_AUDIENCE_NOBODY: "nobody, or only single users,",
}


@dataclass
class Seen:
    """What the Manager knows now."""

    accounts: list[pb.Account] = field(default_factory=list)
    trunks: list[pb.Trunk] = field(default_factory=list)
    services: list[pb.AttachedService] = field(default_factory=list)
    calls: list[call_pb2.CallRecord] = field(default_factory=list)  # newest first
    bans: list[manager_pb2.Ban] = field(default_factory=list)
    unknown_logins: list[fleet_pb2.UnknownLogin] = field(default_factory=list)  # the latest first
    plans: list[subscription_pb2.Subscription] = field(default_factory=list)
    audiences: dict[str, int] = field(default_factory=dict)  # by account id: who may call it, as far as Telegram said
    whole: bool = True  # services, bans and plans too, which are shown to owners only


@dataclass(frozen=True)
class Finding:
    """`row` is of the error contract, or empty for what is no refusal. `past`: it was so, and may be over."""

    row: str
    about: str
    text: str
    own_remedy: str = ""
    past: bool = False

    @property
    def remedy(self) -> str:
        return self.own_remedy or (causes.told(self.row, self.text).remedy if self.row else "")


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
            names = ", ".join(service.name for service in there if service.attached)
            row = "worker-restarting" if kind == "worker" else "storage-off"
            yield Finding(row, kind, f"the only {kind} that is attached, {names}, takes no more calls: it is drained")
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
        yield Finding("", "accounts", "there is no Telegram account: teletrunk account add +PHONE")
    if seen.accounts and not seen.trunks:
        yield Finding("", "trunks", "there is no trunk: teletrunk trunk add ACCOUNT")


def _bans(seen: Seen, now: float) -> Iterator[Finding]:
    for ban in seen.bans:
        left = round(ban.until - now)
        text = f"is turned away for {left} s: it failed too often with wrong passwords or logins"
        remedy = f"Correct the login and password in the PBX there first, then: teletrunk ban lift {ban.network}"
        yield Finding("", ban.network, text, remedy)


def _unknown_logins(seen: Seen, now: float) -> Iterator[Finding]:
    """In one line: scanners try whatever there is, and among these may be one that somebody has mistyped."""
    lately = [each for each in seen.unknown_logins if now - each.last_at < _LATELY_S]
    if lately:
        named = ", ".join(f"{each.login} from {each.source_address}" for each in lately[:_MOST_NAMED])
        others = f" and {len(lately) - _MOST_NAMED} others" if len(lately) > _MOST_NAMED else ""
        times = sum(each.count for each in lately)
        text = f"somebody wants to register with logins that no trunk has, {times} times: {named}{others}"
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
        yield Finding("pbx-unreachable", trunk.login, text)
    for state in trunk.states:
        if not state.up:
            yield Finding("pbx-unreachable", trunk.login, f"its PBX at {where}: {state.why}")


def _refused_registrations(trunk: pb.Trunk, now: float) -> Iterator[Finding]:
    """Why a PBX that wants to register does not come to it: each reason once, the latest first."""
    told: set[str] = set()
    for refused in trunk.refused_registrations:
        if refused.error_id in TABLE and refused.error_id not in told:
            told.add(refused.error_id)
            row = TABLE[refused.error_id]
            said = f"{row.sip_status} {row.phrase}{f': {refused.detail}' if refused.detail else ''}"
            ago = f"{refused.count} times, the last {round(now - refused.last_at)} s ago"
            yield Finding(
                row.id, trunk.login, f"its registration from {refused.source_address} is refused with {said}, {ago}"
            )


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
        said = outcomes.detail_of(records[0])
        yield Finding(row, f"call {records[0].call_id}", f"{text}{f': {said}' if said else ''}", past=True)
    yield from _refused_by_pbx(seen)
    for record in seen.calls:
        if record.answered_at and record.ended_at - record.answered_at > _TALKED_S and (text := _one_way(record)):
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
        answer, said = answer_of(code), outcomes.pbx_said(records[0])
        times = "" if len(seen.calls) == 1 else f" {len(records)} of the last {len(seen.calls)} calls"
        text = f"the PBX has answered{times} with {said}: {answer.means}"
        yield Finding("", f"call {records[0].call_id}", text, answer.remedy, past=True)


def _one_way(record: call_pb2.CallRecord) -> str:
    """Which direction had no sound, since when, in which codec and between which addresses; empty when both had."""
    media = record.media
    srtp = f", SRTP {media.srtp_suite}" if media.srtp_suite else ""
    where = f"({media.codec or 'no codec'}{srtp}, the PBX's side is {media.rtp_peer or 'unknown'})"
    if not media.rtp_received:
        return (
            f"not one RTP packet came from the PBX {where}. See that the PBX sends to the Worker's address "
            "(TELETRUNK_PUBLIC_ADDRESS) and that TELETRUNK_RTP_PORTS are open for UDP"
        )
    if media.rtp_silent_s > _TALKED_S:
        return (
            f"nothing came from the PBX in the last {media.rtp_silent_s:.0f} s of the call, after "
            f"{media.rtp_received} packets {where}. See for a firewall that forgets idle ways, and for a hold"
        )
    if not media.rtp_sent:
        return f"not one RTP packet went to the PBX {where}. See that its SDP names an address that can be reached"
    return ""


_METHODS = {"rfc4733": "RFC 4733", "info": "INFO", "inband": "tones in the sound"}


def digits(record: call_pb2.CallRecord) -> str:
    """What is known of a call's DTMF: what the PBX offered, what was agreed, and what came."""
    offered = "RFC 4733 was offered and agreed" if record.media.dtmf_offered else "RFC 4733 was not offered by the PBX"
    method = _METHODS.get(record.media.dtmf_method, "RFC 4733 or INFO")
    seen = f"{record.media.dtmf_digits} digits came, by {method}"
    asked_for = record.media.dtmf_method in ("", "rfc4733")
    remedy = "; set the trunk's DTMF to RFC 2833/4733 in the PBX" if asked_for and not record.media.dtmf_offered else ""
    return f"DTMF in call {record.call_id}: {offered}; {seen}{remedy}. Telegram has no keys of its own to pass on."


def _only(seen: Seen, account: str, trunk: str) -> Seen:
    """What concerns one account or trunk."""
    if trunk:
        seen.trunks = [each for each in seen.trunks if trunk in (each.login, each.trunk_id)]
        if not seen.trunks:
            fail(f"there is no trunk {trunk}: teletrunk trunk list shows them")
        account = seen.trunks[0].account_id
        seen.calls = [record for record in seen.calls if _is_of(record, seen.trunks[0])]
        _only_who_may_be(seen, seen.trunks[0])
    if account:
        name = account.removeprefix("@").lower()
        seen.accounts = [a for a in seen.accounts if name in (a.account_id, a.phone.lower(), a.username.lower())]
        if not seen.accounts:
            fail(f"there is no account {account}: teletrunk account list shows them")
        ids = {each.account_id for each in seen.accounts}
        seen.trunks = [each for each in seen.trunks if each.account_id in ids]
        seen.unknown_logins = [] if not trunk else seen.unknown_logins
        seen.calls = [record for record in seen.calls if record.account_id in ids]
        seen.plans = [plan for plan in seen.plans if ids & set(plan.account_ids)]
    return seen


def _is_of(record: call_pb2.CallRecord, trunk: pb.Trunk) -> bool:
    """One that was refused before it was routed has no trunk yet, and its login."""
    return record.trunk_id == trunk.trunk_id or (not record.trunk_id and record.caller == trunk.login)


def _only_who_may_be(seen: Seen, trunk: pb.Trunk) -> None:
    """Of those that are turned away: who may be the trunk's PBX, by its address or by a login like the trunk's."""
    sources = {refused.source_address for refused in trunk.refused_registrations}
    seen.bans = [ban for ban in seen.bans if any(_is_in(source, ban.network) for source in sources)]
    like = set(difflib.get_close_matches(trunk.login, {each.login for each in seen.unknown_logins}))
    seen.unknown_logins = [each for each in seen.unknown_logins if each.login in like]


def _is_in(address: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network)
    except ValueError:
        return False


def look(*, trunk: str = "", audiences: bool = False, bindings: bool = False) -> Seen:
    """What the Manager knows, the latest calls of all trunks or of one.

    With `audiences` also what Telegram says of the accounts, which takes longer, and with `bindings` what the Workers
    say of where PBXs are, for the first trunks that are registered.
    """

    async def admin(service: Any) -> Seen:
        accounts, trunks, calls = await asyncio.gather(
            every(service.ListAccounts, pb.ListAccountsRequest()),
            every(service.ListTrunks, pb.ListTrunksRequest()),
            _latest_calls(service, trunk),
        )
        active = [a for a in accounts.accounts if a.state == manager_pb2.SESSION_STATE_ACTIVE][:_ASKED_ACCOUNTS]
        active = active if audiences else []
        questions = [pb.CheckAccountRequest(account=account.account_id) for account in active]
        asked = (service.CheckAccount(question, timeout=DEADLINE_S) for question in questions)
        answers = await asyncio.gather(*asked, return_exceptions=True)  # one that fails is seen by its state
        said = {
            a.account_id: answer.call_audience
            for a, answer in zip(active, answers, strict=True)
            if not isinstance(answer, BaseException)
        }
        if bindings:
            await _ask_for_bindings(service, trunks.trunks)
        whole_calls = await _with_details(service, calls)
        seen = Seen(list(accounts.accounts), list(trunks.trunks), calls=whole_calls, audiences=said)
        try:
            answer = await every(service.ListServices, pb.ListServicesRequest())
            seen.services = list(answer.services)
        except Forbidden:
            seen.whole = False
        return seen

    seen = ask(admin)
    if not seen.whole:
        return seen
    bans = ask_fleet(lambda fleet: fleet.ListBans(fleet_pb2.ListBansRequest(), timeout=DEADLINE_S))
    request = subscription_pb2.ListSubscriptionsRequest()
    plans = ask_subscriptions(lambda service: every(service.ListSubscriptions, request))
    seen.bans, seen.plans = list(bans.bans), list(plans.subscriptions)
    seen.unknown_logins = list(bans.unknown_logins)
    return seen


async def _latest_calls(service: Any, trunk: str) -> list[call_pb2.CallRecord]:
    """Of a trunk also those that were refused before they were routed: they have its login only."""
    requests = [pb.ListCallsRequest(limit=_LATE_CALLS, trunk=trunk)]
    if trunk:
        requests.append(pb.ListCallsRequest(limit=_LATE_CALLS, number=trunk))
    asked = (service.ListCalls(request, timeout=DEADLINE_S) for request in requests)
    found = {record.call_id: record for answer in await asyncio.gather(*asked) for record in answer.calls}
    return [found[call_id] for call_id in sorted(found, reverse=True)][:_LATE_CALLS]


async def _ask_for_bindings(service: Any, trunks: Iterable[pb.Trunk]) -> None:
    registered = [trunk for trunk in trunks if trunk.registered_at][:_ASKED_TRUNKS]
    asked = (service.GetTrunk(pb.GetTrunkRequest(trunk=trunk.trunk_id), timeout=DEADLINE_S) for trunk in registered)
    for trunk, answer in zip(registered, await asyncio.gather(*asked, return_exceptions=True), strict=True):
        if not isinstance(answer, BaseException):  # else it is shown by its Workers
            trunk.bindings.extend(answer.trunk.bindings)


async def _with_details(service: Any, calls: list[call_pb2.CallRecord]) -> list[call_pb2.CallRecord]:
    """The latest call of each row whose phrase goes on, and of each answer of a PBX, is asked for whole: a list's
    records have no steps."""
    latest = {(record.error_id, record.sip_status): record for record in reversed(calls)}
    wanted = [record.call_id for record in latest.values() if _goes_on(record)]
    asked = (service.GetCall(pb.GetCallRequest(call_id=call_id), timeout=DEADLINE_S) for call_id in wanted)
    found = {answer.record.call_id: answer.record for answer in await asyncio.gather(*asked)}
    return [found.get(record.call_id, record) for record in calls]


def _goes_on(record: call_pb2.CallRecord) -> bool:
    if record.error_id in TABLE:
        return bool(TABLE[record.error_id].detail or causes.of_row(record.error_id))
    return outcomes.pbx_answer(record) is not None


def _of_call(call: str) -> Seen:
    return Seen(calls=[ask(lambda admin: admin.GetCall(pb.GetCallRequest(call_id=call), timeout=DEADLINE_S)).record])


def doctor(
    account: Annotated[str, typer.Option(help="Only what concerns this account.")] = "",
    trunk: Annotated[str, typer.Option(help="Only what concerns this trunk.")] = "",
    call: Annotated[str, typer.Option(help="Only what concerns this call, or `last`.")] = "",
    as_json: Json = False,
) -> None:
    """Looks at everything that can stand in a call's way, and says what to do. Exit code 1 when something does now."""
    seen = _of_call(call) if call else _only(look(trunk=trunk, audiences=True), account, trunk)
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
