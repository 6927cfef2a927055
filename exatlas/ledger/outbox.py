"""Entries of an owner, numbered in the order of the commits, in SQL. Plain functions over a transaction."""

from collections.abc import Sequence
from datetime import UTC, datetime

import orjson
from sqlalchemy import Connection, delete, insert, select, update

from exatlas.ledger.schema import entries, insert_missing, outboxes
from exatlas.records.outbox import Entry

TRIM_PART = 10
"""Entries are taken away when so great a part of what is kept has come in since the last time."""


def publish(connection: Connection, owner: str, news: Sequence[Entry], keep: int) -> int:
    """See :class:`exatlas.Ledger`."""
    last = _next(connection, owner, len(news))
    first = last - len(news) + 1
    rows = [
        {
            "owner": owner,
            "seq": first + index,
            "at": entry.at.astimezone(UTC).isoformat(),
            "kind": entry.kind,
            "session": entry.session,
            "tenant": entry.tenant,
            "facts": orjson.dumps(dict(entry.facts)).decode(),
        }
        for index, entry in enumerate(news)
    ]
    if rows:
        connection.execute(insert(entries), rows)
    step = max(keep // TRIM_PART, 1)
    if first // step != (last + 1) // step:
        connection.execute(delete(entries).where(entries.c.owner == owner, entries.c.seq <= last - keep))
    return last


def read(connection: Connection, owner: str, after: int, most: int) -> list[Entry]:
    """See :class:`exatlas.Ledger`."""
    page = select(entries).where(entries.c.owner == owner, entries.c.seq > after)
    return [
        Entry(
            seq=row.seq,
            at=datetime.fromisoformat(row.at),
            kind=row.kind,
            session=row.session,
            tenant=row.tenant,
            facts=orjson.loads(row.facts),
        )
        for row in connection.execute(page.order_by(entries.c.seq).limit(most))
    ]


def last(connection: Connection, owner: str) -> int:
    """See :class:`exatlas.Ledger`."""
    return connection.execute(select(outboxes.c.last).where(outboxes.c.owner == owner)).scalar() or 0


def _next(connection: Connection, owner: str, number: int) -> int:
    """Take the next numbers, and with them the owner's row, until this transaction has ended. Gives the last one."""
    more = update(outboxes).where(outboxes.c.owner == owner).values(last=outboxes.c.last + number)
    row = connection.execute(more.returning(outboxes.c.last)).first()
    if row is None:
        insert_missing(connection, outboxes, owner=owner, last=0)
        row = connection.execute(more.returning(outboxes.c.last)).one()
    return int(row[0])
