"""The description of a provisional answer is the answer to our offer (RFC 3261 13.2.1), which a 200 need not repeat.

Hosts get none of it while it rings; the 200 of a PBX that has left it out there is completed.
"""

from __future__ import annotations

from typing import Final

from teletrunk_worker.relay.host_limits import LARGEST_MESSAGE, strip_body
from teletrunk_worker.sip.body import DESCRIPTION, described_by, set_body
from teletrunk_worker.sip.dialog import Dialog
from teletrunk_worker.sip.message import Response

_MOST_PHONES: Final = 16


def complete(response: Response, dialog: Dialog) -> None:
    """An answer to the first INVITE, from the same phone: each that a PBX rings has its own. One that had no tag yet
    may be whoever answers."""
    early, tag, described = dialog.early_answers, response.to.tag, described_by(response)
    known = early.get(tag) or early.get("")
    if response.code < 200:
        if 0 < len(described) <= LARGEST_MESSAGE and (tag in early or len(early) < _MOST_PHONES):
            early[tag] = described
    elif response.code < 300 and known and not (response.flaw or described):
        strip_body(response)  # what else it carries is for no host
        set_body(response, known, DESCRIPTION)
