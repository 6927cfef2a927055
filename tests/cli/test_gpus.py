import json
from decimal import Decimal

import pytest

import exatlas
from exatlas.providers.memory import MemoryProvider, gpus


class Elsewhere(MemoryProvider):
    name = "elsewhere"


def listed(invoke, *options: str) -> list[tuple]:
    ended = invoke("gpus", "--json", *options)
    assert ended.code == 0, ended.err
    return [(one["canonical"], one["cloud_type"]) for one in json.loads(ended.out)]


def test_the_table_has_price_memory_and_stock_and_the_cheapest_first(invoke):
    invoke.cloud.set_capacity("h100", 1)
    heading, *rows = invoke("gpus").out.splitlines()
    assert heading.split() == ["PROVIDER", "GPU", "ID", "MEMORY", "$/H", "SPOT", "$/H", "STOCK", "CLOUD", "REGIONS"]
    assert rows[0].split()[1] == "rtx_4090"
    assert "80 GB" in rows[-1]
    assert "3.00" in rows[-1]
    assert "low" in rows[-1]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--gpu", "h100"], [("h100", "secure")]),
        (["--gpu", "MEM L"], [("l4", "secure")]),
        (["--min-memory-gb", "80", "--max-price", "1.80"], [("a100_80g", "community"), ("a100_80g", "secure")]),
        (["--max-price", "0.2", "--spot"], [("rtx_4090", "community")]),
        (["--cloud-type", "community", "--reverse"], [("a100_80g", "community"), ("rtx_4090", "community")]),
        (["--sort", "memory", "--cloud-type", "community"], [("a100_80g", "community"), ("rtx_4090", "community")]),
        (["--sort", "gpu", "--gpu", "0", "--cloud-type", "secure"], ["a100_80g", "h100", "rtx_4090"]),
        (["--in-stock", "--min-memory-gb", "80", "--cloud-type", "secure"], [("a100_80g", "secure")]),
        (["--sort", "stock", "--min-memory-gb", "80", "--cloud-type", "secure"], ["a100_80g", "h100"]),
    ],
)
def test_filters_and_orders(invoke, options, expected):
    invoke.cloud.set_capacity("h100", 0)
    found = listed(invoke, *options)
    if isinstance(expected[0], str):
        found = [canonical for canonical, _ in found]
    assert found == expected


def test_several_providers_are_one_table_in_one_order(invoke):
    cheap = Elsewhere()
    invoke.others = (cheap,)
    ended = invoke("gpus", "--provider", "elsewhere", "--provider", "memory", "--gpu", "l4", "--sort", "provider")
    assert [row.split()[0] for row in ended.out.splitlines()[1:]] == ["elsewhere", "memory"]
    cheap.fail_next("list_gpu_types", exatlas.RateLimitedError("slow down", provider="elsewhere", retry_after=3))
    ended = invoke("gpus", "--provider", "elsewhere", "--provider", "memory", "--gpu", "l4")
    assert ended.code == 1
    assert ended.err == "exatlas: elsewhere: slow down (retry after 3 s)\n"
    assert len(ended.out.splitlines()) == 2


def test_a_matrix_has_the_cheapest_price_of_each_name_at_each_provider(invoke):
    class Cheap(Elsewhere):
        def __init__(self):
            super().__init__(models=[model for model in gpus.MODELS if model.canonical in ("h100", "rtx_4090")])

    invoke.others = (Cheap(),)
    both = ("--provider", "memory", "--provider", "elsewhere")
    ended = invoke("gpus", "--matrix", *both, "--sort", "memory")
    assert ended.code == 0, ended.err
    assert [line.split() for line in ended.out.splitlines()] == [
        ["GPU", "elsewhere", "memory"],
        ["a100_80g", "1.40"],
        ["h100", "3.00", "3.00"],
        ["rtx_4090", "0.40", "0.40"],
        ["l4", "0.44"],
    ]
    told = json.loads(invoke("gpus", "--matrix", *both, "--spot", "--gpu", "h100", "--json").out)
    assert {name: {one: Decimal(price) for one, price in row.items()} for name, row in told.items()} == {
        "h100": {"memory": Decimal("1.5"), "elsewhere": Decimal("1.5")}
    }


def test_a_matrix_asks_every_provider_that_has_a_key(invoke, monkeypatch):
    class Keyed(MemoryProvider):
        name = "keyed"
        settings = exatlas.ProviderSettings(key_env=("KEYED_KEY",), needs_key=False)

    class Keyless(Keyed):
        name = "keyless"
        settings = exatlas.ProviderSettings(key_env=("NO_SUCH_KEY",), needs_key=False)

    monkeypatch.setattr("exatlas.cli.gpus.list_providers", lambda: {"keyed": Keyed, "keyless": Keyless})
    monkeypatch.setenv("KEYED_KEY", "k")
    invoke.others = (Keyed(), Keyless())
    assert invoke("gpus", "--matrix").out.splitlines()[0].split() == ["GPU", "keyed"]
    monkeypatch.delenv("KEYED_KEY")
    assert invoke("gpus", "--matrix").out.splitlines()[0].split() == ["GPU", "memory"], "the default provider"
