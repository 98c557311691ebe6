"""What is refused is told in the words of who asks: a program that speaks REST has no command line."""

from __future__ import annotations

import re
from typing import Final

_LISTS: Final = {
    "account": "accounts",
    "ban": "bans",
    "call": "calls",
    "invitation": "invitations",
    "join-token": "join-tokens",
    "storage": "services",
    "subscription": "subscriptions",
    "token": "tokens",
    "trunk": "trunks",
    "webhook": "webhooks",
    "worker": "services",
}
_LIST: Final = re.compile(r"teletrunk ([a-z-]+) list(?:,? (?:and )?storage list)? shows? ")
_COMMANDS: Final = {
    "teletrunk call live shows": "GET /v1/live-calls shows",
    "teletrunk explain shows": "docs/errors.md shows",
    "teletrunk token add": "POST /v1/tokens",
    "teletrunk account remove": "DELETE /v1/accounts/{account}",
    "teletrunk worker assign": "PUT /v1/accounts/{account}/workers",
    "teletrunk worker remove ID": "POST /v1/services/{service_id}/removal",
    "teletrunk storage approve": "POST /v1/storages/{storage_id}/approval for",
    "--inherit gives": "inherit gives",
    "with --login": "as login",
    "--pbx pbx.example.com": "options.pbx.address",
    "--pbx-user and --pbx-password-file": "options.pbx.username and pbx_password",
    "--pbx-header": "options.pbx.header",
}
_COMMAND: Final = re.compile("|".join(map(re.escape, _COMMANDS)))


def for_programs(text: str) -> str:
    """The same without commands and their options."""
    listed = _LIST.sub(lambda found: f"GET /v1/{_LISTS.get(found[1], found[1])} shows ", text)
    return _COMMAND.sub(lambda found: _COMMANDS[found[0]], listed)


def is_command(user_agent: str) -> bool:
    """Whether the `teletrunk` command asks, which has a person before it."""
    return user_agent.startswith("teletrunk/")
