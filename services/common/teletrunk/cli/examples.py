"""Examples for the help texts: what people type first. A test sees that each is a command with such options."""

from __future__ import annotations

from typing import Final

EXAMPLES: Final[dict[str, tuple[str, ...]]] = {
    "up": ("teletrunk up --sandbox", "teletrunk up --data /var/lib/teletrunk"),
    "check": ("teletrunk check", "teletrunk check --json"),
    "status": ("teletrunk status", "watch teletrunk status"),
    "account add": ("teletrunk account add +15550100", "teletrunk account add --qr"),
    "account remove": ("teletrunk account remove @gateway", "teletrunk account remove +15550100 --yes"),
    "trunk add": (
        "teletrunk trunk add +15550100",
        "teletrunk trunk add @gateway --login office --codecs PCMA,PCMU",
    ),
    "trunk change": ("teletrunk trunk change office --priority 1",),
    "trunk trust": ("teletrunk trunk trust office 192.0.2.0/24", "teletrunk trunk trust office --everywhere"),
    "trunk remove": ("teletrunk trunk remove office",),
    "call list": (
        "teletrunk call list --number 15550199",
        "teletrunk call list --from 2026-11-01 --unanswered --direction to-sip",
        "teletrunk call list --row user-not-found --trunk office",
    ),
    "call show": ("teletrunk call show last", "teletrunk call show 7c01e9"),
    "call export": ("teletrunk call export --since 2026-11-01 --until 2026-12-01",),
    "explain": ("teletrunk explain 486", "teletrunk explain '403 Forbidden'", "teletrunk explain --call last"),
    "doctor": ("teletrunk doctor", "teletrunk doctor --trunk office"),
    "ban lift": ("teletrunk ban lift 192.0.2.7",),
    "subscription add": ("teletrunk subscription add small --lines 2 --total-seconds 36000",),
    "subscription change": (
        "teletrunk subscription change small --lines 3",
        "teletrunk subscription change small --unlimited total-seconds",
    ),
    "token add": ("teletrunk token add dashboard --role viewer",),
    "webhook add": ("teletrunk webhook add https://example.org/calls",),
    "changes": ("teletrunk changes --who anna", "teletrunk changes --what trunks --object office --from 2026-11-01"),
    "worker invite": ("teletrunk worker invite --comment office",),
    "worker revoke": ("teletrunk worker revoke WORKER_ID",),
    "worker rename": ("teletrunk worker rename WORKER_ID vienna",),
    "sandbox call": ("teletrunk sandbox call",),
}
