"""How a Storage's answers to a sign-in begin when what was typed is wrong and may be typed once more."""

from __future__ import annotations

from typing import Final

WRONG_CODE: Final = "the code is wrong"
WRONG_PASSWORD: Final = "the two-step password is wrong"  # noqa: S105  what is said of it
