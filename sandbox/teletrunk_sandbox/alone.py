"""`teletrunk sandbox`: the local Telegram by itself, for services that run elsewhere."""

from __future__ import annotations

import asyncio
import sys

from teletrunk.config import ConfigurationError

from teletrunk_sandbox import server
from teletrunk_sandbox.control import people_socket

_STOP_DEADLINE_S = 5.0


class PeopleGone(Exception):
    """The process of the people has ended by itself, or cannot begin."""


def run(settings: server.Settings) -> None:
    """Until SIGTERM or SIGINT. Raises `ConfigurationError` when it cannot listen, or when the people are gone."""
    try:
        asyncio.run(server.run(settings, _people))
    except* PeopleGone as group:
        raise ConfigurationError(str(group.exceptions[0])) from None
    except* OSError as group:
        raise ConfigurationError(f"the sandbox cannot listen: {group.exceptions[0]}") from None


async def _people(dc: server.Ready) -> None:
    """A friend to call and a number to sign in as; ntgcalls wants a process of its own."""
    try:
        people_socket(dc.rsa_key_file)
    except ConfigurationError as error:
        raise PeopleGone(str(error)) from None
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "teletrunk_sandbox", "people", "--dc", f"127.0.0.1:{dc.port}",
        "--rsa-key", dc.rsa_key_file, "--control-port", str(dc.control_port),
    )  # fmt: skip
    try:
        raise PeopleGone(f"the people ended with exit code {await process.wait()}")
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(_STOP_DEADLINE_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
