"""No letter goes to this machine or a private network, by whatever name; a name is looked up once, and connected to."""

from __future__ import annotations

import pytest
from teletrunk_manager.webhook_addresses import NotPublic, recipient


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "2130706433",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[fe80::1]",
        "[fd00::1]",
    ],
)
async def test_private_addresses_are_refused_unless_they_are_allowed(host: str) -> None:
    with pytest.raises(NotPublic):
        await recipient(f"https://{host}:8443/hook", private=False)
    assert (await recipient(f"https://{host}:8443/hook", private=True)).url.port == 8443


async def test_the_host_that_is_meant_is_named() -> None:
    to = await recipient("https://192.0.1.7:8443/hook?a=1", private=False)
    assert str(to.url) == "https://192.0.1.7:8443/hook?a=1"
    assert to.headers == {"Host": "192.0.1.7:8443"} and to.extensions == {"sni_hostname": "192.0.1.7"}
    named = await recipient("http://localhost/hook", private=True)
    assert named.headers == {"Host": "localhost"} and named.url.host in ("127.0.0.1", "::1")
