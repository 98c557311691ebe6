"""What the command could not do."""

from __future__ import annotations


class Failed(Exception):
    """One line for the person at the command."""


class Forbidden(Failed):
    """The token's role does not suffice."""
