"""Decoding server-sent events, without a socket."""

import time
from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.util import find_spec
from statistics import median

from benchmarks.measures import Numbers

PIECE_BYTES = 64 * 1024
EVENT = b'data: {"output":"%b"}\n\n' % (b"x" * 137)
"""160 bytes."""


def decode(contender: str, *, events: int, repeats: int) -> Numbers:
    """Decode a body that comes in pieces cut anywhere."""
    body = EVENT * events
    pieces = [body[start : start + PIECE_BYTES] for start in range(0, len(body), PIECE_BYTES)]
    decoder = _DECODERS[contender]
    times_s = []
    for _ in range(repeats):
        started = time.perf_counter()
        count = sum(1 for _ in decoder(pieces))
        times_s.append(time.perf_counter() - started)
        if count != events:
            raise RuntimeError(f"{count} events came, of {events}")
    return {"mb_per_s": len(body) / 1e6 / median(times_s)}


def installed(contender: str) -> bool:
    """Whether this decoder can take part."""
    return contender != "httpx-sse" or find_spec("httpx_sse") is not None


def _floor(pieces: Iterable[bytes]) -> Iterator[str]:
    """Cut at blank lines and drop the field's name: no standard, and right for this server only."""
    rest = b""
    for piece in pieces:
        *events, rest = (rest + piece).split(b"\n\n")
        for event in events:
            yield event[6:].decode()


def _exatlas(pieces: Iterable[bytes]) -> Iterator[object]:
    decoder = import_module("exatlas.transport.sse").SseDecoder()
    for piece in pieces:
        yield from decoder.feed(piece)


def _httpx_sse(pieces: Iterable[bytes]) -> Iterator[object]:
    reply = import_module("httpx").Response(200, headers={"content-type": "text/event-stream"}, content=iter(pieces))
    events: Iterator[object] = import_module("httpx_sse").EventSource(reply).iter_sse()
    return events


_DECODERS = {"floor": _floor, "exatlas": _exatlas, "httpx-sse": _httpx_sse}
