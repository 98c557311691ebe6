"""The four images as one gateway: an account is signed in, a phone registers, calls, and hears a Telegram user."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.deploy.gateway import Gateway
from tests.deploy.podman import TARGETS, build_images, image, output, podman

pytestmark = pytest.mark.timeout(1800)  # the first build downloads and compiles
_KEY = "/sandbox/sandbox/rsa.pub.pem"


class Images(Gateway):
    """All containers in one network namespace, without a way out, as on one machine."""

    def __init__(self) -> None:
        self.name = f"teletrunk-{secrets.token_hex(4)}"
        super().__init__({target: f"{self.name}-{target}" for target in TARGETS})
        token = secrets.token_hex(16)
        self._settings = [f"--env=TELETRUNK_CLUSTER_TOKEN={token}", f"--env=TELETRUNK_TELEGRAM_RSA_KEY_FILE={_KEY}"]
        self._settings.append("--env=TELETRUNK_TELEGRAM_SERVER=127.0.0.1:8443")

    def start(self, target: str, *options: str) -> None:
        network = "none" if target == "manager" else f"container:{self.containers['manager']}"
        careful = ("--read-only", "--cap-drop=all", "--security-opt=no-new-privileges", f"--network={network}")
        name = f"--name={self.containers[target]}"
        output("run", "--detach", name, *careful, *self._settings, *options, image(target))

    def remove(self) -> None:
        for target in ("worker", "session-store", "sandbox", "manager"):
            podman("rm", "--force", "--volumes", self.containers[target])
        podman("volume", "rm", "--force", self.name)


@pytest.fixture(scope="module")
def gateway() -> Iterator[Images]:
    build_images()
    gateway = Images()
    try:
        gateway.start("manager")
        gateway.start("sandbox", f"--volume={gateway.name}:/data")
        gateway.telegram_is_up()
        gateway.start("session-store", f"--volume={gateway.name}:/sandbox:ro")
        gateway.start("worker")
        gateway.is_whole()
        yield gateway
    finally:
        gateway.remove()


def test_a_call_through_the_images(gateway: Images) -> None:
    assert "Signed in: Gateway" in gateway.sign_in()
    gateway.carries_a_call()
