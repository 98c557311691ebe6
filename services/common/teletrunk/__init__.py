"""Teletrunk: a Telegram account as a SIP trunk. This package is what the three services share."""

import os

# gRPC's core would print its own lines beside ours; it reads this when it is first imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

__version__ = "0.1.0"
