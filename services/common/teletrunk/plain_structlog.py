"""structlog without rich, which it would load for coloured tracebacks: 4 MB, and no service's log has any.

To be imported before anything else that imports structlog.
"""

from __future__ import annotations

import sys

if "rich" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment]  # as if it were not installed
    import structlog  # noqa: F401

    del sys.modules["rich"]
