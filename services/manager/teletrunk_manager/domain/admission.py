"""What lets a service in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Admission:
    """`came_by` is a join token's id, account/NAMESPACE/NAME, or, empty, an invitation."""

    kind: str
    comment: str = ""
    came_by: str = ""
