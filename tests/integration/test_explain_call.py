"""`teletrunk explain --call`: the record is the Manager's, the words are the table's."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from teletrunk.errors import TABLE
from teletrunk.v1 import call_pb2
from teletrunk.v1 import manager_pb2 as pb

from tests.integration.manager_process import ManagerProcess, Wire
from tests.integration.manager_world import World

TO_TELEGRAM = call_pb2.DIRECTION_SIP_TO_TELEGRAM
TO_SIP = call_pb2.DIRECTION_TELEGRAM_TO_SIP
RECORDS = (
    call_pb2.CallRecord(call_id="a1", caller="office", called="@bob", sip_status=480, error_id="no-confirmed-contact"),
    call_pb2.CallRecord(call_id="b2", caller="office", called="@bob", sip_status=486, ended_by="telegram"),
    call_pb2.CallRecord(
        call_id="d4",
        caller="friend",
        direction=TO_SIP,
        sip_status=404,
        ended_by="pbx",
        sip_legs=[call_pb2.SipLeg(name="t1", trunk_id="t", login="office", peer="192.0.2.1:5060")],
        steps=[call_pb2.CallStep(source="pbx", target="worker", text="404 Not Found")],
    ),
    call_pb2.CallRecord(call_id="e5", caller="friend", direction=TO_SIP, sip_status=486, ended_by="pbx"),
    call_pb2.CallRecord(
        call_id="f6",
        caller="office",
        called="@bob",
        sip_status=488,
        error_id="no-common-codec",
        direction=TO_TELEGRAM,
        cause=call_pb2.REFUSAL_CAUSE_SRTP_OFF,
        error_detail="in whatever words",
    ),
    call_pb2.CallRecord(
        call_id="g7",
        caller="office",
        called="@bob",
        sip_status=403,
        error_id="ip-not-allowed",
        direction=TO_TELEGRAM,
        cause=call_pb2.REFUSAL_CAUSE_TRANSPORT_NOT_ALLOWED,
    ),
    call_pb2.CallRecord(  # of a Worker of the version before
        call_id="h8",
        caller="office",
        sip_status=403,
        error_id="ip-not-allowed",
        steps=[call_pb2.CallStep(text="403 IP address is not allowed: UDP is not a transport of this trunk: use TLS")],
    ),
    call_pb2.CallRecord(  # of a later version
        call_id="i9",
        caller="office",
        sip_status=403,
        error_id="ip-not-allowed",
        cause=call_pb2.RefusalCause.ValueType(999),
    ),
    call_pb2.CallRecord(  # of another row
        call_id="j0",
        caller="office",
        sip_status=403,
        error_id="ip-not-allowed",
        cause=call_pb2.REFUSAL_CAUSE_SRTP_OFF,
    ),
    call_pb2.CallRecord(call_id="c3", caller="office", called="@bob", sip_status=499, error_id="of-a-later-version"),
)


@pytest_asyncio.fixture
async def manager(tmp_path: Path) -> AsyncIterator[ManagerProcess]:
    manager = ManagerProcess(tmp_path / "data")
    await manager.start()
    wire = Wire(manager.address)
    for record in RECORDS:
        await wire.manager.ReportCall(pb.ReportCallRequest(record=record))
    await wire.channel.close()
    yield manager
    await manager.stop()


async def test_a_call_is_explained(manager: ManagerProcess) -> None:
    row = TABLE["no-confirmed-contact"]
    status, out, errors = await manager.command("explain", "--call", "a1")
    assert (status, errors) == (0, "")
    assert "office -> @bob" in out and row.essence in out and row.remedy in out
    shown = (await manager.command("call", "show", "a1"))[1]
    assert shown.splitlines()[-1] == "why, and what to do: teletrunk explain --call a1"
    assert "went well: teletrunk doctor" in (await manager.command("status"))[1]
    made = await manager.command("token", "add", "ops")
    assert (
        "It reaches what it makes itself" in made[1]
        and "reaches" not in (await manager.command("token", "add", "boss", "--role", "owner"))[1]
    )
    status, out, errors = await manager.command("explain", "--call", "a", "--json")
    assert (status, errors) == (0, "")
    told = json.loads(out)
    assert (told["call"]["call_id"], told["call"]["sip_status"]) == ("a1", 480)
    assert [refusal["id"] for refusal in told["refusals"]] == [row.id]
    assert told["refusals"][0]["remedy"] == row.remedy


async def test_a_call_that_was_not_refused_says_so(manager: ManagerProcess) -> None:
    status, out, errors = await manager.command("explain", "--call", "b2")
    assert (status, errors) == (0, "")
    assert "ended by telegram  SIP 486" in out and "did not refuse this call" in out
    status, out, errors = await manager.command("explain", "--call", "b2", "--json")
    assert (status, json.loads(out)["refusals"]) == (0, [])


async def test_the_remedy_is_that_of_the_cause(manager: ManagerProcess) -> None:
    """A row may have several: the record says which, by no words. The trunk is named, where it is known."""
    general = TABLE["ip-not-allowed"].remedy
    for call, words, others in (
        ("f6", "teletrunk trunk change office --srtp optional", "--codecs"),
        ("g7", "teletrunk trunk change office --transports", general),
        *((call, general, "--transports") for call in ("h8", "i9", "j0")),
    ):
        for command in (("explain", "--call"), ("doctor", "--call")):
            _, out, errors = await manager.command(*command, call)
            assert not errors and words in out and others not in out, out


async def test_what_the_pbx_has_answered_is_explained(manager: ManagerProcess) -> None:
    _, out, _ = await manager.command("explain", "--call", "d4")
    assert (
        "The PBX answered: 404 Not Found" in out
        and "no such extension" in out
        and "trunk change office --number-on-pbx" in out
    )
    assert "The PBX answered: 486" in (await manager.command("explain", "--call", "e5"))[1]
    told = json.loads((await manager.command("explain", "--call", "d4", "--json"))[1])
    assert "no such extension" in told["pbx_answer"]["means"] and told["refusals"] == []
    assert "404 Not Found" in (await manager.command("doctor", "--call", "d4"))[1]
    everything = (await manager.command("doctor"))[1]
    assert "404 Not Found: At the PBX there is no such extension" in everything and "486" not in everything


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
async def test_the_doctor_of_a_trunk_speaks_of_its_calls_alone(world: World) -> None:
    """Also of those that were refused before anybody knew whose they are: by their login."""
    await world.add_account()
    trunks = {login: (await world.add_trunk(login)).trunk for login in ("office", "other")}
    for number, (trunk, caller, row) in enumerate(
        ((trunks["office"].trunk_id, "office", "user-not-found"), ("", "office", "not-registered"),
         (trunks["other"].trunk_id, "other", "privacy-restricted"), ("", "other", "no-active-session"))
    ):  # fmt: skip
        record = call_pb2.CallRecord(call_id=f"c{number}", trunk_id=trunk, account_id=trunks["office"].account_id,
                                     direction=call_pb2.DIRECTION_SIP_TO_TELEGRAM, caller=caller, error_id=row,
                                     sip_status=404)  # fmt: skip
        await world.wire.manager.ReportCall(pb.ReportCallRequest(record=record))
    said = (await world.process.command("doctor", "--trunk", "office"))[1]
    assert "user-not-found: call c0" in said and "not-registered: call c1" in said
    assert "privacy-restricted" not in said and "no-active-session" not in said


async def test_what_cannot_be_explained_is_one_line(manager: ManagerProcess) -> None:
    for call, text in (("z", "there is no call z"), ("c3", "of-a-later-version")):
        status, out, errors = await manager.command("explain", "--call", call)
        assert (status, out, errors.count("\n")) == (1, "", 1)
        assert text in errors
