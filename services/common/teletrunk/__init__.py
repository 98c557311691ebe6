"""Teletrunk: a Telegram account as a SIP trunk. This package is what the three services share."""

import os

# gRPC's core would print its own lines beside ours; it reads this when it is first imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
# Its handlers around fork() would start its threads again in every child, in the moment before the child becomes
# another program, and crash there now and then. We only ever fork to become another program.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
# Names as every other program of the machine finds them. gRPC's own resolver asks the name server also for what
# /etc/hosts has, and waits for eleven seconds where none answers: longer than any call of ours.
os.environ.setdefault("GRPC_DNS_RESOLVER", "native")

__version__ = "0.1.0"
