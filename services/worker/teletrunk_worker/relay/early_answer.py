"""The description of a provisional answer is the answer to our offer (RFC 3261 13.2.1), which a 200 need not repeat.

Hosts get none of it while it rings; the 200 of a PBX that has left it out there is completed.
"""

from __future__ import annotations

from teletrunk_worker.sip.body import DESCRIPTION, media_type
from teletrunk_worker.sip.dialog import Dialog
from teletrunk_worker.sip.message import Response


def complete(response: Response, dialog: Dialog) -> None:
    """An answer to the first INVITE, from the same phone: each that a PBX rings has its own."""
    if response.code >= 300:
        return
    tag = response.to.tag
    if response.body and response.code < 200 and media_type(response.headers) == DESCRIPTION:
        dialog.early_answer = tag, response.body
    elif not response.body and response.code >= 200 and dialog.early_answer[0] == tag:
        response.body = dialog.early_answer[1]
        response.headers.set("Content-Type", DESCRIPTION)
        response.headers.set("Content-Length", str(len(response.body)))
