"""Libraries without what no service needs of them. To be imported before anything else that imports them.

prometheus_client would bring an HTTP server of its own, 1.5 MB, and structlog rich for coloured tracebacks, 4 MB, which
no service's log has.
"""

from __future__ import annotations

from teletrunk import lazy_packages
from teletrunk.absent import absent

lazy_packages.install("prometheus_client")

with absent("rich"):
    import structlog  # noqa: F401
