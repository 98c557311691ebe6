"""A socket of pjmedia that sends nothing for a while, and still listens.

Without its input the stream sends silence, packet by packet, and the stock wheel does not show the stream, which
could be paused. So something that is no socket stands under the descriptor's number meanwhile: an empty pipe.
"""

from __future__ import annotations

import os
import select


class SilencedSocket:
    def __init__(self, descriptor: int) -> None:
        """Takes effect at once. Raises OSError."""
        self._descriptor = descriptor
        self._pipe, self._other_end = os.pipe()
        self._real = os.dup(descriptor)
        os.dup2(self._pipe, descriptor, inheritable=False)

    def has_received(self) -> bool:
        poll = select.poll()
        poll.register(self._real, select.POLLIN)
        return bool(poll.poll(0))

    def give_back(self) -> None:
        """To be called in any case: the port stays taken otherwise."""
        try:
            # Its owner may have closed it: the number is then free, or somebody else's.
            if os.path.sameopenfile(self._descriptor, self._pipe):
                os.dup2(self._real, self._descriptor, inheritable=False)
        except OSError:
            pass
        finally:
            for descriptor in (self._real, self._pipe, self._other_end):
                os.close(descriptor)
