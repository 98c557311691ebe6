"""What to do, as data: sentences whose parts may name operations and fields.

A person at the command line reads them as commands and options; REST tells the same as methods, paths and fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True)
class Operation:
    """An RPC of the services for people, by its command (several where each shows a part of it).

    `{field}` in a command is a field of the RPC's request; one that is not filled in reads as `FIELD`.
    """

    rpc: str
    commands: tuple[str, ...]
    fields: tuple[tuple[str, str], ...] = ()
    given: Term | None = None  # what else is told it

    def giving(self, option: str, field: str) -> Operation:
        """The same with an option of the command, which is a field to REST."""
        return replace(self, given=Term(option, field))

    def of(self, **fields: str) -> Operation:
        """The same with these fields filled in."""
        return replace(self, fields=tuple(fields.items()))

    def knowing(self, fields: Mapping[str, str]) -> Operation:
        """The same with what is known now in place of what stands for it."""
        return self.of(**{**dict(self.fields), **fields})

    def __str__(self) -> str:
        commands = " and ".join(_filled(command, dict(self.fields)) for command in self.commands)
        return f"teletrunk {commands} {self.given.command}" if self.given else f"teletrunk {commands}"


@dataclass(frozen=True)
class Shows:
    """Where can be read what there is: `teletrunk trunk list shows them`."""

    operation: Operation
    what: str = "them"

    def __str__(self) -> str:
        return f"{self.operation} {'show' if len(self.operation.commands) > 1 else 'shows'} {self.what}"


@dataclass(frozen=True)
class Term:
    """What the command calls otherwise than REST: an option and its field, for one."""

    command: str
    rest: str

    def __str__(self) -> str:
        return self.command


Part = str | Operation | Shows | Term


class Advised(ValueError):
    """A value that cannot be, and what to do."""

    def __init__(self, *parts: Part) -> None:
        super().__init__(command_line(parts))
        self.parts = parts


def command_line(parts: Iterable[Part]) -> str:
    """The sentence for a person at the command line."""
    return "".join(map(str, parts))


def filled_in(parts: Iterable[Part], fields: Mapping[str, str]) -> Sequence[Part]:
    """The sentence about whom it is about: its operations know these fields."""
    known = {name: value for name, value in fields.items() if value}
    return tuple(_about(part, known) for part in parts)


def _about(part: Part, known: Mapping[str, str]) -> Part:
    match part:
        case Operation():
            return part.knowing(known)
        case Shows():
            return replace(part, operation=part.operation.knowing(known))
    return part


def _filled(command: str, fields: dict[str, str]) -> str:
    words = (fields.get(word[1:-1], word[1:-1].upper()) if word[0] == "{" else word for word in command.split())
    return " ".join(words)


LIST_ACCOUNTS: Final = Operation("ListAccounts", ("account list",))
REMOVE_ACCOUNT: Final = Operation("RemoveAccount", ("account remove {account}",))
ADD_ACCOUNT: Final = Operation("StartAddAccount", ("account add {phone}",))
ADD_TRUNK: Final = Operation("AddTrunk", ("trunk add",))
CHANGE_TRUNK: Final = Operation("ChangeTrunk", ("trunk change {trunk}",))
GET_TRUNK: Final = Operation("GetTrunk", ("trunk show {trunk}",))
TRUST: Final = Operation("Trust", ("trunk trust {trunk} ADDRESS",))  # it is not the address that the advice is about
RESET_TRUNK_PASSWORD: Final = Operation("ResetTrunkPassword", ("trunk reset-password {trunk}",))
TEST_NUMBER: Final = Operation("TestNumber", ("trunk test-number {trunk} {number}",))
LIST_TRUNKS: Final = Operation("ListTrunks", ("trunk list",))
LIST_WORKERS: Final = Operation("ListServices", ("worker list",))
LIST_STORAGES: Final = Operation("ListServices", ("storage list",))
LIST_SERVICES: Final = Operation("ListServices", ("worker list", "storage list"))
REMOVE_SERVICE: Final = Operation("RemoveService", ("worker remove {service_id}",))
APPROVE_STORAGE: Final = Operation("ApproveStorage", ("storage approve {storage_id}",))
ASSIGN: Final = Operation("Assign", ("worker assign {account} WORKER...",))
LIST_INVITATIONS: Final = Operation("ListInvitations", ("invitation list",))
LIST_JOIN_TOKENS: Final = Operation("ListJoinTokens", ("join-token list",))
DRAIN: Final = Operation("Drain", ("worker drain {worker_id}",))
LIFT_BAN: Final = Operation("LiftBan", ("ban lift {address}",))
LIST_BANS: Final = Operation("ListBans", ("ban list",))
LIST_CALLS: Final = Operation("ListCalls", ("call list",))
LIST_LIVE_CALLS: Final = Operation("ListLiveCalls", ("call live",))
LIST_SUBSCRIPTIONS: Final = Operation("ListSubscriptions", ("subscription list",))
LIST_TOKENS: Final = Operation("ListTokens", ("token list",))
ADD_TOKEN: Final = Operation("AddToken", ("token add {name}",))
LIST_WEBHOOKS: Final = Operation("ListWebhooks", ("webhook list",))
