"""Child processes that end when the process that started them is gone, however it went."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
"""linux/prctl.h"""
_LIBRARY = ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None
# Loaded with the module: between fork and exec no library may be opened.


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent, process `parent`, ends; at once if it already has.

    For pool initializers, loader workers and `preexec_fn`; give it the parent's own `os.getpid()`. A chain of children
    that all ask for it ends from the top down. The kernel watches the thread that started the child: start children
    from a thread that lives as long as they should. Does nothing on other systems than Linux.
    """
    if _LIBRARY is None:
        return
    _LIBRARY.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # A parent that died before the kernel was asked sends no signal any more; its orphans have another parent.
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
