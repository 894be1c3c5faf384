"""Where a Xen release keeps its tools, and which releases are known.

The save helper's protocol is the same in Xen 4.14 to 4.22 (libxl_save_msgs_gen.pl and
libxl_save_callout.c of each), so one table serves them all; any other release is refused.
"""

import os
import sys
from pathlib import Path

from remus_ha.hypervisor import errors

KNOWN_MINORS = range(14, 23)
_ROOTS = ("/usr/lib/xen-{version}", "/usr/lib/xen", "/usr/libexec/xen", "/usr/local/lib/xen")


def running_version() -> str:
    """``major.minor`` of the running hypervisor. Raises ToolMissing, UnknownVersion."""
    try:
        major = Path("/sys/hypervisor/version/major").read_text().strip()
        minor = Path("/sys/hypervisor/version/minor").read_text().strip()
    except OSError as e:
        raise errors.ToolMissing(tool="a running Xen hypervisor") from e
    return check_version(f"{major}.{minor}")


def check_version(version: str) -> str:
    """The version itself where its helper's tables are known. Raises UnknownVersion."""
    major, _, minor = version.partition(".")
    if major != "4" or not minor.isdigit() or int(minor) not in KNOWN_MINORS:
        known = f"4.{KNOWN_MINORS.start} to 4.{KNOWN_MINORS.stop - 1}"
        raise errors.UnknownVersion(version=version, known=known)
    return version


def save_helper(version: str) -> str:
    """Path of libxl-save-helper. Raises ToolMissing."""
    given = os.environ.get("LIBXL_SAVE_HELPER")
    candidates = (
        [given] if given else [f"{r.format(version=version)}/bin/libxl-save-helper" for r in _ROOTS]
    )
    for path in candidates:
        if os.access(path, os.X_OK):
            return path
    raise errors.ToolMissing(tool="libxl-save-helper")


def add_bindings(version: str) -> None:
    """Make Xen's own Python modules importable (xen.lowlevel.xc and .xs)."""
    for root in _ROOTS:
        path = f"{root.format(version=version)}/lib/python"
        if Path(path).is_dir() and path not in sys.path:
            sys.path.append(path)
