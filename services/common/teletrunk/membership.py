"""A service among the others: with papers, or on one machine without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from teletrunk.config import ServiceSettings
from teletrunk.identity import Identity
from teletrunk.manager_way import ManagerWay
from teletrunk.security import Security


class Membership(Protocol):
    async def security(self) -> Security:
        """What the service proves itself with. Raises `ConfigurationError` for what no waiting cures."""
        ...

    @property
    def managers(self) -> str:
        """Where the Managers are, host:port with commas between."""
        ...

    async def keep(self, way: ManagerWay, renewed: Callable[[], None]) -> None:
        """Keeps the papers valid until cancelled; `renewed` when they are others."""
        ...


def membership_of(settings: ServiceSettings, identity: Identity) -> Membership:
    papers = settings.data / "identity" / identity.kind
    if settings.invitation is None and settings.join_token_file is None and not papers.exists():
        return _OnOneMachine(settings)
    from teletrunk.enrolment import Enrolled  # with all that is about certificates: 4 MB

    return Enrolled(settings, identity)


class _OnOneMachine:
    """Plain text on loopback with the cluster token: there are no papers."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self.managers = settings.manager_address

    async def security(self) -> Security:
        return Security(self._settings.token())

    async def keep(self, way: ManagerWay, renewed: Callable[[], None]) -> None:
        return
