"""A machine's log lines, from Fly's log API, read page by page.

The API hands out the last hundred lines of a day, and then whatever came after the cursor of the last page. Nothing in
it is ever waited for on Fly's side, so a reader that follows asks again after a pause.

Source: superfly/flyctl `logs/polling.go` and https://fly.io/docs/monitoring/logs-api-options/, read 2026-11-23. The
API is unofficial, and it is what Fly's own client reads.
"""

import random
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from attrs import define, field, frozen

from exatlas.errors import AtlasError, NotFoundError, ProviderBrokenError, RateLimitedError, TransportError
from exatlas.messages import HttpReply
from exatlas.protocols import Context
from exatlas.providers.fly import finding, normalize, rules, translate
from exatlas.providers.fly.exchange import ask
from exatlas.providers.fly.ids import Place
from exatlas.providers.fly.options import Settings
from exatlas.records.job import LogLine
from exatlas.transport.shape import Fields, body_of

DEFAULT_TAIL = 100
PAGE = 100
"""A page with so many lines has more behind it."""
POLL_S = 2.0
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
MOST_FAILURES = 10
"""Failures in a row before the trouble is the reader's to know."""
QUIET_POLLS = 5
"""Empty pages in a row after which it is worth asking whether the machine is still there."""


@frozen(kw_only=True)
class Page:
    """What one read gave."""

    lines: tuple[LogLine, ...]
    keys: tuple[str, ...]
    """One for each line: several lines may share an instant, and a page may repeat the last."""
    cursor: str | None


@define
class _Reader:
    """How far the reader is, and how patient."""

    cursor: str | None = None
    last_page: frozenset[str] = field(default=frozenset())
    failures: int = 0
    quiet: int = 0

    def new_in(self, page: Page) -> list[LogLine]:
        """The lines not seen in the page before; the cursor moves on, except to nothing."""
        fresh = [line for line, key in zip(page.lines, page.keys, strict=True) if key not in self.last_page]
        self.cursor = page.cursor or self.cursor
        self.last_page = frozenset(page.keys) or self.last_page
        self.failures = 0
        self.quiet = 0 if fresh else self.quiet + 1
        return fresh


async def stream(
    compute_id: str, settings: Settings, ctx: Context, *, tail: int | None, follow: bool
) -> AsyncGenerator[LogLine, None]:
    """Yield lines, oldest first: the last `tail` (100 for None, and at most), then new ones while `follow`.

    A following stream ends when the machine or its app is gone. Trouble is sat out, and the cursor never moves over it.
    """
    rules.check_tail(tail, ctx.provider)
    place = await finding.locate(compute_id, settings, ctx, "stream_logs")
    at = _Reader()
    first = True
    while True:
        try:
            page = await ask(ctx, translate.logs(place, at.cursor, ctx), read_page)
        except NotFoundError:
            if first:
                raise
            return
        except (TransportError, ProviderBrokenError, RateLimitedError) as error:
            at.failures += 1
            if at.failures >= MOST_FAILURES or not error.retryable:
                raise
            await ctx.clock.sleep(_pause_s(at.failures, error))
            continue
        fresh = at.new_in(page)
        if first:
            wanted = DEFAULT_TAIL if tail is None else tail
            fresh = fresh[len(fresh) - min(wanted, len(fresh)) :]
        for line in fresh:
            yield line
        if not follow:
            return
        if first or len(page.lines) < PAGE:
            if at.quiet >= QUIET_POLLS:
                if await _is_gone(place, ctx):
                    return
                at.quiet = 0
            await ctx.clock.sleep(POLL_S)
        first = False


async def _is_gone(place: Place, ctx: Context) -> bool:
    try:
        machine = await ask(ctx, translate.get_machine(place, ctx, "stream_logs"), body_of)
    except NotFoundError:
        return True
    except AtlasError:
        return False  # whatever the trouble is, it does not say that the machine is gone
    return normalize.compute(machine, place.app, ctx.provider).status in finding.OVER


def _pause_s(failures: int, error: AtlasError) -> float:
    backoff_s = min(FIRST_PAUSE_S * 2.0 ** (failures - 1), LONGEST_PAUSE_S)
    return max(backoff_s * (0.5 + random.random() / 2), error.retry_after or 0.0)  # noqa: S311 - spreads load only


def read_page(reply: HttpReply) -> Page:
    """One page. Keys are read in either letter case, and the cursor as text or number, as Fly's own client does."""
    body = _lowered(body_of(reply))
    entries = body.objects("data")
    meta = body.object("meta")
    read = [_entry(entry) for entry in entries]
    return Page(
        lines=tuple(line for line, _ in read),
        keys=tuple(key for _, key in read),
        cursor=_text(_lowered(meta).any("next_token")) if meta else None,
    )


def _entry(entry: Fields) -> tuple[LogLine, str]:
    """A line, flat as the log API gives it or nested as log shippers do, and what tells it from others."""
    entry = _lowered(entry)
    attributes = _lowered(entry.object("attributes") or entry)
    meta = _inner(attributes, "meta")
    event = _inner(attributes, "event") or _inner(meta, "event")
    message = attributes.text("message") or ""
    instant = attributes.text("timestamp") or ""
    instance = attributes.text("instance") or (meta.text("instance") if meta else None) or ""
    entry_id = entry.text("id")
    line = LogLine(
        line=message,
        at=attributes.instant("timestamp"),
        source=event.text("provider") if event else None,
        cursor=entry_id,
    )
    return line, entry_id or f"{instant}\0{instance}\0{message}"


def _inner(fields: Fields | None, key: str) -> Fields | None:
    found = fields.object(key) if fields else None
    return _lowered(found) if found else None


def _lowered(fields: Fields) -> Fields:
    """The object with its keys in lower case."""
    if all(key.islower() for key in fields.raw):
        return fields
    lowered: Mapping[str, Any] = {key.lower(): value for key, value in fields.raw.items()}
    return Fields(lowered, fields.path)


def _text(value: Any) -> str | None:
    """A cursor of nineteen digits, which is kept as text."""
    if isinstance(value, bool) or value in (None, ""):
        return None
    return str(value) if isinstance(value, int | str) else None
