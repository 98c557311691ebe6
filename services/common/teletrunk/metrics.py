"""Every metric of the three services. Labels take a bounded number of values: rows, methods, states; never names."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from teletrunk.errors import TABLE

_SETUP = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 40)
_ANSWER = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)

# All services.
REFUSALS = Counter("teletrunk_refusals", "Refusals given, by row of the error contract.", ["row"])
BACKGROUND_FAILURES = Counter(
    "teletrunk_background_failures", "Failures of background tasks, each begun again after a pause.", ["task"]
)
LOG_LINES_LOST = Counter("teletrunk_log_lines_lost", "Log lines that could not be written, or not soon enough.")
CERTIFICATE_LEFT = Gauge(
    "teletrunk_certificate_seconds_left", "Until this service's certificate ends; absent without one.", ["kind"]
)
for _row in TABLE:
    REFUSALS.labels(_row)  # 0 from the start: an increase from nothing to 1 is none to Prometheus

# Worker.
CALLS = Gauge("teletrunk_calls", "Calls that are up or being set up.")
CALLS_MOST = Gauge("teletrunk_calls_most", "Calls that this Worker takes at a time.")
CALLS_ENDED = Counter("teletrunk_calls_ended", "Calls that have ended.", ["direction", "ended_by", "answered"])
SETUP_SECONDS = Histogram(
    "teletrunk_call_setup_seconds", "From the invitation to ringing.", ["direction"], buckets=_SETUP
)
TALK_SECONDS = Counter("teletrunk_talk_seconds", "Time that calls were up.", ["direction"])
LATE_BLOCKS = Counter(
    "teletrunk_late_blocks", "Gaps in sound: a block came too late (to SIP), none for 80 ms (to Telegram).", ["towards"]
)
RTP_LOST = Counter("teletrunk_rtp_packets_lost", "RTP packets from PBXs that never came.")
REGISTRATIONS = Gauge("teletrunk_registrations", "Bindings of PBXs at this Worker.")
TRUNKS_OF_OURS = Gauge(
    "teletrunk_outbound_trunks", "Trunks whose PBX does not register here, by whether it can be reached.", ["state"]
)
BANS = Gauge("teletrunk_bans", "Addresses that this Worker turns away.")
REGISTERS = Counter("teletrunk_register_requests", "REGISTER requests with credentials, by outcome.", ["outcome"])
DIALOGS = Gauge("teletrunk_dialogs", "SIP dialogs that have not ended.")
STRANGERS = Counter(
    "teletrunk_stranger_messages",
    "SIP messages of strangers that got no answer, by why.",
    ["fate"],
)
SIP_ERRORS = Counter("teletrunk_sip_errors", "SIP messages that met an error of the Worker's own.")
HOSTS_DIED = Counter("teletrunk_hosts_died", "Host processes that ended unasked.", ["kind"])
RECORDS_WAITING = Gauge("teletrunk_records_waiting", "Call records on this Worker's disk that no Manager has yet.")

# Manager.
QUESTIONS = Histogram("teletrunk_question_seconds", "Time to answer a question.", ["method"], buckets=_ANSWER)
ATTACHED = Gauge("teletrunk_services_attached", "Services attached to any Manager.", ["kind"])
REFUSED_DROPPED = Counter(
    "teletrunk_refused_records_dropped",
    "Records of refused calls that were too many to be kept, by whose limit it was: a trunk's or a Worker's.",
    ["limit"],
)
for _limit in ("trunk", "worker"):
    REFUSED_DROPPED.labels(_limit)
SHARED_STATE = Gauge("teletrunk_shared_state_reached", "1 while the shared state (Redis) answers.")

# Session Storage.
SESSIONS = Gauge("teletrunk_sessions", "Telegram sessions of this Storage, by state.", ["state"])
TELEGRAM_CALLS = Gauge("teletrunk_telegram_calls", "Phone calls whose signalling this Storage carries.")
