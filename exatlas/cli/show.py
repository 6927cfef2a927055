"""Records as tables and cards for people, and as plain values for programs."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import attrs
import orjson
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from exatlas.records.compute import Compute, PortBinding
from exatlas.records.gpu import GpuType
from exatlas.records.job import Job
from exatlas.records.launch import Launch
from exatlas.records.recovery import Recovery
from exatlas.records.serial import unstructure

STATUS_STYLES = {
    "running": "green",
    "completed": "green",
    "high": "green",
    "provisioning": "yellow",
    "in_progress": "yellow",
    "medium": "yellow",
    "low": "yellow",
    "failed": "red",
    "timed_out": "red",
    "unavailable": "red",
}


def plain(record: attrs.AttrsInstance, *, reveal: Iterable[str] = ()) -> dict[str, Any]:
    """A record for programs: without the cloud's own body, and without secrets that are not named."""
    values = unstructure(record, reveal=reveal)
    values.pop("raw", None)
    return values


def machines(found: Sequence[Compute], now: datetime) -> RenderableType:
    """A table of machines, and what they cost together."""
    table = _table("PROVIDER", "ID", "NAME", "STATUS", "GPU", "$/H", "REGION", "AGE")
    for one in found:
        age = "" if one.created_at is None else span(now - one.created_at)
        table.add_row(
            *_texts(one.provider, one.id, one.name),
            status(one.status),
            *_texts(gpu(one), money(one.cost_usd_per_hour), one.region, age),
        )
    total = sum((one.cost_usd_per_hour or Decimal(0) for one in found), Decimal(0))
    return Group(table, Text(f"{len(found)} machine{'' if len(found) == 1 else 's'}, {money(total)} $/h", style="dim"))


def machine(one: Compute) -> RenderableType:
    """One machine, line by line. Its secret is not shown."""
    ssh = None if one.ssh is None else one.ssh.command or f"ssh -p {one.ssh.port} {one.ssh.username}@{one.ssh.host}"
    return _card(
        ("id", one.id),
        ("provider", one.provider),
        ("name", one.name),
        ("status", status(one.status)),
        ("gpu", gpu(one)),
        ("image", one.image),
        ("price", None if one.cost_usd_per_hour is None else f"{money(one.cost_usd_per_hour)} $/h"),
        ("region", one.region),
        ("address", one.public_ip),
        *(("port" if number == 0 else "", _port(port)) for number, port in enumerate(one.ports)),
        ("ssh", ssh),
        ("created", None if one.created_at is None else one.created_at.isoformat(timespec="seconds")),
    )


def in_short(one: Compute) -> str:
    """One machine in a few words: id, name, GPU, price."""
    price = "price unknown" if one.cost_usd_per_hour is None else f"{money(one.cost_usd_per_hour)} $/h"
    return f"{one.id} ({', '.join(filter(None, (one.name, gpu(one), str(one.status), price)))})"


def gpu_types(found: Sequence[GpuType]) -> RenderableType:
    """A table of what can be rented."""
    table = _table("PROVIDER", "GPU", "ID", "MEMORY", "$/H", "SPOT $/H", "STOCK", "CLOUD", "REGIONS")
    for one in found:
        memory = "" if one.memory_gb is None else f"{one.memory_gb} GB"
        prices = (money(one.price_usd_per_hour), money(one.spot_price_usd_per_hour))
        table.add_row(
            *_texts(one.provider, one.canonical, one.id, memory, *prices),
            status(one.stock),
            *_texts(one.cloud_type, ", ".join(one.regions)),
        )
    return table


def price_matrix(prices: Mapping[str, Mapping[str, Decimal]], providers: Sequence[str]) -> RenderableType:
    """A table of names by providers: dollars per GPU and hour, the lowest of each name in green."""
    table = _table("GPU", *providers)
    for name, row in prices.items():
        lowest = min(row.values())
        cells = [Text(money(row.get(one)), style="green" if row.get(one) == lowest else "") for one in providers]
        table.add_row(Text(name), *cells)
    return table


def recovery(found: Recovery) -> RenderableType:
    """A table of what was done about each launch."""
    table = _table("PROVIDER", "LAUNCH", "ID", "ACTION", "REASON")
    for one in found.launches:
        launch = one.launch
        table.add_row(*_texts(launch.provider, launch.launch_id, launch.compute_id, one.action.value, one.reason))
    total = f"{len(found.launches)} open launch{'' if len(found.launches) == 1 else 'es'}"
    return Group(table, Text(f"{total}, nothing was changed" if found.dry_run else total, style="dim"))


def sessions(found: Sequence[Launch], now: datetime) -> RenderableType:
    """A table of what a ledger has."""
    table = _table("SESSION", "PROVIDER", "ID", "STATE", "TENANT", "USER", "AGE", "COST", "LIMITS", "WORKER")
    for one in found:
        cost = f"${one.cost_usd(now):.4f}" if one.rates else None
        whose = (one.tenant, one.user, span((one.ended_at or now) - one.intended_at), cost, _limits(one.session))
        table.add_row(*_texts(one.launch_id, one.provider, one.compute_id, one.state.value, *whose, one.worker))
    return Group(table, Text(f"{len(found)} launch{'' if len(found) == 1 else 'es'}", style="dim"))


def orphans(found: Sequence[tuple[Compute, str]]) -> RenderableType:
    """A table of machines that nothing explains, and what is done about each."""
    total = Text(f"{len(found)} orphan{'' if len(found) == 1 else 's'}", style="dim")
    if not found:
        return total
    table = _table("PROVIDER", "MARK", "ID", "ACTION")
    for one, fate in found:
        table.add_row(*_texts(one.provider, one.launch_id, one.id, fate))
    return Group(table, total)


def _limits(session: Mapping[str, Any]) -> str | None:
    """A session's limits, in short."""
    idle, runtime, cost = (session.get(name) for name in ("idle_ttl_s", "max_runtime_s", "max_cost_usd"))
    parts = [f"idle {span(timedelta(seconds=idle))}" if idle else "", f"${cost}" if cost else ""]
    parts += [f"run {span(timedelta(seconds=runtime))}" if runtime else ""]
    return ", ".join(part for part in parts if part) or None


def job(one: Job) -> RenderableType:
    """One job, line by line."""
    return _card(
        ("id", one.id),
        ("endpoint", one.endpoint),
        ("provider", one.provider),
        ("status", status(one.status)),
        ("queued", None if one.delay_time is None else span(one.delay_time)),
        ("ran", None if one.execution_time is None else span(one.execution_time)),
        ("retries", str(one.retries) if one.retries else None),
        ("worker", one.worker_id),
        ("error", one.error.message if one.error else None),
        ("output", None if one.output is None else output(one.output)),
    )


def output(value: Any) -> str:
    """What a handler gave: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def status(word: str) -> Text:
    """A status in its colour."""
    return Text(str(word), style=STATUS_STYLES.get(str(word), ""))


def gpu(one: Compute) -> str:
    """How many of which GPU."""
    name = one.gpu_type or one.gpu_native
    if name is None:
        return f"{one.cpus} CPUs" if one.cpus else "CPU"
    return f"{one.gpu_count} x {name}" if one.gpu_count > 1 else name


def money(amount: Decimal | None) -> str:
    """Dollars with at least two digits; nothing for None."""
    if amount is None:
        return ""
    return f"{amount:.2f}" if amount == round(amount, 2) else f"{amount.normalize():f}"


def span(length: timedelta) -> str:
    """A length of time in its two largest units."""
    seconds = length.total_seconds()
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"
    for unit, size, smaller, part in (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60), ("min", 60, "s", 1)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} {seconds % size // part:.0f} {smaller}"
    raise AssertionError("a minute or more has a unit")


def _port(port: PortBinding) -> str:
    return f"{port.internal}/{port.protocol}  {port.url or '(not mapped yet)'}"


def _table(*columns: str) -> Table:
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for column in table.columns:
        column.no_wrap = column.header in ("ID", "STATUS", "$/H", "PROVIDER")
    return table


def _texts(*values: str | None) -> list[Text]:
    return [Text(value or "") for value in values]


def _card(*rows: tuple[str, str | Text | None]) -> Table:
    card = Table.grid(padding=(0, 2))
    for name, value in rows:
        if value:
            card.add_row(Text(name, style="dim"), Text(value) if isinstance(value, str) else value)
    return card
