"""REGISTER on the wire: what is bound, what is refused as a whole, and by which way a binding is called."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests import sip_wire

from .port_world import PortWorld, authenticated

NAMED = ';reg-id={};+sip.instance="<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>"'


def bound(world: PortWorld) -> set[str]:
    return {binding.contact.uri.text for binding in world.port.registrar.bindings("trunk-office")}


async def test_several_contacts_are_bound_together_or_not_at_all(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        both = "<sip:a@192.0.2.1>, <sip:b@192.0.2.2>;expires=120"
        answer = await authenticated(wire, "REGISTER", Contact=both)
        assert answer.final.code == 200 and bound(world) == {"sip:a@192.0.2.1", "sip:b@192.0.2.2"}
        for contacts, status in (
            ("<sip:c@192.0.2.3>, <sip:d@192.0.2.4>;expires=10", 423),
            ("<sip:c@192.0.2.3>, <mailto:d@example.com>", 400),
            ("<sip:c@192.0.2.3>, <sips:d@192.0.2.4>", 400),
            ("<sip:c@192.0.2.3>, *", 400),
            (", ".join(f"<sip:c{n}@192.0.2.3>" for n in range(9)), 400),
            (f"<sip:{'c' * 1_100}@192.0.2.3>", 400),
        ):
            assert (await authenticated(wire, "REGISTER", Contact=contacts)).final.code == status, contacts
            assert bound(world) == {"sip:a@192.0.2.1", "sip:b@192.0.2.2"}, contacts


async def test_a_name_with_quotes_breaks_no_list_of_contacts(world: PortWorld) -> None:
    """Each REGISTER of the trunk is answered with all contacts: one of them made the answers to others unreadable."""
    async with sip_wire.udp(world.address) as wire:
        name = r';+sip.instance="<urn:x\"y\\>";reg-id='
        for user, named in (("a", name + "1"), ("b", name + '"1,<"')):
            await authenticated(wire, "REGISTER", Contact=f"<sip:{user}@192.0.2.1>{named}")
        answer = await authenticated(wire, "REGISTER", Contact="<sip:c@192.0.2.2>")
        listed = sorted(value.rpartition(";expires=")[0] for value in answer.header("Contact"))
        assert listed == [f"<sip:a@192.0.2.1>{name}1", "<sip:b@192.0.2.1>", "<sip:c@192.0.2.2>"]


async def test_who_registers_before_the_list_names_the_trunk_stays(world: PortWorld) -> None:
    """A list that was made before the trunk was added, and arrives after its REGISTER was answered."""
    async with sip_wire.udp(world.address) as wire:
        await world.registered(wire)
        registrar = world.port.registrar
        registrar.keep_only({"another"})
        registrar.keep_only({"another"})
        assert bound(world)
        registrar.keep_only({"another", "trunk-office"})
        registrar.keep_only({"another"})
        assert not bound(world), "it has been removed"


async def test_what_a_worker_before_us_knew_is_judged_by_the_first_list(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        await world.registered(wire)
        registrar = world.port.registrar
        registrar.restore([replace(binding, made_at=0.0) for binding in registrar.all()])
        registrar.keep_only({"another"})
        assert not bound(world)


async def test_a_path_is_kept_for_each_contact_and_is_short(world: PortWorld) -> None:
    proxies = [f"<sip:{'p' * 900}@192.0.2.{number};lr>" for number in (8, 9, 10)]
    async with sip_wire.udp(world.address) as wire:
        refused = (await authenticated(wire, "REGISTER", Path=",".join(proxies))).final
        assert (refused.code, refused.phrase) == (400, "Bad Request: the Path is too long") and not bound(world)
        assert (await authenticated(wire, "REGISTER", Path=",".join(proxies[:2]))).final.code == 200


async def test_a_star_stands_alone_and_with_expires_0(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        await world.registered(wire)
        assert (await authenticated(wire, "REGISTER", Contact="*", Expires="60")).final.code == 400
        assert (await authenticated(wire, "REGISTER", Contact="*")).final.code == 400
        assert len(bound(world)) == 1
        gone = await authenticated(wire, "REGISTER", Contact="*", Expires="0")
        assert gone.final.code == 200 and gone.header("Contact") == [] and not bound(world)


async def test_a_removal_that_is_older_than_a_binding_removes_nothing(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        call_id = {"Call_ID": "same"}
        older = wire.request("REGISTER", "", "office", Contact="*", Expires="0", **call_id)
        challenge = (await wire.ask(older)).final
        older = wire.answer_challenge(older, challenge, "office", "x")
        assert (await authenticated(wire, "REGISTER", **call_id)).final.code == 200
        assert (await wire.ask(older)).final.code == 200 and len(bound(world)) == 1


@pytest.mark.parametrize("value", ["abc", "", "-1", "9" * 40, "1e3", "²"])
async def test_a_contacts_expires_that_is_no_number_counts_as_not_said(world: PortWorld, value: str) -> None:
    async with sip_wire.udp(world.address) as wire:
        answer = await authenticated(wire, "REGISTER", Contact=f"<sip:a@192.0.2.1>;expires={value}", Expires="300")
        assert answer.final.code == 200 and answer.header("Contact")[0].endswith(("expires=300", "expires=299"))


async def test_the_latest_eight_of_a_trunk_are_called(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        for number in range(9):
            answer = await authenticated(wire, "REGISTER", Contact=f"<sip:a{number}@192.0.2.1>")
            assert answer.final.code == 200
        assert bound(world) == {f"sip:a{number}@192.0.2.1" for number in range(1, 9)}
        assert len(answer.header("Contact")) == 8


async def test_a_client_that_names_itself_has_one_binding_wherever_it_is(world: PortWorld) -> None:
    async with sip_wire.tcp(world.address) as wire:
        headers = {"Supported": "path, outbound"}
        first = await authenticated(wire, "REGISTER", Contact="<sip:a@192.0.2.1>" + NAMED.format(1), **headers)
        before = world.port.registrar.bindings("trunk-office")[0].binding_id
        moved = await authenticated(wire, "REGISTER", Contact="<sip:a@192.0.2.9>" + NAMED.format(1), **headers)
        assert bound(world) == {"sip:a@192.0.2.9"}
        assert world.port.registrar.bindings("trunk-office")[0].binding_id == before
        await authenticated(wire, "REGISTER", Contact="<sip:a@192.0.2.9>" + NAMED.format(2), **headers)
        assert len(world.port.registrar.bindings("trunk-office")) == 2
    assert first.header("Require") == ["outbound"]
    assert "urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF" in moved.header("Contact")[0]


async def test_a_call_goes_by_the_proxies_that_the_register_passed(world: PortWorld) -> None:
    async with sip_wire.udp(world.address) as wire:
        path = "<sip:near@192.0.2.5;lr>, <sip:far@192.0.2.6;lr>"
        answer = await authenticated(wire, "REGISTER", Path=path, Supported="path")
        assert answer.header("Path") == path.split(", ")
        binding = world.port.registrar.bindings("trunk-office")[0]
        world.host.send(world.host.invite(binding, "c1"))
        heard = await wire.next_request("INVITE")
        assert heard.headers.getlist("Route") == path.split(", ")
        cancel = world.host.follow_up("CANCEL", world.host.invite(binding, "c1"))
        world.host.send(cancel)
        assert (await wire.next_request("CANCEL")).headers.getlist("Route") == path.split(", ")


async def through_a_proxy(wire: sip_wire.SipWire, path: str, contact: str, supported: str) -> sip_wire.Exchange:
    """As a proxy sends it on that the client has come to first."""
    more = {"Path": path} if path else {}
    first = wire.request("REGISTER", "", "office", Contact=contact, Supported=supported, **more)
    again = wire.answer_challenge(first, (await wire.ask(first)).final, "office", "x")
    again.headers.add("Via", "SIP/2.0/TCP 192.0.2.1:5060;branch=z9hG4bKclient")
    return await wire.ask(again)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_client_behind_a_proxy_that_keeps_no_flows_is_told_so(world: PortWorld, transport: str) -> None:
    """RFC 5626 6 and 11.6."""
    opened = sip_wire.udp(world.address) if transport == "udp" else sip_wire.tcp(world.address)
    named, far, near = f"<sip:a@192.0.2.1>{NAMED.format(1)}", "<sip:192.0.2.6;lr>", "<sip:x@192.0.2.5;lr;ob>"
    async with opened as wire:
        for path in ("", far, f"{near}, {far}"):
            refused = (await through_a_proxy(wire, path, named, "path, outbound")).final
            assert (refused.code, refused.phrase) == (439, "First Hop Lacks Outbound Support"), path
            assert not bound(world)
        kept = await through_a_proxy(wire, f"{far}, {near}", named, "path, outbound")
        assert kept.final.code == 200 and kept.header("Require") == ["outbound"] and not kept.header("Flow-Timer")
        for contact, supported in ((named, "path"), ("<sip:a@192.0.2.1>", "path, outbound")):
            plain = await through_a_proxy(wire, far, contact, supported)
            assert plain.final.code == 200 and not plain.header("Require"), "who does not ask for it is not refused"
