"""Starting a per-guest process as a copy of the one that starts it: what is loaded stays loaded.

In a dom0 the modules of such a process take seconds to load, and a front end needs nearly all of
them itself. Whatever is started later, in the place of one that died, is an interpreter of its own.
"""

import contextlib
import gc
import importlib.util
import os
import shlex
import sys
import threading
import traceback
from collections.abc import Callable, Collection, Sequence

Main = Callable[[Sequence[str]], int]


def is_possible() -> bool:
    """Not beside other threads, and not with a library that a per-guest process must not have.

    Nor under the front end's name: whoever ends that by name would end the guest's process too.
    """
    named = importlib.util.find_spec("setproctitle") is not None
    return named and threading.active_count() == 1 and "stevedore" not in sys.modules


def start(
    module: str,
    words: Sequence[str],
    main: Main,
    *,
    keep: Collection[int],
    log_fd: int = -1,
) -> int:
    """What ``python -m module words`` is, as a copy of this process that runs ``main``; its pid.

    It keeps the descriptors in ``keep``. With ``log_fd`` it is detached as well: a session of its
    own, and its output goes there.
    """
    _flush()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        _become(module, words, keep, log_fd)
        status = _run(main, words)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            _flush()
        finally:
            os._exit(status)  # nothing that the copied stack still wants to do is ours


def _run(main: Main, words: Sequence[str]) -> int:
    """The exit status, as the interpreter makes it of ``sys.exit``."""
    try:
        return main(words)
    except SystemExit as e:
        if e.code is None or isinstance(e.code, int):
            return e.code or 0
        print(e.code, file=sys.stderr)
        return 1


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or never open
            stream.flush()


def _become(module: str, words: Sequence[str], keep: Collection[int], log_fd: int) -> None:
    gc.freeze()  # no collection here ends what is the other's
    if log_fd >= 0:
        os.setsid()
        os.chdir("/")
        os.dup2(log_fd, 1)
        os.dup2(log_fd, 2)
    _blind({1, 2, *keep})
    # The objects above them may be a test's, or buffer as a terminal's do.
    sys.stdout = open(1, "w", buffering=1, errors="backslashreplace", closefd=False)
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    from setproctitle import setproctitle  # noqa: PLC0415  (only a copy has another's name)

    setproctitle(shlex.join([sys.executable, "-m", module, *words]))


def _blind(keep: Collection[int]) -> None:
    """Every other descriptor leads nowhere from now on.

    Not closed: the copied objects that believe they own them would close their successors.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd != null and fd not in keep and _is_open(fd):
            os.dup2(null, fd, inheritable=fd == 0)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False  # the listing's own
    return True
