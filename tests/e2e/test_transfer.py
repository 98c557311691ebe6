"""Transfer by REFER (RFC 3515, 3891, 5589): a PBX passes a call on to another of its numbers, and only there."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any, TypeVar
from urllib.parse import quote

import pytest
from sipmessage import Request, Response
from teletrunk.v1 import admin_pb2
from teletrunk.v1.call_pb2 import CallRecord
from teletrunk_sandbox.actors import Message

from tests import sip_wire
from tests.rtp_wire import RtpWire, rtp
from tests.sip_wire import PATIENCE_S, response_to

from .conftest import FRIEND, GATEWAY, Scene
from .sound_pbx import KILOHERTZ, Call, SoundPbx, sound_pbx
from .test_hosts import hosts

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

TONE = KILOHERTZ * 2_000
T = TypeVar("T")
SERVICES = ("manager", "session-store", "worker")


async def soon(awaited: Awaitable[T]) -> T:
    return await asyncio.wait_for(awaited, PATIENCE_S)


class Heard:
    """What the gateway asks the PBX within and beside its calls: NOTIFYs and BYEs are answered at once."""

    def __init__(self, pbx: SoundPbx) -> None:
        self.pbx = pbx
        self.invites: asyncio.Queue[Request] = asyncio.Queue()
        self.byes: asyncio.Queue[Request] = asyncio.Queue()
        self.notifies: asyncio.Queue[Request] = asyncio.Queue()
        self.cancels: asyncio.Queue[Request] = asyncio.Queue()
        self.refused = ""  # a method that the PBX knows nothing of

    async def listen(self) -> None:
        queues = {"INVITE": self.invites, "BYE": self.byes, "NOTIFY": self.notifies, "CANCEL": self.cancels}
        while True:
            request = await self.pbx.wire.requests.get()
            if request.method in queues:
                queues[request.method].put_nowait(request)
            if request.method == self.refused:
                self.pbx.wire.answer(request, 481, "Subscription does not exist")
            elif request.method not in ("INVITE", "ACK"):
                self.pbx.wire.answer(request, 200, "OK")

    async def told(self) -> tuple[str, str]:
        """The status line of a NOTIFY, and whether it is the last."""
        notify = await soon(self.notifies.get())
        assert notify.headers["Event"].startswith("refer")
        assert notify.headers["Content-Type"].startswith("message/sipfrag")
        return notify.body.decode().strip(), notify.headers["Subscription-State"].partition(";")[0]

    async def answer(self, invite: Request, sound: RtpWire) -> Response:
        answer = response_to(invite, 200, "OK", self.pbx.wire, sound.offer())
        sound.towards(invite.body)
        self.pbx.wire.send(bytes(answer))
        return answer


@contextlib.asynccontextmanager
async def hearing(scene: Scene) -> AsyncIterator[Heard]:
    async with sound_pbx(scene) as pbx:
        heard = Heard(pbx)
        listening = asyncio.create_task(heard.listen())
        try:
            yield heard
        finally:
            listening.cancel()


async def refer(call: Call, to: str = "", **headers: str) -> Response:
    host = call.pbx.wire.local[0]
    return (await call.pbx.wire.ask(call.request("REFER", b"", Refer_To=to or f"<sip:202@{host}>", **headers))).final


async def refer_once_up(call: Call) -> Response:
    """Telegram's side knows that the call is up a moment before the gateway does."""
    async with asyncio.timeout(PATIENCE_S):
        while "is not up" in (answer := await refer(call)).phrase:
            await asyncio.sleep(0.05)
    return answer


async def rung_with(scene: Scene, login: str) -> bool:
    """Whether the Manager knows that the trunk is registered."""
    listed = await scene.world.admin.ListTrunks(admin_pb2.ListTrunksRequest(), timeout=5)
    return any(trunk.login == login and trunk.registered_at for trunk in listed.trunks)


async def has_sound(phone: RtpWire) -> None:
    """The gateway's sound has gone over to it."""
    async with asyncio.timeout(PATIENCE_S):
        while not phone.heard:
            await asyncio.sleep(0.02)


async def heard_at_telegram(scene: Scene, sound: RtpWire) -> Message:
    begun = (await scene.friends.tell("heard", phone=FRIEND, skip_s=0.0))["seconds"]
    await sound.speak(TONE)
    return await scene.friends.tell("heard", phone=FRIEND, skip_s=begun)


async def test_a_call_goes_on_with_another_number_of_the_pbx(scene: Scene) -> None:
    async with hearing(scene) as heard, rtp() as second:
        async with heard.pbx.call(play={"hz": 620}) as call:
            accepted = await refer(call, Referred_By="<sip:201@pbx.example>")
            assert accepted.code == 202 and accepted.headers["Contact"]
            invite = await soon(heard.invites.get())
            assert invite.uri.user == "202" and invite.call_id != call.invite.call_id
            assert invite.headers["Referred-By"] == "<sip:201@pbx.example>"
            assert await heard.told() == ("SIP/2.0 100 Trying", "active")
            heard.pbx.wire.send(bytes(response_to(invite, 180, "Ringing", heard.pbx.wire)))
            assert await heard.told() == ("SIP/2.0 180 Ringing", "active")
            await heard.answer(invite, second)
            assert await heard.told() == ("SIP/2.0 200 OK", "terminated")
            bye = await soon(heard.byes.get())
            assert bye.call_id == call.invite.call_id
            call.over = True
            said = await heard_at_telegram(scene, second)
            assert abs(said["hz"] - 1_000) < 20 and said["level_dbfs"] > -30, said
            assert len(second.heard) > 50, "and who was called hears Telegram"
            await scene.friends.tell("hangup", phone=FRIEND)
            assert (await soon(heard.byes.get())).call_id == invite.call_id
        record = heard.pbx.record
        assert record is not None and (record.ended_by, record.sip_status, record.error_id) == ("telegram", 200, "")
        assert "REFER 202" in [step.text for step in record.steps]
        await is_found_by_what_the_pbx_knows(scene, record, call.invite.call_id, invite.call_id)


async def is_found_by_what_the_pbx_knows(scene: Scene, record: CallRecord, caller: str, rung: str) -> None:
    assert [(leg.name, leg.sip_call_id) for leg in record.sip_legs] == [("a", caller), ("x1", rung)]
    assert all(leg.login == record.caller and leg.peer.startswith("127.0.0.1:") for leg in record.sip_legs)
    for sip_call_id in (caller, rung):
        request = admin_pb2.ListCallsRequest(sip_call_id=sip_call_id)
        found = (await scene.world.admin.ListCalls(request, timeout=5)).calls
        assert [call.call_id for call in found] == [record.call_id]
    assert {step.leg for step in record.steps if "pbx" in (step.source, step.target)} == {"", "x1"}
    told = {service: list(lines_of(scene, service, record.call_id)) for service in SERVICES}
    assert told["worker"][0]["sip_call_id"] == caller and told["worker"][0]["account_id"] == record.account_id
    events = {service: [line["event"] for line in lines] for service, lines in told.items()}
    assert events["worker"] == ["call begins", "call rings", "call answered", "leg dialled", "call ended"]
    assert events["manager"] == ["call routed"]
    assert events["session-store"] == ["callee resolved", "call requested", "call ready", "call discarded"]


def lines_of(scene: Scene, service: str, call_id: str) -> Iterator[dict[str, Any]]:
    for line in (scene.world.directory / "data" / "logs" / f"{service}.log").read_text().splitlines():
        if call_id in line:
            yield json.loads(line)


async def test_a_call_from_telegram_is_passed_on_by_who_has_taken_it(scene: Scene) -> None:
    async with hearing(scene) as heard, rtp() as second:
        pbx = heard.pbx
        await scene.friends.tell("call", phone=FRIEND, to=GATEWAY, play={"hz": 620})
        first = await soon(heard.invites.get())
        answer = await heard.answer(first, pbx.rtp)
        await scene.friends.wait("connected", phone=FRIEND)
        ours = Response(200, "OK")  # the dialog as the PBX sees it: it was called
        ours.headers.set("To", first.headers["From"])
        mine = pbx.wire.request("INVITE", "", "pbx", **{"From": answer.headers["To"], "Call-ID": first.call_id})
        call = Call(pbx, mine, ours)
        assert (await refer_once_up(call)).code == 202
        invite = await soon(heard.invites.get())
        assert invite.headers["From"].partition(">")[0] == first.headers["From"].partition(">")[0], "the same caller"
        assert invite.headers["X-TG-ID"] == first.headers["X-TG-ID"]
        # An impatient one: it has gone before anybody has answered.
        assert (await pbx.wire.ask(call.request("BYE"))).final.code == 200
        await heard.answer(invite, second)
        await has_sound(second)
        said = await heard_at_telegram(scene, second)
        assert abs(said["hz"] - 1_000) < 20 and said["level_dbfs"] > -30, said
        back = pbx.wire.in_dialog("BYE", _called(pbx, invite), _caller(invite))
        assert (await pbx.wire.ask(back)).final.code == 200
        await scene.friends.wait("ended", phone=FRIEND, by="peer")
        assert (await scene.record()).ended_by == "pbx"


def _called(pbx: SoundPbx, invite: Request) -> Request:
    near = f"{invite.headers['To']};tag=pbx"
    return pbx.wire.request("INVITE", "", "pbx", **{"From": near, "Call-ID": invite.call_id})


def _caller(invite: Request) -> Response:
    answer = Response(200, "OK")
    answer.headers.set("To", invite.headers["From"])
    return answer


async def test_a_transfer_that_fails_leaves_the_call_as_it_was(scene: Scene) -> None:
    async with hearing(scene) as heard:
        async with heard.pbx.call(play={"hz": 620}) as call:
            for code, phrase in ((486, "Busy Here"), (404, "Not Found")):
                assert (await refer(call)).code == 202
                invite = await soon(heard.invites.get())
                assert await heard.told() == ("SIP/2.0 100 Trying", "active")
                heard.pbx.wire.answer(invite, code, phrase)
                assert await heard.told() == (f"SIP/2.0 {code} {phrase}", "terminated")
            said = await heard_at_telegram(scene, heard.pbx.rtp)
            assert abs(said["hz"] - 1_000) < 20, said
        assert heard.pbx.record is not None and heard.pbx.record.ended_by == "pbx"


async def test_what_pjsua_cannot_take_costs_no_host(scene: Scene) -> None:
    """Bytes that are no UTF-8, and more of them than a packet holds: in the one call, not in the others of the host."""
    before = {process.pid for process in hosts(scene)}
    async with hearing(scene) as heard, heard.pbx.call() as call:
        for referred_by in ('"B\udcfcro" <sip:201@pbx>', f'"{chr(0x1F600) * 240}" <sip:201@pbx>'):
            wanted = bytes(call.request("REFER", Refer_To=f"<sip:202@{heard.pbx.wire.local[0]}>"))
            line = f"Referred-By: {referred_by}\r\n".encode("utf-8", "surrogateescape")
            heard.pbx.wire.send(wanted.replace(b"Content-Length", line + b"Content-Length"))
            invite = await soon(heard.invites.get())
            assert invite.headers.get("Referred-By") is None
            refusal = bytes(response_to(invite, 486, "Besetzt", heard.pbx.wire))
            heard.pbx.wire.send(refusal.replace(b"Besetzt", b"Besetzt f\xfcr Sie"))
            assert (await heard.told())[0] == "SIP/2.0 100 Trying"
            assert (await heard.told())[0].startswith("SIP/2.0 486 Besetzt f")
        assert {process.pid for process in hosts(scene)} >= before


async def test_who_wants_no_news_of_a_transfer_keeps_the_call(scene: Scene) -> None:
    async with hearing(scene) as heard:
        heard.refused = "NOTIFY"
        async with heard.pbx.call() as call:
            assert (await refer(call)).code == 202
            invite = await soon(heard.invites.get())
            heard.pbx.wire.answer(invite, 486, "Busy Here")
            while (await heard.told())[1] != "terminated":
                pass
            said = await heard_at_telegram(scene, heard.pbx.rtp)
            assert abs(said["hz"] - 1_000) < 20, said
            assert heard.byes.empty()


async def test_a_transfer_is_rung_at_the_pbx_that_asks_for_it(scene: Scene) -> None:
    """Of two trunks that rang together, the other one's PBX has nothing to do with it."""
    async with hearing(scene) as heard, sip_wire.udp(scene.edge) as other:
        pbx = heard.pbx
        second = await scene.world.add_trunk(GATEWAY, priority=0)
        assert (await other.register(second.trunk.login, second.password)).final.code == 200
        async with asyncio.timeout(PATIENCE_S):
            while not await rung_with(scene, second.trunk.login):
                await asyncio.sleep(0.1)
        await scene.friends.tell("call", phone=FRIEND, to=GATEWAY)
        other.answer(await other.next_request("INVITE"), 486, "Busy Here")
        first = await soon(heard.invites.get())
        answer = await heard.answer(first, pbx.rtp)
        await scene.friends.wait("connected", phone=FRIEND)
        ours = Response(200, "OK")
        ours.headers.set("To", first.headers["From"])
        mine = pbx.wire.request("INVITE", "", "pbx", **{"From": answer.headers["To"], "Call-ID": first.call_id})
        call = Call(pbx, mine, ours)
        assert (await refer_once_up(call)).code == 202
        pbx.wire.answer(await soon(heard.invites.get()), 486, "Busy Here")
        assert (await pbx.wire.ask(call.request("BYE"))).final.code == 200
        await scene.friends.wait("ended", phone=FRIEND, by="peer")
        record = await scene.record()
        trunks = (await scene.world.admin.ListTrunks(admin_pb2.ListTrunksRequest(), timeout=5)).trunks
        assert [trunk.login for trunk in trunks if trunk.trunk_id == record.trunk_id] == [pbx.login]
        logins = {leg.name: leg.login for leg in record.sip_legs if leg.name.startswith("t")}
        assert set(logins.values()) == {pbx.login, second.trunk.login}
        busy = [logins.get(step.leg) for step in record.steps if step.text == "486 Busy Here" and step.source == "pbx"]
        assert busy[0] == second.trunk.login, "who of those that were rung has said what"
    await scene.world.remove_trunk(second.trunk.login)


async def test_who_goes_before_a_transfer_fails_has_ended_the_call(scene: Scene) -> None:
    async with hearing(scene) as heard:
        async with heard.pbx.call() as call:
            assert (await refer(call)).code == 202
            invite = await soon(heard.invites.get())
            assert (await heard.pbx.wire.ask(call.request("BYE"))).final.code == 200
            call.over = True
            heard.pbx.wire.answer(invite, 486, "Busy Here")
            await scene.friends.wait("ended", phone=FRIEND, by="peer")
        assert heard.pbx.record is not None and heard.pbx.record.ended_by == "pbx"


async def test_telegram_hangs_up_during_a_transfer(scene: Scene) -> None:
    async with hearing(scene) as heard:
        async with heard.pbx.call() as call:
            assert (await refer(call)).code == 202
            invite = await soon(heard.invites.get())
            heard.pbx.wire.send(bytes(response_to(invite, 180, "Ringing", heard.pbx.wire)))
            await heard.told()
            await heard.told()
            await scene.friends.tell("hangup", phone=FRIEND)
            assert (await soon(heard.byes.get())).call_id == call.invite.call_id
            assert (await soon(heard.cancels.get())).call_id == invite.call_id
            heard.pbx.wire.send(bytes(response_to(invite, 487, "Request Terminated", heard.pbx.wire)))
            call.over = True
        assert heard.pbx.record is not None and heard.pbx.record.ended_by == "telegram"


async def test_a_call_is_transferred_twice_and_without_notifications(scene: Scene) -> None:
    async with hearing(scene) as heard, rtp() as second, rtp() as third, heard.pbx.call(play={"hz": 620}) as call:
        accepted = await refer(call, Refer_Sub="false;x=y")  # RFC 4488
        assert (accepted.code, accepted.headers["Refer-Sub"]) == (202, "false")
        invite = await soon(heard.invites.get())
        await heard.answer(invite, second)
        await soon(heard.byes.get())
        assert heard.notifies.empty()
        call.over = True
        again = Call(heard.pbx, _called(heard.pbx, invite), _caller(invite))
        assert (await refer(again, "<sip:203@teletrunk.invalid>")).code == 603
        assert (await refer(again, f"<sip:203@{scene.edge[0]}>")).code == 202
        last = await soon(heard.invites.get())
        assert last.uri.user == "203"
        await heard.answer(last, third)
        assert (await soon(heard.byes.get())).call_id == invite.call_id
        said = await heard_at_telegram(scene, third)
        assert abs(said["hz"] - 1_000) < 20, said
        await scene.friends.tell("hangup", phone=FRIEND)
        assert (await soon(heard.byes.get())).call_id == last.call_id


async def test_an_attended_transfer_takes_the_place_of_the_pbxs_own_call(scene: Scene) -> None:
    """RFC 5589 7: 201 has asked 202 before, and names that call."""
    async with hearing(scene) as heard, rtp() as second, heard.pbx.call(play={"hz": 620}) as call:
        host = heard.pbx.wire.local[0]
        consulted = "?Replaces=7%40pbx.example%3Bto-tag%3Db2%3Bfrom-tag%3Da1%3Bearly-only"
        assert (await refer(call, f"<sip:202@{host}{consulted}>")).code == 202
        invite = await soon(heard.invites.get())
        assert invite.uri.user == "202"
        assert invite.headers["Replaces"] == "7@pbx.example;to-tag=b2;from-tag=a1;early-only"
        await heard.answer(invite, second)
        assert (await soon(heard.byes.get())).call_id == call.request("BYE").call_id
        call.over = True
        said = await heard_at_telegram(scene, second)
        assert abs(said["hz"] - 1_000) < 20, said
        await scene.friends.tell("hangup", phone=FRIEND)
        assert (await soon(heard.byes.get())).call_id == invite.call_id


async def test_a_call_that_the_pbx_does_not_know_leaves_the_transfer_undone(scene: Scene) -> None:
    async with hearing(scene) as heard, heard.pbx.call() as call:
        host = heard.pbx.wire.local[0]
        assert (await refer(call, f"<sip:202@{host}?Replaces=a%3Bto-tag%3Db%3Bfrom-tag%3Dc>")).code == 202
        invite = await soon(heard.invites.get())
        heard.pbx.wire.answer(invite, 481, "No such call")
        assert await heard.told() == ("SIP/2.0 100 Trying", "active")
        assert await heard.told() == ("SIP/2.0 481 No such call", "terminated")
        assert (await call.offer_again(heard.pbx.rtp.offer())).code == 200  # the call is as it was


async def test_what_is_no_transfer_within_the_pbx_is_refused(scene: Scene) -> None:
    async with hearing(scene) as heard:
        host = heard.pbx.wire.local[0]
        async with heard.pbx.call() as call:
            for to, phrase in (
                ("<sip:202@192.0.2.1>", "only to a number of this PBX"),
                ("<sip:b1@binding.teletrunk.invalid>", "only to a number of this PBX"),
                (f"<sip:202@{host}?Replaces=a>", "which call it takes the place of cannot be read"),
                (f"<sip:202@{host}?replaces=a%3Bto-tag%3Db>", "which call it takes the place of cannot be read"),
                (
                    f"<sip:202@{host}?Replaces=a%0D%0AX:b%3Bto-tag%3Db%3Bfrom-tag%3Dc>",
                    "which call it takes the place of cannot be read",
                ),
                (
                    f"<sip:202@{host}?Replaces=a%3Bto-tag%3Db%3Bfrom-tag%3Dc&Replaces=d%3Bto-tag%3De%3Bfrom-tag%3Df>",
                    "which call it takes the place of cannot be read",
                ),
                (
                    f"<sip:202@{host}?Replaces={quote(call.request('BYE').call_id)}%3Bto-tag%3Db%3Bfrom-tag%3Dc>",
                    "only to a call within the PBX, and that one is with Telegram",
                ),
                (f"<sip:202@{host};method=BYE>", "only by INVITE"),
                (f"<sip:{host}>", "it names no number"),
                (f"<sip:{'2' * 65}@{host}>", "it names no number"),
            ):
                refused = await refer(call, to)
                assert (refused.code, refused.phrase) == (603, f"Transfer is refused: {phrase}")
            assert (await refer(call, "no address")).code == 400
            assert (await heard.pbx.wire.ask(call.request("REFER"))).final.code == 400
            await heard.pbx.change("--no-transfers")
            refused = await refer(call)
            assert (refused.code, refused.phrase) == (603, "Transfer is refused: this trunk allows none")
            await heard.pbx.change("--transfers")
            for holds in (True, False):
                offer = heard.pbx.rtp.offer().replace(b"a=sendrecv", b"")
                assert (await call.offer_again(offer + b"a=sendonly\r\n" * holds)).code == 200
            assert heard.invites.empty() and heard.notifies.empty()
        assert heard.pbx.record is not None
        said = [step.text for step in heard.pbx.record.steps]
        assert "603 Transfer is refused: this trunk allows none" in said
        assert [text for text in said if text.startswith("INVITE, ")] == ["INVITE, holds", "INVITE, talks"]
