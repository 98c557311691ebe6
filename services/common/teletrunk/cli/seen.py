"""What the Manager knows now, for the doctor and the status: all of it, or what concerns one account, trunk or call."""

from __future__ import annotations

import asyncio
import difflib
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from teletrunk.cli import outcomes
from teletrunk.cli.client import DEADLINE_S, ask, ask_fleet, ask_subscriptions, every, fail
from teletrunk.cli.failed import Forbidden
from teletrunk.v1 import admin_pb2 as pb
from teletrunk.v1 import call_pb2, fleet_pb2, manager_pb2, subscription_pb2

_LATE_CALLS = 50
_ASKED_ACCOUNTS = 20  # each is a question to Telegram
_ASKED_TRUNKS = 20  # each is a question to Workers


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


def look(*, trunk: str = "", audiences: bool = False, bindings: bool = False) -> Seen:
    """What the Manager knows, the latest calls of all trunks or of one.

    With `audiences` also what Telegram says of the accounts, which takes longer, and with `bindings` what the Workers
    say of where PBXs are, for the first trunks that are registered.
    """

    async def admin(service: Any) -> Seen:
        accounts, trunks, calls = await asyncio.gather(
            every(service.ListAccounts, pb.ListAccountsRequest()),
            every(service.ListTrunks, pb.ListTrunksRequest()),
            service.ListCalls(pb.ListCallsRequest(limit=_LATE_CALLS, trunk=trunk), timeout=DEADLINE_S),
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
        whole_calls = await _with_details(service, list(calls.calls))
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


async def _ask_for_bindings(service: Any, trunks: Iterable[pb.Trunk]) -> None:
    registered = [trunk for trunk in trunks if trunk.registered_at][:_ASKED_TRUNKS]
    asked = (service.GetTrunk(pb.GetTrunkRequest(trunk=trunk.trunk_id), timeout=DEADLINE_S) for trunk in registered)
    for trunk, answer in zip(registered, await asyncio.gather(*asked, return_exceptions=True), strict=True):
        if not isinstance(answer, BaseException):  # else it is shown by its Workers
            trunk.bindings.extend(answer.trunk.bindings)


async def _with_details(service: Any, calls: list[call_pb2.CallRecord]) -> list[call_pb2.CallRecord]:
    """The latest call of each answer of a PBX is asked for whole: a list's records have no steps, where it stands."""
    refused = (record for record in reversed(calls) if outcomes.pbx_answer(record) is not None)
    latest = {record.sip_status: record.call_id for record in refused}
    asked = (service.GetCall(pb.GetCallRequest(call_id=call_id), timeout=DEADLINE_S) for call_id in latest.values())
    found = {answer.record.call_id: answer.record for answer in await asyncio.gather(*asked)}
    return [found.get(record.call_id, record) for record in calls]


def of_call(call: str) -> Seen:
    return Seen(calls=[ask(lambda admin: admin.GetCall(pb.GetCallRequest(call_id=call), timeout=DEADLINE_S)).record])


def only(seen: Seen, account: str, trunk: str) -> Seen:
    """What concerns one account or trunk."""
    if trunk:
        seen.trunks = [each for each in seen.trunks if trunk in (each.login, each.trunk_id)]
        if not seen.trunks:
            fail(f"there is no trunk {trunk}: teletrunk trunk list shows them")
        account = seen.trunks[0].account_id
        seen.calls = [record for record in seen.calls if record.trunk_id == seen.trunks[0].trunk_id]
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
