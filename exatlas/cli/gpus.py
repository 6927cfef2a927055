"""What can be rented, of one provider or of several at once."""

import os
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from exatlas.capabilities import Capability
from exatlas.cli import show
from exatlas.cli.many import ask_all
from exatlas.cli.options import JsonOption, ProvidersOption, TimeoutOption
from exatlas.cli.shell import ShellHere
from exatlas.providers import list_providers
from exatlas.records.gpu import GpuType, Stock

Order = Literal["price", "spot", "memory", "stock", "gpu", "provider"]

_DEAREST = Decimal("Infinity")
_STOCK = list(Stock)
_KEYS: dict[str, Callable[[GpuType], Any]] = {
    "price": lambda one: _price(one, "price"),
    "spot": lambda one: _price(one, "spot"),
    "memory": lambda one: -(one.memory_gb or 0),
    "stock": lambda one: _STOCK.index(one.stock),
    "gpu": lambda one: one.canonical or one.id.lower(),
    "provider": lambda one: one.provider,
}


async def gpus(
    *,
    provider: ProvidersOption = None,
    gpu: Annotated[str | None, Parameter(help="Only models with this in their name or id.")] = None,
    min_memory_gb: Annotated[int, Parameter(help="Only models with at least so much memory.")] = 0,
    max_price: Annotated[Decimal | None, Parameter(help="Only models for at most so many dollars an hour.")] = None,
    cloud_type: Annotated[str | None, Parameter(help="Only this kind of hosts: secure or community.")] = None,
    spot: Annotated[bool, Parameter(help="Spot prices count, and only models that have one.")] = False,
    in_stock: Annotated[bool, Parameter(help="Only models that are free now, if known.")] = False,
    sort: Annotated[Order, Parameter(help="What comes first; the cheapest unless said.")] = "price",
    reverse: Annotated[bool, Parameter(help="The other way round.")] = False,
    matrix: Annotated[
        bool,
        Parameter(
            help="Names by providers, cheapest prices; unless said, every provider that the environment has a key for."
        ),
    ] = False,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
    shell: ShellHere,
) -> int:
    """List what can be rented."""
    paid = "spot" if spot else "price"

    def wanted(one: GpuType) -> bool:
        return (
            (gpu is None or any(gpu.lower() in (name or "").lower() for name in (one.canonical, one.id)))
            and (one.memory_gb or 0) >= min_memory_gb
            and (max_price is None or _price(one, paid) <= max_price)
            and (not spot or one.spot_price_usd_per_hour is not None)
            and (cloud_type is None or one.cloud_type == cloud_type)
            and (not in_stock or one.stock is not Stock.UNAVAILABLE)
        )

    asked = provider or (_with_keys(os.environ) if matrix else None)
    async with shell.make_atlas(timeout) as atlas:
        found, code = await ask_all(
            atlas, shell, asked, lambda one: atlas.list_gpu_types(provider=one, timeout=timeout)
        )
    key = _KEYS["spot" if spot and sort == "price" else sort]
    shown = sorted(filter(wanted, found), key=lambda one: (key(one), _price(one, paid)), reverse=reverse)
    if matrix:
        prices = _cheapest(shown, paid)
        answered = sorted({one.provider for one in found})
        if as_json:
            shell.json({name: {one: str(price) for one, price in row.items()} for name, row in prices.items()})
        else:
            shell.show(show.price_matrix(prices, answered))
    elif as_json:
        shell.json([show.plain(one) for one in shown])
    else:
        shell.show(show.gpu_types(shown))
    return code


def _with_keys(env: Mapping[str, str]) -> list[str]:
    """The providers that have a catalogue, and whose key is at hand."""
    return [
        name
        for name, cls in list_providers().items()
        if Capability.GPU_CATALOG in cls.capabilities and any(env.get(variable) for variable in cls.settings.key_env)
    ]


def _cheapest(types: Iterable[GpuType], paid: str) -> dict[str, dict[str, Decimal]]:
    """The lowest price by name and provider, in the order of the types. What has no name or no price is left out."""
    found: dict[str, dict[str, Decimal]] = {}
    for one in types:
        price = _price(one, paid)
        if one.canonical is not None and price != _DEAREST:
            row = found.setdefault(one.canonical, {})
            row[one.provider] = min(price, row.get(one.provider, _DEAREST))
    return found


def _price(one: GpuType, paid: str) -> Decimal:
    """What it costs; models without such a price come last."""
    price = one.spot_price_usd_per_hour if paid == "spot" else one.price_usd_per_hour
    return _DEAREST if price is None else price
