"""Writes docs/errors.md out of the table of refusals."""

from __future__ import annotations

from teletrunk import causes
from teletrunk.errors import TABLE, Row

FLOWS = {
    "common": "Registrations and calls",
    "registration": "Registration of a PBX",
    "sip-to-telegram": "Calls from a PBX to Telegram",
    "telegram-to-sip": "Calls from Telegram to a PBX",
}
MENDERS = {
    "caller": "the caller",
    "pbx-admin": "the PBX's administrator",
    "account-owner": "the owner of the Telegram account",
    "operator": "whoever runs Teletrunk",
    "telegram": "Telegram",
}
_HEAD = """\
<!-- Made by `make errors-doc` from services/common/teletrunk/errors.py: change that, not this. -->
# Errors

Every refusal is a row of one table. A PBX reads it in the answer to its REGISTER or INVITE:

```
SIP/2.0 503 Manager unreachable
Reason: SIP;cause=503;text="Manager unreachable"
Reason: Q.850;cause=38
Warning: 399 teletrunk "manager-unreachable"
Retry-After: 60
```

`Warning` names the row. A row that has several causes is told with the one that it was: call records, refused
registrations and trunks' states carry it as `cause` (`REFUSAL_CAUSE_TRUNK_OFF` and so on, here `trunk-off`).
`Retry-After` comes only where waiting helps. A Telegram caller reads code, phrase and what a caller can do in the chat;
what others have to mend is not told to strangers. On the command line, `teletrunk explain` says the same as this page,
given an id, a code, a phrase or `--call CALL_ID`. What a PBX or a Telegram user answers (486 Busy Here and the like) is
passed on as it is; `teletrunk explain --call` says what a PBX has meant by it.

"""


def document() -> str:
    """The whole page."""
    parts = [_HEAD, "| code | phrase | id |", "|---|---|---|"]
    parts += [f"| {row.sip_status} | {row.phrase} | [`{row.id}`](#{row.id}) |" for row in TABLE.values()]
    for flow, title in FLOWS.items():
        parts += ["", f"## {title}"]
        for row in TABLE.values():
            if row.flow == flow:
                parts += ["", *_section(row)]
    return "\n".join(parts) + "\n"


def title(row: Row) -> str:
    """Code and phrase, as they stand on the status line."""
    return f"{row.sip_status} {row.phrase}"


def wait(row: Row) -> str:
    """When to come again, as `Retry-After` says it; empty when it is not sent."""
    if row.id == "flood-wait":
        return "N s, counted down"
    return f"{row.retry_after} s" if row.retry_after else ""


def facts(row: Row) -> dict[str, str]:
    """What else the row holds, as people call it."""
    return {
        "Who can mend it": MENDERS[row.mender],
        "Can follow the phrase": row.detail,
        "Q.850 cause": str(row.q850) if row.q850 else "",
        "Retry after": wait(row),
        "Counts towards a ban": "yes" if row.counts_to_ban else "",
    }


def _section(row: Row) -> list[str]:
    told = " · ".join(f"{name}: {value}" for name, value in facts(row).items() if value)
    others = [f"- `{cause.name}`: {cause.essence} **What to do:** {cause.remedy}" for cause in causes.of_row(row.id)]
    special = ["", "Or, as its cause says:", "", *others] if others else []
    head = f'### <a id="{row.id}"></a>{title(row)}'
    return [head, "", row.essence, "", f"**What to do:** {row.remedy}", *special, "", told]
