"""SIGHUP, which says that the settings have changed, or that the terminal is gone."""

from __future__ import annotations

import os
import signal


def outlive_hangups() -> bool:
    """Keep SIGHUP from ending the program; returns whether the loss of its terminal is to end it still.

    It is, in a terminal, unless somebody had SIGHUP ignored before (`nohup`).
    """
    # Not SIG_IGN, which the agents would inherit.
    before = signal.signal(signal.SIGHUP, lambda *_: None)
    return before is not signal.SIG_IGN and has_terminal()


def has_terminal() -> bool:
    """Whether there is a terminal that controls this process."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
