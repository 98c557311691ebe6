"""Numbers that are dialled by addresses of other schemes than sip: pjsip answers nothing to a tel: one."""

from __future__ import annotations

import pytest

from tests import sip_wire

from .port_world import PortWorld


@pytest.mark.parametrize(
    ("target", "at_host"),
    [
        ("tel:+15550100;phone-context=x;isub=1", "sip:+15550100@127.0.0.1"),
        ("tel:555-0100;phone-context=+1", "sip:555-0100@127.0.0.1"),
        (
            "sip:5550100;isub=1;phone-context=%2B1@{0}:{1};user=phone",
            "sip:5550100;isub=1;phone-context=%2B1@{0}:{1};user=phone",
        ),
        ("sips:+15550100@{0}:{1}", "sip:+15550100@{0}:{1}"),
        ("sips:%40name@{0}:{1};transport=tcp", "sip:%40name@{0}:{1};transport=tcp"),
    ],
)
async def test_a_number_is_called_by_any_scheme(world: PortWorld, target: str, at_host: str) -> None:
    uri = target.format(*world.address)
    async with sip_wire.udp(world.address) as wire:
        first = wire.request("INVITE", "100", "office")
        again = wire.answer_challenge(first, (await wire.ask(first)).final, "office", "x")
        given = again.headers["Authorization"].replace(f'uri="{first.uri}"', f'uri="{uri}"')
        again.headers.set("Authorization", given)
        wire.send(bytes(again).replace(str(again.uri).encode(), uri.encode(), 1))
        heard = (await world.host.received.get()).split(b" ")[1].decode()
        assert heard == at_host.format(*world.address)
        called = world.door.admitted[0].called.replace("-", "")
        assert called == ("@name" if "name" in uri else "+15550100")
