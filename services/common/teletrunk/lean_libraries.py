"""Libraries without what no service needs of them. To be imported before anything else that imports them.

prometheus_client would bring an HTTP server of its own, 1.5 MB, and structlog rich for coloured tracebacks, 4 MB, which
no service's log has.
"""

from __future__ import annotations

import sys

from teletrunk import lazy_packages

lazy_packages.install("prometheus_client")

if "rich" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment]  # as if it were not installed
    import structlog  # noqa: F401

    del sys.modules["rich"]
