"""Who has passed a call on, as far as it is anybody's business."""

from __future__ import annotations

import pytest
from teletrunk_worker.sip.diversion import diverted_by
from teletrunk_worker.sip.message import Request

BUSY = "<sip:201@pbx?Reason=SIP%3Bcause%3D486>;index=1"


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
        ([("Diversion", "<sip:5550100177;phone-context=+1@pbx;user=phone>")], "+15550100177"),
        ([("History-Info", f"{BUSY}, <sip:friend@gateway>;index=1.1")], "201, user-busy"),
        (
            [("History-Info", "<sip:201@pbx>;index=1"), ("History-Info", "<sip:f@g;cause=302>;index=1.1")],
            "201, unconditional",
        ),
        (
            [("History-Info", f"<sip:200@pbx>;index=1, {BUSY}, <sip:f@g>;index=2, <sip:f@h>;index=2.1")],
            "201, user-busy",
        ),
        ([("History-Info", "<sip:201@pbx>;index=1, <sip:friend@gateway>;index=1.1")], ""),
        ([("History-Info", BUSY)], ""),
        (
            [("History-Info", "<sip:201@pbx?Reason=SIP%3Bcause%3D486&Reason=Q.850%3Bcause%3D17>, <sip:f@g>;index=1.1")],
            "201, user-busy",
        ),
        ([("History-Info", "<sip:201@pbx?Reason=Q.850%3Bcause%3D102>;index=1, <sip:f@g>;index=1.1")], ""),
        (
            [("History-Info", "<sip:201@pbx?Reason=Q.850%3Bcause%3D102%2CSIP%3Bcause%3D408>, <sip:f@g>;index=1.1")],
            "201, no-answer",
        ),
        ([("History-Info", f"{BUSY.replace('?', '?Privacy=history&')}, <sip:friend@gateway>;index=1.1")], ""),
        ([("History-Info", f"{BUSY}, <sip:friend@gateway>;index=1.1"), ("Diversion", "<sip:7@pbx>")], "7"),
        ([("History-Info", "nobody, <"), ("Diversion", "<sip:7@pbx>")], "7"),
    ],
)
def test_the_last_who_has_diverted_a_call_is_told_unless_they_hide(headers: list[tuple[str, str]], told: str) -> None:
    invite = Request("INVITE", "sip:friend@gateway")
    for header in headers:
        invite.headers.add(*header)
    assert diverted_by(invite) == told
