"""Processes of a service: forked and ended; and the socket that they share."""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

from anogen.errors import AnogenError, MachineError, first_line
from anogen.progress import say

BACKLOG = 2048
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Those that a service answers to."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        MachineError: the address is taken, or none of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
        made.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        made.close()
        reason = getattr(error, "strerror", None) or first_line(error)
        raise MachineError(
            f"{host}, port {port}: cannot be listened on ({reason}); choose another --port"
        ) from error
    made.setblocking(False)
    return made


def fork(function: Callable[[], int], unused: socket.socket | None = None) -> int:
    """A process that calls a function and ends with what it returns; its number.

    Signals wait until it is there and has forgotten what its parent does about them. A socket that
    it does not use is closed in it, or it would stay open when all others are closed.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    process = os.fork()
    if process:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return process
    code = 1
    try:
        for number in SIGNALS:  # Ctrl+C, which all processes get, is for the supervisor
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, _end_at_once)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if unused is not None:
            unused.close()
        code = function()
    except AnogenError as error:
        say(f"anogen serve: {error}")
        code = error.exit_code
    except BaseException as error:
        say(f"anogen serve: unexpected {type(error).__name__}: {first_line(error)}")
    finally:
        with suppress(OSError, ValueError, AttributeError):
            sys.stderr.flush()
        os._exit(code)


def _end_at_once(number: int, frame: object) -> None:
    """What a process does that is told to end before it has begun."""
    del number, frame
    os._exit(0)


def end(processes: Sequence[int], patience: float, signals: Collection[int] = ()) -> bool:
    """Ask processes to end and wait; those that do not, or when another signal comes, are killed.

    Returns whether all ended well.
    """
    waiting, clean = set(processes), True
    for process in processes:
        with suppress(OSError):
            os.kill(process, signal.SIGTERM)
    until = time.monotonic() + patience
    while waiting:
        for process in list(waiting):
            try:
                ended, status = os.waitpid(process, os.WNOHANG)
            except ChildProcessError:
                waiting.discard(process)
                continue
            if ended:
                waiting.discard(process)
                clean = clean and status == 0
        if waiting and (signals or time.monotonic() > until):
            kill(waiting)
            say("what did not end in time was killed")
            return False
        time.sleep(0.02)
    return clean


def kill(processes: Collection[int]) -> None:
    """End processes at once, and forget them."""
    for process in processes:
        with suppress(OSError):
            os.kill(process, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(process, 0)


def ending(status: int) -> str:
    """How a process ended, in words.

    >>> ending(9), ending(256)
    ('signal 9', 'exit code 1')
    """
    code = os.waitstatus_to_exitcode(status)
    return f"signal {-code}" if code < 0 else f"exit code {code}"
