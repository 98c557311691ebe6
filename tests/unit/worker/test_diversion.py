"""Who has passed a call on, as far as it is anybody's business."""

from __future__ import annotations

import pytest
from teletrunk_worker.sip.diversion import diverted_by
from teletrunk_worker.sip.message import Request


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ([], ""),
        ([("Diversion", "<sip:201@pbx>")], "201"),
        ([("Diversion", '"Anna, desk" <sip:201@pbx>;reason=no-answer, <sip:202@pbx>')], "201, no-answer"),
        ([("Diversion", "<tel:+15550177>;privacy=off"), ("Privacy", "none")], "+15550177"),
        ([("Diversion", "<sip:201@pbx>;privacy=full")], ""),
        ([("Diversion", "<sip:201@pbx>;privacy=URI")], ""),
        ([("Diversion", "<sip:201@pbx>"), ("Privacy", "none"), ("Privacy", "id")], ""),
        ([("Diversion", '"Anna <sip:201@pbx>')], ""),
        ([("Diversion", "nobody")], ""),
        ([("Diversion", "<sip:2%0A01%00@pbx>")], "201"),
        ([("Diversion", f"<sip:{'2' * 200}@pbx>")], "2" * 64),
    ],
)
def test_the_last_who_has_diverted_a_call_is_told_unless_they_hide(headers: list[tuple[str, str]], told: str) -> None:
    invite = Request("INVITE", "sip:friend@gateway")
    for header in headers:
        invite.headers.add(*header)
    assert diverted_by(invite) == told
