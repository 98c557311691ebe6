"""A call of a SIP host is freed when it is let go of, no later: its destructor hangs up whoever has its slot then."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import gc, os, weakref
from teletrunk_worker.legs.host_call import HostCall
from teletrunk_worker.legs.sip_host import SipHost
from teletrunk_worker.legs.wire import Wire
ours, theirs = Wire.pair()
host = SipHost(Wire.inherited(os.dup(theirs.fileno())))
host.configure({"rate": 8000, "max_calls": 4, "edge_port": 9, "public_address": "127.0.0.1", "public_port": 9,
                "media_address": "127.0.0.1", "rtp_address": "127.0.0.1", "rtp_port": 40000, "rtp_ports": 32})
gc.collect()
gc.disable()
call = HostCall(host, host._account, "call")
left = weakref.ref(call)
del call
print("kept" if left() else "freed", flush=True)
os._exit(0)
"""


def test_a_call_that_nobody_holds_is_freed_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip().endswith("freed"), done.stdout + done.stderr
