"""The emulator of the lab's hosts: this machine's QEMU, without an error that kills guests.

Emulating VMRUN, QEMU delivers the interrupt that a hypervisor injects and leaves its number behind
as a pending exception (``helper_vmrun``, ``SVM_EVTINJ_TYPE_INTR``; read in 7.2.22). A request to
leave the execution loop may then deliver it once more, whatever the guest's interrupt flag says:
Linux dies of it, often with a triple fault (ADR 0016). In a copy of the program the one instruction
that leaves the number behind does nothing.
"""

import re
import shutil
from pathlib import Path

from remus_ha.lab import cache

NAME = "qemu-system-x86_64"
_KEPT = 8
# From env->error_code on to the call of do_interrupt_x86_hardirq. env is a part of a larger object,
# in which the pending exception lies before it, at a negative place. What is stored there is in
# esi, as the call's second argument is.
_INJECTION = re.compile(
    rb"\x44?\x89[\x80-\xbf].{3}[\x00-\x7f]"  # mov %reg, error_code
    rb"(\x89[\xb0-\xb3\xb5-\xb7].{3}[\x80-\xff])"  # mov %esi, exception_index
    rb"\xc7[\x80-\x87].{3}[\x00-\x7f]\x00{4}"  # movl $0, exception_is_int
    rb"\x48\xc7[\x80-\x87].{3}[\x00-\x7f]\xff{4}"  # movq $-1, exception_next_eip
    rb".{0,32}?\xba\x01\x00\x00\x00.{3}\xe8",  # mov $1, is_hw; mov env; call
    re.DOTALL,
)
_NOTHING = b"\x66\x0f\x1f\x44\x00\x00"  # a six-octet nop


def ensure() -> Path:
    """The program to run, from the cache or copied now; the machine's own where it is not known."""
    own = Path(shutil.which(NAME) or f"/usr/bin/{NAME}").resolve()
    content = own.read_bytes()

    def build(place: Path) -> None:
        program = place / "bin" / NAME
        program.parent.mkdir()
        mended = mend(content)
        if mended is None:
            program.symlink_to(own)
            return
        program.write_bytes(mended)
        program.chmod(0o755)
        for part in own.parent.parent.iterdir():  # modules and data, which it looks for from here
            if part != own.parent:
                (place / part.name).symlink_to(part)

    key = cache.key_of([content, str(own), _INJECTION.pattern])
    return cache.entry("emulator", key, build, keep=_KEPT) / "bin" / NAME


def is_mended(program: Path) -> bool:
    """Whether what ``ensure`` gave is a copy without the error."""
    return not program.is_symlink()


def mend(program: bytes) -> bytes | None:
    """The program without that error; None where there is not exactly one place like it."""
    found = list(_INJECTION.finditer(program))
    if len(found) != 1:
        return None
    start, end = found[0].span(1)
    return program[:start] + _NOTHING + program[end:]
