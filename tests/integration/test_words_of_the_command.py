"""What the command says to people, with the real Manager behind it."""

from __future__ import annotations

import re
from pathlib import Path

from tests.integration.manager_world import World


async def test_it_says_what_is_so(tmp_path: Path) -> None:
    world = World(tmp_path / "data")
    await world.start()
    command = world.process.command
    try:
        await world.add_account()
        status, out, _ = await command("subscription", "add", "small", "--total-seconds", "100", "--lines", "1")
        assert (status, out.partition(". Next")[0]) == (0, "small: 1 line, 100 s of talk in 30 days")
        status, _, errors = await command("trunk", "remove", "nosuch")
        assert (status, errors) == (1, "teletrunk: there is no trunk nosuch: teletrunk trunk list shows them\n")
        assert (await command("trunk", "add", "@ann", "--login", "office"))[0] == 0
        status, _, errors = await command("trunk", "add", "@ann", "--login", "office")
        assert (status, errors) == (1, "teletrunk: the login office is taken: choose another with --login\n")
        status, _, errors = await command("trunk", "remove", "office")
        assert (status, "say --yes" in errors) == (1, True)
        assert "password  " in (await command("trunk", "reset-password", "office"))[1], "scripts are not asked"
        assert (await command("subscription", "remove", "small"))[0] == 0
        status, _, errors = await command("call", "list", "--from", "yesterday")
        said = re.sub(r"[\s│]+", " ", errors)
        assert status == 2 and "'yesterday' is no day or moment: write 2026-11-01" in said
        status, out, errors = await command("backup", str(tmp_path / "today.backup"))
        assert status != 0 and "give --passphrase-file" in out + errors and "GetPass" not in out + errors
        phrase = tmp_path / "passphrase"
        phrase.write_text("correct horse battery staple")
        phrase.chmod(0o644)
        _, out, errors = await command("backup", "--list", str(phrase), "--passphrase-file", str(phrase))
        assert f"{phrase} can be read by everybody: chmod 600 {phrase}" in out + errors
    finally:
        await world.stop()
