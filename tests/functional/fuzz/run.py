"""Feed one parser with mutated inputs: ``python -m tests.functional.fuzz.run PARSER COUNT SEED``.

A process of its own with little memory to allocate, so that an input that asks for much of it shows
itself. Any error but the parser's own ends it, with the input on standard error.
"""

import base64
import io
import json
import random
import resource
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from remus_ha.core.register import Identity, Kind, Register
from remus_ha.disk.orders import Order
from remus_ha.disk.tapdisk import wire
from remus_ha.disk.tapdisk.errors import UriInvalid
from remus_ha.disk.tapdisk.uri import parse as parse_uri
from remus_ha.netbuf.lease import Lease
from remus_ha.receive import request
from remus_ha.receive.request import HandshakeRubbish, HandshakeVersion, ReceiverRefused
from remus_ha.stream import frames
from remus_ha.stream.credentials import create, decode_certificate
from remus_ha.stream.errors import NotAnOffer, ProtocolError, XenStreamInvalid
from remus_ha.stream.xenwalk import walk
from remus_ha.witness import etcdtxn, rows
from remus_ha.witness.errors import WitnessUrlInvalid
from remus_ha.witness.memory import Memory
from remus_ha.witness.url import parse_etcd_url
from tests.unit.receive.test_request import REPLY, REQUEST
from tests.unit.stream import streams
from tests.unit.stream.test_frames import GOLDEN
from tests.unit.witness.test_etcdtxn import FOUND, READ

ROOM = 256 << 20  # octets that may be allocated beyond what is there at the start
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, (1 << 63) - 1)
WORDS = (b"[" * 2000, b"-", b"9" * 400, b"null", b'"', b"\\ud800", b"\\")


class Parser(NamedTuple):
    """``parse`` may raise ``errors`` alone; ``samples`` are good inputs."""

    parse: Callable[[bytes], object]
    errors: tuple[type[Exception], ...]
    samples: Sequence[bytes]


def text_of(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda raw: parse(raw.decode(errors="surrogateescape"))


def frames_of(raw: bytes) -> None:
    """In two pieces, as a socket may give them; never more than a frame is held."""
    reader = frames.FrameReader()
    for piece in (raw[: len(raw) // 3], raw[len(raw) // 3 :]):
        reader.feed(piece)
        if reader.held > frames.MAX_FRAME:
            raise AssertionError(f"{reader.held} octets are held")


def messages_of(raw: bytes) -> None:
    for codes in (wire.TO_BACKUP, wire.TO_PRIMARY):
        decoder = wire.Decoder(codes, 1 << 20)
        decoder.feed(raw)
        if decoder.held > wire.MAX_SECTORS * wire.SECTOR + 64:
            raise AssertionError(f"{decoder.held} octets are held")


_IDENTITY = Identity("a", "0011223344556677")
_REGISTERS = [
    Register(7, Kind.PAIR, _IDENTITY, Identity("b", "00")).encode(),
    Register(8, Kind.HOLDER, _IDENTITY).encode(),
    Register(9, Kind.NONE, None).encode(),
]
_CERTIFICATE = base64.b64encode(create().certificate)
_REPLIES = [request.to_line(replace(REPLY, disk_ports=(4003, 4004)))]
_HANDSHAKE = (HandshakeRubbish, HandshakeVersion)

PARSERS = {
    "frames": Parser(frames_of, (ProtocolError,), [bytes.fromhex(text) for text in GOLDEN]),
    "request": Parser(request.parse_request, _HANDSHAKE, [request.to_line(REQUEST)]),
    "reply": Parser(request.parse_reply, (*_HANDSHAKE, ReceiverRefused), _REPLIES),
    "refusals": Parser(
        request.parse_refusals,
        _HANDSHAKE,
        [request.refusal(HandshakeRubbish(detail="x"), HandshakeVersion(theirs=1, ours=2))],
    ),
    "certificate": Parser(text_of(decode_certificate), (NotAnOffer,), [_CERTIFICATE]),
    "register": Parser(rows.decode_register, (ValueError,), _REGISTERS),
    "opened": Parser(rows.decode_opened, (ValueError,), [rows.encode_opened(7)]),
    "memory": Parser(
        text_of(Memory.decode), (ValueError,), [Memory("3f", "14841", 6).encode().encode()]
    ),
    "etcd": Parser(
        lambda raw: etcdtxn.parse(raw, READ), (ValueError,), [json.dumps(FOUND).encode()]
    ),
    "witness-url": Parser(
        text_of(parse_etcd_url),
        (WitnessUrlInvalid,),
        [b"etcd://10.0.0.9:2379", b"etcd+https://[fd00::9]:1/?ca=/x&cert=/y&key=/z"],
    ),
    "tapdisk": Parser(
        messages_of,
        (),
        [b"wreq" + wire.HEADER.pack(1, 7) + bytes(512) + b"sreqcreq", b"donedone"],
    ),
    "tapdisk-uri": Parser(
        text_of(parse_uri), (UriInvalid,), [b"tap:remus:10.9.0.2:9000|aio:/srv/web1.img"]
    ),
    "order": Parser(
        Order.parse,
        (ValueError,),
        [b'{"do": "close", "n": 7}', b'{"do": "hash", "n": 7, "offset": 0, "length": 9}'],
    ),
    "lease": Parser(
        text_of(Lease.parse), (), [Lease("vif7.0", REQUEST.guest_uuid, "00" * 16).alias().encode()]
    ),
    "stream": Parser(
        lambda raw: list(walk(io.BytesIO(raw))), (XenStreamInvalid,), [streams.remus(2)]
    ),
}


def mutated(chance: random.Random, samples: Sequence[bytes]) -> bytes:
    """One of the samples with one to four changes."""
    raw = bytearray(chance.choice(samples))
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(raw) + 1)
        match chance.randrange(8):
            case 0:
                raw[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                width = chance.choice((1, 2, 4, 8))
                number = chance.choice(NUMBERS) % (1 << 8 * width)
                raw[at : at + width] = number.to_bytes(width, chance.choice(("little", "big")))
            case 2:
                del raw[at:]
            case 3:
                del raw[at : at + chance.randint(1, 16)]
            case 4:
                raw[at:at] = raw[at : at + chance.randint(1, 64)]
            case 5:
                raw[at:at] = chance.randbytes(chance.randint(1, 16))
            case 6:
                other = chance.choice(samples)
                raw[at:] = other[chance.randrange(len(other) + 1) :]
            case 7:  # where the format is text
                raw[at:at] = chance.choice(
                    (b"[" * 2000, b"-", b"9" * 400, b"null", b'"', b"\\ud800")
                )
    return bytes(raw)


def main(name: str, count: int, seed: int) -> int:
    parser, chance = PARSERS[name], random.Random(seed)
    for sample in parser.samples:
        parser.parse(sample)
    with open("/proc/self/statm") as statm:
        now = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + ROOM, now + ROOM))
    passed = 0
    for _ in range(count):
        raw = mutated(chance, parser.samples)
        try:
            parser.parse(raw)
            passed += 1
        except parser.errors:
            pass
        except BaseException:
            print(f"{name} with {raw.hex()}", file=sys.stderr)
            raise
    print(json.dumps({"inputs": count, "passed": passed}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
