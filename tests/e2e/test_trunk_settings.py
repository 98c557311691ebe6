"""A trunk's settings on the wire: codecs in its order in both directions; a binding that a change makes unjust ends."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
from sipmessage import Request
from teletrunk_worker.sip import sdp

from tests import sip_wire
from tests.pbx_wire import pbx_wire, said

from .conftest import FRIEND, GATEWAY, Scene

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

_PAYLOADS = {"PCMU": "0", "PCMA": "8", "G722": "9", "G729": "18"}


def offering(request: Request, *codecs: str) -> Request:
    numbers = " ".join(_PAYLOADS[codec] for codec in codecs)
    request.body = re.sub(rb"RTP/AVP [0-9 ]+", f"RTP/AVP {numbers}".encode(), request.body)
    request.body = re.sub(rb"a=rtpmap:[^\r]*\r\n", b"", request.body)
    request.headers.set("Content-Length", str(len(request.body)))
    return request


class Pbx:
    """A trunk of its own and a bare socket that is registered with it."""

    def __init__(self, scene: Scene, wire: sip_wire.SipWire, login: str, password: str) -> None:
        self.scene, self.wire, self.login, self.password = scene, wire, login, password

    async def change(self, *codecs: str) -> None:
        await self.scene.world.command("trunk", "change", self.login, "--codecs", ",".join(codecs))
        await asyncio.sleep(1.0)  # what the Manager promises: a change is with the Workers within a second

    async def call(self, *offered: str) -> tuple[int, str, list[str]]:
        """Status, phrase and the codecs that were answered."""
        first = offering(self.wire.request("INVITE", "%40friend", self.login), *offered)
        invite = self.wire.answer_challenge(first, (await self.wire.ask(first)).final, self.login, self.password)
        answer = (await self.wire.ask(invite, 20)).final
        answered = sdp.sounds(answer.body) if answer.code == 200 else []
        if answer.code == 200:
            self.wire.send(bytes(self.wire.in_dialog("ACK", invite, answer, CSeq=f"{invite.cseq.sequence} ACK")))
            await self.wire.ask(self.wire.in_dialog("BYE", invite, answer))
        await self.scene.record()
        return answer.code, answer.phrase, [codec for sound in answered for codec in sound.codecs]


async def with_pbx(scene: Scene, wire: sip_wire.SipWire) -> Pbx:
    trunk = await scene.world.add_trunk(GATEWAY)
    await scene.only_trunk(trunk)
    pbx = Pbx(scene, wire, trunk.trunk.login, trunk.password)
    assert (await wire.register(pbx.login, pbx.password)).final.code == 200
    await scene.friends.tell("behave", phone=FRIEND, on_call="answer")
    return pbx


async def test_a_trunks_codecs_are_obeyed_in_its_order_in_both_directions(scene: Scene) -> None:
    async with sip_wire.udp(scene.edge) as wire:
        pbx = await with_pbx(scene, wire)
        assert (await pbx.call("PCMU", "PCMA"))[2][0] == "PCMA", "the order of a new trunk, not of the offer"
        await pbx.change("PCMU", "PCMA")
        assert (await pbx.call("G722", "PCMA", "PCMU"))[2][0] == "PCMU"
        await pbx.change("G722")
        assert (await pbx.call("PCMA", "G722"))[2] == ["G722"]
        code, phrase, _ = await pbx.call("PCMA", "G729")
        assert (code, phrase) == (488, "No common codec: offered PCMA, G729; this trunk has G722")
        await pbx.change("G722", "PCMU")
        await scene.friends.tell("call", phone=FRIEND, to=GATEWAY)
        invite = await wire.next_request("INVITE", 20)
        [sound] = sdp.sounds(invite.body)
        assert [name for name in sound.codecs if name != "telephone-event"] == ["G722", "PCMU"]
        assert invite.headers.get("X-TG-Username") == "friend" and invite.headers.get("X-TG-FirstName") == "Friend"
        assert invite.headers["X-TG-ID"].isdigit() and invite.headers.get("X-Teletrunk-Call") is None
        wire.answer(invite, 486, "Busy Here")
        await scene.record()


async def test_a_new_password_ends_the_binding_that_the_old_one_made(scene: Scene) -> None:
    async with sip_wire.udp(scene.edge) as wire:
        pbx = await with_pbx(scene, wire)
        said = json.loads(await scene.world.command("trunk", "reset-password", pbx.login, "--json"))
        await _no_binding_left(scene, pbx.login)
        assert (await wire.register(pbx.login, said["password"])).final.code == 200
        assert await _registered(scene, pbx.login)


async def test_a_shorter_list_of_addresses_ends_the_bindings_outside_it(scene: Scene) -> None:
    async with sip_wire.udp(scene.edge) as wire:
        pbx = await with_pbx(scene, wire)
        await scene.world.command("trunk", "trust", pbx.login, "127.0.0.0/8")
        await asyncio.sleep(1.0)
        assert await _registered(scene, pbx.login)
        await scene.world.command("trunk", "trust", pbx.login, "192.0.2.0/24")
        assert "may be used from: 192.0.2.0/24" in await scene.world.command("trunk", "show", pbx.login)
        await _no_binding_left(scene, pbx.login)


async def _registered(scene: Scene, login: str) -> list[str]:
    return list(json.loads(await scene.world.command("trunk", "show", login, "--json")).get("registered_at", []))


async def _no_binding_left(scene: Scene, login: str) -> None:
    async with asyncio.timeout(10):
        while await _registered(scene, login):
            await asyncio.sleep(0.1)


async def test_a_trunk_that_is_switched_off_is_neither_let_in_nor_rung(scene: Scene) -> None:
    async with sip_wire.udp(scene.edge) as wire:
        pbx = await with_pbx(scene, wire)
        await scene.world.command("trunk", "change", pbx.login, "--off")
        await asyncio.sleep(1.0)
        refused = await wire.register(pbx.login, pbx.password)
        assert refused.final.code == 403, refused.final
        shown = json.loads(await scene.world.command("trunk", "show", pbx.login, "--json"))
        assert not shown.get("registered_at") and shown["options"]["off"] is True
        await scene.world.command("trunk", "change", pbx.login, "--on")
        assert (await wire.register(pbx.login, pbx.password)).final.code == 200
        assert (await pbx.call("PCMA"))[0] == 200


async def test_a_pbx_comes_by_a_transport_of_its_trunk(scene: Scene) -> None:
    async with sip_wire.udp(scene.edge) as wire:
        pbx = await with_pbx(scene, wire)
        await scene.world.command("trunk", "change", pbx.login, "--transports", "tcp,tls")
        await asyncio.sleep(1.0)
        assert (await pbx.call("PCMA"))[0] == 404, "the binding has ended"
        refused = await wire.register(pbx.login, pbx.password)
        assert refused.final.code == 403 and "use TCP, TLS" in refused.final.phrase
        await scene.world.command("trunk", "change", pbx.login, "--transports", "")
        assert (await wire.register(pbx.login, pbx.password)).final.code == 200


# What the Manager makes of a caller and of a number, trunk by trunk.

ZOE, ZOE_NAME = "+79990000012", 'Zoë "אב\\" 🙂\r\nX-Evil: 1'


async def change(pbx: Pbx, *options: str) -> None:
    await pbx.scene.world.command("trunk", "change", pbx.login, *options)


async def rung(pbx: Pbx, caller: str = FRIEND) -> Request:
    """The INVITE of a Telegram user's call, which the PBX refuses as busy."""
    await pbx.scene.friends.tell("call", phone=caller, to="@gateway")
    invite = await pbx.wire.next_request("INVITE", 20)
    pbx.wire.answer(invite, 486, "Busy Here")
    await pbx.scene.record()
    return invite


async def test_a_caller_looks_as_the_trunk_says(scene: Scene) -> None:
    async with sip_wire.udp(scene.edge) as wire:
        pbx = await with_pbx(scene, wire)
        invite = await rung(pbx)
        contact, number = invite.uri.user, invite.headers["X-TG-ID"]
        assert contact != "200"
        assert '"Friend" <sip:friend@' in str(invite.headers["From"])
        assert invite.headers["P-Asserted-Identity"].startswith('"Friend" <sip:friend@')
        assert FRIEND[1:].encode() not in bytes(invite), "a number that Telegram does not tell is told to nobody"

        await change(pbx, "--number-on-pbx", "200")
        invite = await rung(pbx)
        assert invite.uri.user == "200" and "sip:200@" in invite.headers["To"]

        await change(pbx, "--number-on-pbx", "", "--caller-id", "+{phone}", "--caller-id", "#0{userid}")
        invite = await rung(pbx)
        assert invite.uri.user == contact
        assert f'"Friend" <sip:%230{number}@' in invite.headers["From"]

        await change(pbx, "--caller-id", "+{phone}", "--caller-id", "anonymous")
        invite = await rung(pbx)
        assert invite.headers["From"].startswith('"Anonymous" <sip:anonymous@anonymous.invalid>;tag=')
        assert invite.headers["Privacy"] == "id" and invite.headers.get("P-Asserted-Identity") is None

        await change(pbx, "--caller-id", "#0{userid}")
        await change(pbx, "--caller-name", "+{phone}", "--caller-name", "@{username} ({name_ascii})")
        invite = await rung(pbx)
        assert f'"@friend (Friend)" <sip:%230{number}@' in invite.headers["P-Asserted-Identity"]


@pytest.mark.parametrize("code", [300, 302, 305, 380])
async def test_a_pbx_that_sends_a_call_elsewhere_has_refused_it(scene: Scene, code: int) -> None:
    """A trunk's calls go to its PBX: nobody there says whom else our account rings."""
    async with sip_wire.udp(scene.edge) as wire, pbx_wire() as elsewhere:
        pbx = await with_pbx(scene, wire)
        call = (await scene.friends.tell("call", phone=FRIEND, to=GATEWAY))["call"]
        invite = await wire.next_request("INVITE", 20)
        contact = f"<sip:{pbx.login}@127.0.0.1:{elsewhere.port}>"
        wire.send(bytes(said(invite, code, "Not Here", Contact=contact)))
        assert (await wire.next_request("ACK")).call_id == invite.call_id
        assert (await scene.friends.wait("ended", phone=FRIEND, call=call))["reason"] == "busy"
        record = await scene.record()
        assert (record.sip_status, record.ended_by, record.error_id) == (code, "pbx", "")
        assert f"{code} Not Here" in [step.text for step in record.steps if step.source == "pbx"]
        assert elsewhere.asked.empty()


async def test_who_calls_in_private_is_kept_nowhere(scene: Scene) -> None:
    """RFC 3323, 3325: Telegram hears of the account alone, and no log, record or database of the PBX's caller."""
    async with sip_wire.udp(scene.edge) as wire:
        pbx = await with_pbx(scene, wire)
        first = wire.request(
            "INVITE", "%40friend", pbx.login, From='"Anonymous" <sip:anonymous@anonymous.invalid>;tag=a',
            Privacy="id;user", P_Asserted_Identity='"Carol Caller" <sip:+15550177@pbx.example.com>',
        )  # fmt: skip
        first.headers.set("Remote-Party-ID", "<sip:+15550177@pbx.example.com>;privacy=full")
        await scene.friends.tell("behave", phone=FRIEND, on_call="decline")
        invite = wire.answer_challenge(first, (await wire.ask(first)).final, pbx.login, pbx.password)
        assert (await wire.ask(invite, 20)).final.code == 486
        record = await scene.record()
        assert record.caller == pbx.login
        data, marks = scene.world.directory / "data", (b"15550177", b"Carol")
        async with asyncio.timeout(10):  # the dialog was on disk while it lasted, for who would have had to end it
            while any(mark in path.read_bytes() for path in data.rglob("dialogs.jsonl") for mark in marks):
                await asyncio.sleep(0.1)
        kept = [path for path in data.rglob("*") if path.is_file()]
        assert [path.name for path in kept if any(mark in path.read_bytes() for mark in marks)] == []
        assert any(record.call_id.encode() in path.read_bytes() for path in kept), "what is kept was looked through"


async def test_any_name_makes_headers_that_a_pbx_reads(scene: Scene) -> None:
    async with sip_wire.udp(scene.edge) as wire:
        pbx = await with_pbx(scene, wire)
        await scene.friends.tell("user", phone=ZOE, first_name=ZOE_NAME, username="zoe_ab")
        invite = await rung(pbx, ZOE)
        assert str(invite.headers["From"]).startswith('"Zoë אב 🙂 X-Evil: 1" <sip:zoe_ab@')
        assert invite.headers.get("X-Evil") is None
        await change(pbx, "--caller-name", "{name_ascii}")
        assert (await rung(pbx, ZOE)).headers["From"].startswith('"Zoe \'v X-Evil: 1" <sip:zoe_ab@')


async def test_who_may_call_a_trunk(scene: Scene) -> None:
    async with sip_wire.udp(scene.edge) as wire:
        pbx = await with_pbx(scene, wire)
        own = scene.account.user_id
        for lists in (("--blocked-callers", "@friend"), ("--allowed-callers", "+15550100200", "--blocked-callers", "")):
            await change(pbx, *lists)
            await scene.friends.tell("call", phone=FRIEND, to="@gateway")
            message = await scene.friends.wait("message", deadline=20, phone=FRIEND, from_user_id=own)
            assert message["text"].startswith("403 Caller is not allowed\nAsk whoever runs the PBX")
            assert (await scene.record()).error_id == "caller-not-allowed"
        assert wire.requests.empty(), "the PBX hears nothing of it"
        await change(pbx, "--allowed-callers", "+15550100200,@Friend")
        await rung(pbx)


async def test_a_number_is_dialled_by_the_trunks_rules(scene: Scene) -> None:
    async with sip_wire.udp(scene.edge) as wire:
        pbx = await with_pbx(scene, wire)
        await scene.friends.tell("behave", phone=FRIEND, on_call="decline")

        async def dialled(number: str) -> tuple[int, str]:
            answer = (await wire.invite(number, pbx.login, pbx.password, 20)).status
            record = await scene.record()
            assert record.called == number, "the record tells what was dialled"
            return answer

        assert (await dialled("9*friend"))[0] == 404
        await change(pbx, "--dial-rule", "^9\\*(.+)$=@\\1", "--dial-rule", "^00=+")
        assert (await dialled("9*friend"))[0] in (480, 486, 603)
        assert (await dialled(f"00{FRIEND[1:]}"))[0] in (480, 486, 603)
        await change(pbx, "--dial-rule", "^00=+", "--dial-rule", "^\\+")
        assert await dialled("9*friend") == (403, "Number is not allowed: dial rule 2 does not match")
        await change(pbx, "--dial-rule", "", "--caller-id", "tg-{username}")
        assert (await dialled("tg-friend"))[0] in (480, 486, 603), "a caller ID is read back"

        told = await scene.world.command("trunk", "test-number", pbx.login, "tg-friend")
        assert "the username @friend" in told and "caller ID from there:    tg-friend" in told
        assert "caller name from there:  Friend" in told
        told = await scene.world.command("trunk", "test-number", pbx.login, "@nobodyhere")
        assert "the PBX would read: 404 Telegram user is not found" in told
