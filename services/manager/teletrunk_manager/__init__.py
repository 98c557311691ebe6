"""The Manager: decides which account and which trunk carry a call, and keeps the records."""

import os

# gRPC's core would print its own lines beside ours; it reads this when it is first imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
