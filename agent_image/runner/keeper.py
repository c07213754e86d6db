"""Keeps the processes of one command or terminal together, so that a turn's end spares them and theirs ends them all.

Started as a program of its own: `python3 -I -S keeper.py pipe|tty <program> <arguments…>`. Whatever the program
starts, however it is detached, stays below this process, and is ended with it. SIGUSR1 interrupts the program as
Ctrl-C does; SIGTERM kills all. It ends as the program did: with its exit code, or by its signal.
Source: prctl(2), PR_SET_CHILD_SUBREAPER and PR_SET_PDEATHSIG.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_ROUNDS = 100
_ROUND_S = 0.01
_HEARD = (signal.SIGCHLD, signal.SIGTERM, signal.SIGUSR1)


def main() -> None:
    kind, argv = sys.argv[1], sys.argv[2:]
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    program = os.fork()
    if program == 0:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        _become(kind, argv)
    _let_go_of_files()
    status = _wait_for(program)
    _end_descendants()
    _end_like(status)


def _become(kind: str, argv: list[str]) -> None:
    """Become the program: in a session of its own, with its terminal if it has one."""
    try:
        os.setsid()
        if kind == "tty":
            import fcntl
            import termios

            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        # What is ignored here, by Python or by whoever started the runner in the background, a program would inherit.
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execvp(argv[0], argv)  # noqa: S606 (the runner's own argument list)
    except OSError as exc:
        os.write(2, f"{argv[0]}: {exc.strerror}\n".encode())
    os._exit(127)


def _let_go_of_files() -> None:
    """Hold no end of the program's pipes or terminal: whoever reads them sees their end when the program's are shut."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for handle in (0, 1, 2):
        os.dup2(nothing, handle)
    os.closerange(3, 1024)


def _wait_for(program: int) -> int:
    """Do as told until the program ends; return its wait status."""
    while True:
        number = signal.sigwait(_HEARD)
        if number == signal.SIGUSR1:
            _signal_group(program, signal.SIGINT)
        elif number == signal.SIGTERM:
            _signal_group(program, signal.SIGKILL)
            _end_descendants()
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return signal.SIGKILL
            if pid == program:
                return status
            if pid == 0:
                break


def _signal_group(program: int, number: int) -> None:
    try:
        os.killpg(program, number)
    except (ProcessLookupError, PermissionError):
        return


def _end_descendants() -> None:
    """Stop all, then kill all: what is stopped starts no more. Bounded; the runner ends what outruns this."""
    for _ in range(_ROUNDS):
        running = [(pid, state) for pid, state in _descendants() if state not in "ZX"]
        if not running:
            return
        fresh = [pid for pid, state in running if state not in "Tt"]
        number = signal.SIGSTOP if fresh else signal.SIGKILL
        for pid in fresh or [pid for pid, _ in running]:
            try:
                os.kill(pid, number)
            except (ProcessLookupError, PermissionError):
                continue
        time.sleep(_ROUND_S)
    for pid, _ in _descendants():
        try:
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def _descendants() -> list[tuple[int, str]]:
    """Return every process below this one with its state. A dead parent's children are this one's."""
    parents: dict[int, tuple[int, str]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123 (pathlib costs memory here)
                    state_read, parent_read = file.read().rpartition(b")")[2].split()[:2]
            except (OSError, ValueError):
                continue
            parents[int(name)] = (int(parent_read), state_read.decode())
    own, found = os.getpid(), []
    for pid, (parent, state) in parents.items():
        above, steps = parent, 0
        while above != own and above in parents and steps < len(parents):
            above, steps = parents[above][0], steps + 1
        if above == own:
            found.append((pid, state))
    return found


def _end_like(status: int) -> None:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


if __name__ == "__main__":
    main()
