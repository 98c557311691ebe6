"""All calls of a Worker: what is refused, or given up, before it has a host owns a record all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import structlog
from teletrunk.errors import Refusal
from teletrunk.service import Service
from teletrunk.v1 import call_pb2, manager_pb2
from teletrunk_worker.calls import Calls, Rim
from teletrunk_worker.policy.admission import Invite
from teletrunk_worker.refused_calls import RefusedCalls
from teletrunk_worker.sip.auth import Credentials
from teletrunk_worker.trunks.book import TrunkBook

from tests.simulated_time import simulated

from .hosts_world import HostsWorld

_INVITE = Invite(Credentials(**dict.fromkeys(Credentials.__dataclass_fields__, "office")), "127.0.0.1", "+1")


class Registrar:
    def __init__(self) -> None:
        self.registered = True

    def knows(self, login: str) -> bool:
        return self.registered

    def bindings(self, trunk_id: str) -> list[str]:
        return ["b"] if self.registered else []


class Office(HostsWorld):
    """A Worker's calls, with the Manager's answer and the hosts' room as the test wants them."""

    def __init__(self, **written: list[Any]) -> None:
        super().__init__(b"", **written)
        self.route = manager_pb2.RouteCallResponse(
            trunk_id="t", session=manager_pb2.SessionAssignment(storage_address="s"), line=manager_pb2.Line(call_id="c")
        )
        self.unroutable: Refusal | None = None
        self.edge.trunks = TrunkBook()  # type: ignore[attr-defined]
        self.edge.registrar = Registrar()  # type: ignore[attr-defined]
        self.calls = Calls(Service("worker"), 4)
        refused = RefusedCalls(lambda login, address: False, self.report)
        self.calls.rim = Rim("w", self.edge, self.sip, self.telegram, self, self, refused, 12.0)  # type: ignore[arg-type]
        self.calls.configure(manager_pb2.WorkerConfig())

    async def route_call(self, *asked: object, **fields: object) -> manager_pb2.RouteCallResponse:
        await asyncio.sleep(0.1)
        if self.unroutable is not None:
            raise self.unroutable
        return self.route

    @property
    def reports(self) -> list[tuple[str, str, int]]:
        return [(record.ended_by, record.error_id, record.sip_status) for record in self.reported]


def office_hours(hours: Callable[[Office], Awaitable[None]], **written: list[Any]) -> Office:
    async def all_day() -> Office:
        office = Office(**written)
        await hours(office)
        assert office.calls.count == 0 and not office.calls.lines()
        assert not any(host.listeners for host in office.sip.all)
        return office

    return simulated(all_day())


async def _is_refused(office: Office, row_id: str) -> None:
    with pytest.raises(Refusal) as refused:
        await office.calls.admit(_INVITE)
    assert refused.value.row.id == row_id
    await office.calls.ended(1.0)


def test_a_trunk_that_is_not_registered_leaves_a_record_and_no_line() -> None:
    async def hours(office: Office) -> None:
        office.edge.registrar.registered = False  # type: ignore[attr-defined]
        await _is_refused(office, "not-registered")

    assert office_hours(hours).reports == [("gateway", "not-registered", 404)]


def test_the_managers_mark_goes_into_the_record() -> None:
    async def hours(office: Office) -> None:
        office.route.account_id = "a"
        office.route.proof.CopyFrom(call_pb2.RouteProof(routed_at=1.5, mark=b"mark"))
        await _is_refused(office, "worker-full")

    with structlog.testing.capture_logs() as lines:
        (record,) = office_hours(hours, place_sip=[[(3.0, "full")]]).reported
    of_call = [line for line in lines if "call_id" in line and line["log_level"] != "debug"]
    told = [(line["event"], line.get("account_id"), line.get("trunk_id")) for line in of_call]
    assert told == [("call begins", "a", "t"), ("call ended", "a", "t")]
    assert (record.account_id, record.trunk_id, record.route_proof.mark) == ("a", "t", b"mark")
    (record,) = office_hours(lambda office: _is_refused(office, "worker-full"), place_sip=[[(3.0, "full")]]).reported
    assert not record.HasField("route_proof"), "a Manager of the version before gives none"


def test_so_does_an_account_without_a_session() -> None:
    async def hours(office: Office) -> None:
        office.route.session.storage_address = ""
        await _is_refused(office, "no-active-session")

    assert office_hours(hours).reports == [("gateway", "no-active-session", 503)]


def test_so_does_a_call_that_no_host_has_room_for() -> None:
    async def hours(office: Office) -> None:
        await _is_refused(office, "worker-full")

    assert office_hours(hours, place_sip=[[(3.0, "full")]]).reports == [("gateway", "worker-full", 503)]


def test_who_cancels_while_a_host_is_looked_for_is_not_waited_for() -> None:
    async def hours(office: Office) -> None:
        admission = asyncio.ensure_future(office.calls.admit(_INVITE))
        await asyncio.sleep(1.0)
        assert office.calls.count == 1 and len(office.calls.lines()) == 1
        admission.cancel()
        await office.calls.ended(0.5)

    assert office_hours(hours, place_sip=[[]]).reports == [("pbx", "", 487)]


def test_who_cancels_while_the_manager_is_asked_gives_the_line_back_that_it_takes() -> None:
    async def hours(office: Office) -> None:
        admission = asyncio.ensure_future(office.calls.admit(_INVITE))
        await asyncio.sleep(0.05)
        admission.cancel()
        await asyncio.sleep(0.01)
        assert admission.cancelled(), "nobody waits for the Manager"
        await asyncio.sleep(0.5)

    assert office_hours(hours, place_sip=[[]]).reports == [("pbx", "", 487)]


def test_nobody_hears_of_a_refusal_after_a_cancel() -> None:
    async def hours(office: Office) -> None:
        admission = asyncio.ensure_future(office.calls.admit(_INVITE))
        await asyncio.sleep(0.05)
        admission.cancel()
        office.unroutable = Refusal("subscription-limit")
        await asyncio.sleep(0.5)

    office_hours(hours)


def test_calls_that_are_being_routed_take_room_too() -> None:
    async def hours(office: Office) -> None:
        admissions = [asyncio.ensure_future(office.calls.admit(_INVITE)) for _ in range(5)]
        await asyncio.wait(admissions)
        failures = [admission.exception() for admission in admissions]
        assert [str(failure) for failure in failures if failure] == ["All lines of this Worker are busy"]
        await office.calls.close()

    assert len(office_hours(hours, placed=[[]] * 5, hangup=[[]] * 5).reported) == 4


def test_a_worker_that_ends_hangs_up_and_writes_down_what_does_not_end() -> None:
    async def hours(office: Office) -> None:
        await office.calls.admit(_INVITE)
        await asyncio.sleep(1.0)
        await office.calls.close()
        assert office.edge.spoken, "the edge says it for a host that does not"

    office = office_hours(hours, hangup=[[]])
    assert office.reports == [("gateway", "worker-restarting", 200)]
