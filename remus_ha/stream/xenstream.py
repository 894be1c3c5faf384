"""The outer layers of Xen's memory stream, as far as this product writes them itself.

Source of the format: docs/specs/libxl-migration-stream.pandoc and tools/xl/xl_migrate.c of Xen
4.14 to 4.22. The restoring process is fed ``preamble()``, then what ``libxl-save-helper`` writes
on the primary, with ``CHECKPOINT_END`` after each epoch's ``LIBXC_CHECKPOINT``. Preamble and
``CHECKPOINT_END`` are the backup's own; neither travels from primary to backup.
"""

import struct

#: What ``xl migrate-receive`` says once it is ready for the stream.
BANNER = b"xl migration receiver ready, send binary domain data.\n"

SAVE_MAGIC = b"Xen saved domain, xl format\n \0 \r"
SAVE_HEADER = struct.Struct("<32sIIII")  # magic, byte order, mandatory, optional flags, length
BYTE_ORDER = 0x01020304
FLAG_JSON = 1
FLAG_STREAM_V2 = 2
#: Far above any real configuration; a bound for whoever reads one.
MAX_CONFIG = 1 << 20

LIBXL_HEADER = struct.Struct(">QII")  # ident, version, options
LIBXL_IDENT = 0x4C6962786C466D74  # "LibxlFmt"
LIBXL_VERSION = 2

RECORD = struct.Struct("<II")  # type, length of the body; the body is padded with zeros to 8
LIBXL_END = 0
LIBXL_LIBXC_CONTEXT = 1
LIBXL_EMULATOR_XENSTORE_DATA = 2
LIBXL_EMULATOR_CONTEXT = 3
LIBXL_CHECKPOINT_END = 4
LIBXL_CHECKPOINT_STATE = 5

LIBXC_IMAGE = struct.Struct(">QIIHHI")  # marker, id, version, options, two zeros
LIBXC_DOMAIN = struct.Struct("<IHHII")  # type, page shift, zero, Xen's major and minor version
LIBXC_MARKER = 0xFFFFFFFFFFFFFFFF
LIBXC_ID = 0x58454E46  # "XENF"
#: The restoring side refuses a longer record body.
MAX_RECORD = 128 << 20


def record(kind: int, body: bytes = b"") -> bytes:
    """One record of the libxl or the libxc layer, padded."""
    return RECORD.pack(kind, len(body)) + body + bytes(-len(body) % 8)


#: libxc's end of an epoch: from here on libxl reads, until its own.
LIBXC_CHECKPOINT = record(0x0E)
#: The record that makes an epoch real on the backup: the commit point of the restoring process.
CHECKPOINT_END = record(LIBXL_CHECKPOINT_END)
#: Both, as the restoring process has to get them: at an end of file in libxc's part it goes on from
#: the epoch before; between the two records libxl takes that for an empty record, for ever.
EPOCH_END = LIBXC_CHECKPOINT + CHECKPOINT_END
LIBXC_CONTEXT = record(LIBXL_LIBXC_CONTEXT)
#: End of either layer in a plain migration; a protected guest's stream never contains it.
END = record(LIBXL_END)


def xl_header(config_json: bytes) -> bytes:
    """xl's save header with the domain's configuration, JSON without a NUL.

    The receiver takes the name of the domain from the configuration. Raises ValueError for a
    configuration that is empty, has a NUL or exceeds ``MAX_CONFIG``.
    """
    if not config_json or b"\0" in config_json or len(config_json) >= MAX_CONFIG:
        raise ValueError(f"not a configuration: {config_json[:40]!r}")
    config = config_json + b"\0"
    flags = FLAG_JSON | FLAG_STREAM_V2
    header = SAVE_HEADER.pack(SAVE_MAGIC, BYTE_ORDER, flags, 0, 4 + len(config))
    return header + struct.pack("<I", len(config)) + config


def libxl_header() -> bytes:
    """The header of libxl's stream, version 2, little-endian records."""
    return LIBXL_HEADER.pack(LIBXL_IDENT, LIBXL_VERSION, 0)


def preamble(config_json: bytes) -> bytes:
    """All that goes before the save helper's first octet."""
    return xl_header(config_json) + libxl_header() + LIBXC_CONTEXT
