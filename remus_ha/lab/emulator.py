"""The emulator of the lab's hosts: this machine's QEMU, without an error that kills guests.

Emulating VMRUN, QEMU delivers the interrupt that a hypervisor injects and leaves its number behind
as a pending exception (``helper_vmrun``, ``SVM_EVTINJ_TYPE_INTR``; seen in 7.2). A request to leave
the execution loop that comes at that very moment delivers it once more, before the guest's handler
has run its first instruction: Linux dies of it, often with a triple fault (ADR 0016). In a copy of
the program the one instruction that leaves the number behind does nothing.
"""

import re
import shutil
from pathlib import Path

from remus_ha.lab import cache
from remus_ha.lab.progress import Progress

NAME = "qemu-system-x86_64"
_KEPT = 2
# From env->error_code on to the call of do_interrupt_x86_hardirq. env is a part of a larger object;
# what is stored at a negative place, and only that, lies before it: the pending exception.
_INJECTION = re.compile(
    rb"\x44?\x89[\x80-\xbf].{3}[\x00-\x7f]"  # mov %reg, error_code
    rb"(\x89[\x80-\xbf].{3}[\x80-\xff])"  # mov %reg, exception_index
    rb"\xc7[\x80-\x87].{3}[\x00-\x7f]\x00{4}"  # movl $0, exception_is_int
    rb"[\x48\x49]\xc7[\x80-\x87].{3}[\x00-\x7f]\xff{4}"  # movq $-1, exception_next_eip
    rb".{0,32}?\xba\x01\x00\x00\x00.{3}\xe8",  # mov $1, is_hw; mov env; call
    re.DOTALL,
)
_NOTHING = b"\x66\x0f\x1f\x44\x00\x00"  # a six-octet nop


def ensure(progress: Progress) -> Path:
    """The program to run; this machine's own, with a word about it, where it is not known."""
    own = Path(shutil.which(NAME) or NAME)

    def build(place: Path) -> None:
        mended = mend(own.read_bytes())
        program = place / "bin" / NAME
        program.parent.mkdir()
        if mended is None:
            progress.say(f"{own} is not known: guests may end by triple faults")
            program.symlink_to(own)
            return
        program.write_bytes(mended)
        program.chmod(0o755)
        for name in ("lib", "share"):  # it looks for its modules and data beside its directory
            (place / name).symlink_to(own.parent.parent / name)

    key = cache.key_of([own, _INJECTION.pattern])
    return cache.entry("emulator", key, build, keep=_KEPT) / "bin" / NAME


def mend(program: bytes) -> bytes | None:
    """The program without that error; None where there is not exactly one place like it."""
    found = list(_INJECTION.finditer(program))
    if len(found) != 1:
        return None
    start, end = found[0].span(1)
    return program[:start] + _NOTHING + program[end:]
