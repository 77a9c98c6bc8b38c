"""Signals that end a command: at once where nothing would be lost, else where its work is saved.

It loads nothing heavy: the command takes the signals before it imports anything else.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from vqa.errors import InputError, LostFile, VQAError

_FIRST = 2.0  # seconds for the first process to speak: at an end of others its launcher kills it
_PATIENCE = 15.0  # seconds that a command may tidy up, once it is to end
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has not all of them


class Stop(KeyboardInterrupt):
    """Ends the command. It is no failure: no `except Exception` on its way may take it for one."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number  # of the signal


class Stopped(VQAError):
    """A command that a signal has ended; its exit code is that of a shell, 128 and the signal."""

    def __init__(self, number: int, state: str = "") -> None:
        super().__init__(f"stopped by {_name(number)} {state}".rstrip())
        self.exit_code = 128 + number


class Signals:
    """The signals of this process that ask it to end: Ctrl-C, SIGTERM and SIGHUP.

    A second Ctrl-C never waits. Other signals come twice where a launcher hands them on, and change
    nothing the second time.
    """

    def __init__(self) -> None:
        self.received = 0  # number of the first signal; of several processes, of any of them
        self._installed = False
        self._idle = False
        self._deferring = False
        self._ending = 0  # how often a Stop was raised that is not over

    def install(self) -> Callable[[], None]:
        """Handle the signals; return the function that puts the handlers of before back.

        What the process is to ignore (`nohup`) stays ignored.
        """
        if self._installed or threading.current_thread() is not threading.main_thread():
            return lambda: None
        numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
        before = {number: signal.getsignal(number) for number in numbers}
        before = {n: now for n, now in before.items() if now not in (None, signal.SIG_IGN)}
        unraisable = sys.unraisablehook
        self.reset()
        self._installed, self._idle = True, False
        for number in before:
            signal.signal(number, self._handle)
        sys.unraisablehook = self._unraisable

        def restore() -> None:
            for number, handler in before.items():
                signal.signal(number, handler)
            sys.unraisablehook = unraisable
            self.reset()
            self._installed = False

        return restore

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the signals within the block."""
        restore = self.install()
        try:
            yield
        finally:
            restore()

    def idle(self) -> None:
        """Let signals end the process at once, in one line: nothing is at work."""
        self._idle = True

    def work(self) -> None:
        """Let signals raise Stop from now on, so that what is at work can be tidied up."""
        self._idle = False

    def defer(self) -> None:
        """Let signals wait from now on: who calls looks at `received` where the work can end."""
        self._deferring = True

    def allow(self) -> None:
        """Let signals end the work at once again. Raises Stop where one has waited."""
        self._deferring = False
        if self.received and not self._ending:
            self._raise()

    @property
    def ending(self) -> bool:
        """Return whether a Stop was raised, and the work has not gone on since."""
        return bool(self._ending)

    def reset(self) -> None:
        """Go on after a Stop: it was for a part of the work alone."""
        self.received, self._deferring = 0, False
        self._ending = 0

    def _handle(self, number: int, _: Any) -> None:
        again = bool(self.received) and number == signal.SIGINT
        self.received = self.received or number
        if self._idle:
            self._exit()
        if self._ending:
            if again:  # whatever it still tidies up
                os._exit(128 + self.received)
            return
        if self._deferring and not again:
            if sys.stderr is not None and sys.stderr.isatty():
                _write("\nvqa: ends behind this step, once saved; Ctrl-C again: at once")
            return
        self._raise()

    def _raise(self) -> None:
        self._ending = time.monotonic_ns()
        # a library may take the exception for its own, or never come to an end: see that it ends.
        # No threading.Thread: the main thread may hold that module's lock just now.
        _thread.start_new_thread(self._end, (self._ending,))
        raise Stop(self.received)

    def _end(self, which: int) -> None:
        time.sleep(_PATIENCE)
        if self._ending == which:
            self._exit()

    def _exit(self) -> None:
        _write(f"vqa: {Stopped(self.received)}")
        os._exit(128 + self.received)

    def _unraisable(self, unraisable: Any) -> None:
        """Send the signal once more where its exception came up in what cannot raise any."""
        if not isinstance(unraisable.exc_value, Stop):
            sys.__unraisablehook__(unraisable)
            return
        number, self.received, self._ending = unraisable.exc_value.number, 0, 0
        _thread.start_new_thread(_send_soon, (number,))


SIGNALS = Signals()


def is_main() -> bool:
    """Return whether this is the only process of the run, or the first, without torch."""
    return os.environ.get("RANK", "0") == "0"


def exit_error(stop: KeyboardInterrupt, state: str = "") -> BaseException:
    """Make the error that ends a stopped command: of several processes the first speaks for all."""
    number = getattr(stop, "number", int(signal.SIGINT))
    if is_main():
        return Stopped(number, state)
    time.sleep(_FIRST)
    return SystemExit(128 + number)


@contextmanager
def stopping(state: str = "") -> Iterator[None]:
    """Run what a signal may end, and say in one line in what state."""
    with SIGNALS.installed():
        try:
            yield
        except KeyboardInterrupt as stop:
            raise exit_error(stop, state) from None


@contextmanager
def resumable(state: str | Callable[[], str]) -> Iterator[None]:
    """Say `state`, what is saved and what goes on, where a signal or a failure ends the block.

    Not where the input is wrong, or what was written is lost.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        raise exit_error(stop, f"({state if isinstance(state, str) else state()})") from None
    except (InputError, LostFile, Stopped):
        raise
    except VQAError as error:
        raise VQAError(f"{error} ({state if isinstance(state, str) else state()})") from error


def _name(number: int) -> str:
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


def _send_soon(number: int) -> None:
    time.sleep(0.05)
    os.kill(os.getpid(), number)


def _write(line: str) -> None:
    """Print without Python's buffers, which the interrupted code may be using."""
    with suppress(OSError):
        os.write(2, f"{line}\n".encode())
