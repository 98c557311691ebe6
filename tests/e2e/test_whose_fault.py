"""Whoever fails is named: in the answer, in the record, in the chat."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from sipmessage import Request

from tests import sip_wire
from tests.sip_wire import response_to

from .conftest import FRIEND, GATEWAY, Scene
from .test_calls import place_call
from .test_hosts import ELSEWHERE, hosts, sdp

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pbx(scene: Scene) -> AsyncIterator[sip_wire.SipWire]:
    """The only PBX that Telegram's calls ring at: a bare socket."""
    added = await scene.world.add_trunk(GATEWAY)
    async with sip_wire.udp(scene.edge, "127.0.23.1") as wire:
        assert (await wire.register(added.trunk.login, added.password)).final.code == 200
        await scene.only_trunk(added)
        yield wire


def reasons(message: Request, protocol: str = "SIP") -> list[str]:
    return [value for value in message.headers.getlist("Reason") if value.startswith(protocol)]


async def test_a_key_that_telegram_does_not_confirm(scene: Scene) -> None:
    await scene.world.control.error(GATEWAY, "phone.confirmCall", 400, "CALL_PEER_INVALID")
    call = await place_call(scene)
    ended = await scene.phone.wait("ended", call=call)
    assert (ended["status"], ended["phrase"]) == (500, "Telegram error: CALL_PEER_INVALID")
    record = await scene.record()
    assert (record.ended_by, record.error_id, record.sip_status) == ("gateway", "telegram-error", 500)


async def test_an_answer_that_telegram_does_not_take(scene: Scene, pbx: sip_wire.SipWire) -> None:
    await scene.world.control.error(GATEWAY, "phone.acceptCall", 400, "CALL_OCCUPY_FAILED")
    await scene.friends.tell("call", phone=FRIEND, to=GATEWAY)
    invite = await pbx.next_request("INVITE")
    answer = response_to(invite, 200, "OK", pbx, sdp())
    pbx.send(bytes(answer))
    await pbx.next_request("ACK")
    bye = await pbx.next_request("BYE")
    pbx.answer(bye, 200, "OK")
    assert reasons(bye) == ['SIP;cause=500;text="Telegram error: CALL_OCCUPY_FAILED"']
    message = await scene.friends.wait("message", phone=FRIEND)
    assert message["text"].startswith("500 Telegram error\n")
    await scene.friends.wait("ended", phone=FRIEND, by="peer")
    record = await scene.record()
    assert (record.ended_by, record.error_id) == ("gateway", "telegram-error")


async def test_an_answer_that_is_not_whole_is_the_pbxs_fault_and_is_told_at_once(
    scene: Scene, pbx: sip_wire.SipWire
) -> None:
    await scene.friends.tell("call", phone=FRIEND, to=GATEWAY)
    invite = await pbx.next_request("INVITE")
    answer = response_to(invite, 200, "OK", pbx, sdp())
    answer.headers.set("Content-Length", "9999")
    pbx.send(bytes(answer))
    await pbx.next_request("ACK")
    bye = await pbx.next_request("BYE")
    pbx.answer(bye, 200, "OK")
    assert reasons(bye) == ['SIP;cause=400;text="Bad Request: Content-Length is more than there is"']
    message = await scene.friends.wait("message", phone=FRIEND)
    assert message["text"].startswith("400 Bad Request\n")
    await scene.friends.wait("ended", phone=FRIEND, by="peer")
    record = await scene.record()
    assert (record.ended_by, record.error_id, record.sip_status) == ("gateway", "bad-request", 400)


async def test_a_call_is_up_whatever_of_its_answer_cannot_be_read(scene: Scene, pbx: sip_wire.SipWire) -> None:
    await scene.friends.tell("call", phone=FRIEND, to=GATEWAY)
    invite = await pbx.next_request("INVITE")
    answer = response_to(invite, 200, "OK", pbx, sdp())
    unreadable = {"Contact": "<sip:p b x>", "Supported": ",", "Allow": "ACK,,BYE", "Session-Expires": "9;;"}
    for name, value in unreadable.items():
        answer.headers.set(name, value)
    answer.headers.add("Record-Route", "<sip:a[b@127.0.0.9;lr>")
    pbx.send(bytes(answer))
    assert (await pbx.next_request("ACK")).uri == invite.uri
    await scene.friends.wait("connected", phone=FRIEND)
    await scene.friends.tell("hangup", phone=FRIEND)
    bye = await pbx.next_request("BYE")
    assert bye.uri == invite.uri
    pbx.answer(bye, 200, "OK")
    record = await scene.record()
    assert (record.ended_by, record.error_id) == ("telegram", "")


async def test_who_answers_on_the_accounts_own_phone_has_missed_nothing(scene: Scene, pbx: sip_wire.SipWire) -> None:
    await scene.friends.tell("user", phone=GATEWAY, first_name="Gateway", username="gateway")
    await scene.friends.tell("behave", phone=GATEWAY, on_call="answer", delay_s=1.0)
    await scene.friends.tell("call", phone=FRIEND, to=GATEWAY)
    invite = await pbx.next_request("INVITE")
    pbx.send(bytes(response_to(invite, 180, "Ringing", pbx)))
    cancel = await pbx.next_request("CANCEL")
    pbx.answer(cancel, 200, "OK")
    pbx.answer(invite, 487, "Request Terminated")
    assert reasons(cancel) == [ELSEWHERE] and reasons(cancel, "Q.850") == ["Q.850;cause=26"]
    assert (await scene.record()).ended_by == "telegram"
    await scene.friends.tell("behave", phone=GATEWAY, on_call="ring")
    await scene.friends.tell("hangup", phone=FRIEND)


async def test_a_host_that_dies_while_the_pbx_rings(scene: Scene, pbx: sip_wire.SipWire) -> None:
    await scene.friends.tell("call", phone=FRIEND, to=GATEWAY)
    invite = await pbx.next_request("INVITE")
    pbx.send(bytes(response_to(invite, 180, "Ringing", pbx)))
    await scene.friends.wait("ringing", phone=FRIEND)
    for process in hosts(scene):
        os.kill(process.pid, signal.SIGKILL)
    cancel = await pbx.next_request("CANCEL")
    pbx.answer(cancel, 200, "OK")
    pbx.answer(invite, 487, "Request Terminated")
    message = await scene.friends.wait("message", phone=FRIEND)
    assert message["text"].startswith("500 Media failed\n")
    await scene.friends.wait("ended", phone=FRIEND, by="peer")
    record = await scene.record()
    assert (record.ended_by, record.error_id, record.sip_status) == ("gateway", "media-failed", 500)
