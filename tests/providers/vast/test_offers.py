"""Which offers are tried, in which order, and at what price."""

from decimal import Decimal

import pytest
from attrs import evolve

from exatlas.providers.vast import gpus
from exatlas.providers.vast.offers import Offer, admits, choose
from exatlas.records.compute import ComputeRequest


def offer(number, **fields):
    plain = {
        "machine_id": number,
        "gpu_name": "RTX 4090",
        "gpu_count": 1,
        "gpu_ram_mib": 24564.0,
        "cpus": 16.0,
        "memory_gb": 64.0,
        "country": "DE",
        "hosting_type": 1,
        "base_usd_per_hour": Decimal("0.35"),
        "storage_usd_per_gb_month": Decimal("0.15"),
        "min_bid_usd_per_hour": Decimal("0.18"),
    }
    return Offer(id=number, **{**plain, **fields})


def chosen(found, filters=None, disk_gb=20, **fields):
    request = ComputeRequest(**{"image": "img", "gpu": "rtx_4090", **fields})
    models = [model for name in request.gpu for model in gpus.models_of(name)]
    return choose(found, request, models, filters or {}, disk_gb)


def ids(*args, **fields):
    return [choice.offer.id for choice in chosen(*args, **fields)]


def usd(text):
    return Decimal(text)


@pytest.mark.parametrize(("disk_gb", "price"), [(40, "0.358333"), (200, "0.391667"), (0, "0.35"), (8, "0.351667")])
def test_the_price_is_true_for_the_disk(disk_gb, price):
    assert offer(1).usd_per_hour(disk_gb) == usd(price)


def test_a_bid_replaces_the_gpus_price_and_not_the_disks():
    assert offer(1).usd_per_hour(40, usd("0.2")) == usd("0.208333")


@pytest.mark.parametrize(
    ("floor", "bid"), [("0.18", "0.198"), ("0.12345", "0.1358"), ("0.0001", "0.0002"), (None, None)]
)
def test_the_default_bid_is_a_tenth_above_the_floor(floor, bid):
    found = offer(1, min_bid_usd_per_hour=None if floor is None else usd(floor)).default_bid()
    assert found == (None if bid is None else usd(bid))


def test_the_cheapest_with_its_disk_comes_first():
    cheap_gpu = offer(1, base_usd_per_hour=usd("0.30"), storage_usd_per_gb_month=usd("1.0"))
    cheap_disk = offer(2, base_usd_per_hour=usd("0.33"), storage_usd_per_gb_month=usd("0.1"))
    assert ids([cheap_gpu, cheap_disk], disk_gb=8) == [1, 2]
    assert ids([cheap_gpu, cheap_disk], disk_gb=200) == [2, 1]


def test_models_come_in_the_order_of_the_request_whatever_they_cost():
    market = [
        offer(1, base_usd_per_hour=usd(1)),
        offer(2, gpu_name="H100 NVL", gpu_ram_mib=95830.0, base_usd_per_hour=usd(2)),
        offer(3, gpu_name="H100 SXM", gpu_ram_mib=81559.0, base_usd_per_hour=usd(3)),
    ]
    assert ids(market, gpu=["h100", "rtx_4090"]) == [3, 2, 1]
    assert ids(market, gpu=["rtx_4090", "h100"]) == [1, 3, 2]
    assert ids(market, gpu="h100_nvl") == [2]


def test_regions_come_in_the_order_of_the_hints_and_others_never():
    market = [offer(1, country="US"), offer(2, country="FR"), offer(3, country="DE"), offer(4, country=None)]
    assert ids(market, region_hints=["FR", "europe"]) == [2, 3]
    assert ids(market) == [1, 2, 3, 4]


def test_any_prefers_secure_hosts_and_the_others_are_exact():
    market = [
        offer(1, hosting_type=0, base_usd_per_hour=usd("0.1")),
        offer(2, hosting_type=1),
        offer(3, hosting_type=None, base_usd_per_hour=usd("0.2")),
    ]
    assert ids(market) == [2, 1, 3]
    assert ids(market, cloud_type="secure") == [2, 3]
    assert ids(market, cloud_type="community") == [1, 3]


def test_what_the_server_should_have_left_out_is_left_out_here():
    market = [
        offer(1, gpu_name="RTX 4090D"),
        offer(2, gpu_count=2),
        offer(3, gpu_ram_mib=8000.0),
        offer(4, cpus=2.0),
        offer(5, memory_gb=8.0),
        offer(6),
    ]
    assert ids(market, cpus=8, memory_gb=32) == [6]


def test_spot_takes_offers_that_take_the_bid():
    market = [offer(1), offer(2, min_bid_usd_per_hour=usd("0.30")), offer(3, min_bid_usd_per_hour=None)]
    default = chosen(market, spot=True)
    assert [(choice.offer.id, choice.bid) for choice in default] == [(1, usd("0.198")), (2, usd("0.33"))]
    own = chosen(market, spot=True, provider_opts={"price": 0.25})
    assert [(choice.offer.id, choice.bid) for choice in own] == [(1, usd("0.25"))]
    assert [choice.bid for choice in chosen(market)] == [None, None, None]


def test_every_offer_is_of_a_kind():
    market = [offer(1), offer(2, hosting_type=0), offer(3, gpu_name="RTX 3090")]
    kinds = [choice.kind for choice in chosen(market, gpu=["rtx_4090", "rtx_3090"])]
    assert kinds == [(0, 0), (0, 1), (1, 0)]


def test_a_choice_says_what_it_is():
    (choice,) = chosen([offer(7)])
    assert str(choice) == "1x RTX 4090 in DE at 0.354 USD/h (offer 7)"
    (nowhere,) = chosen([evolve(offer(7), country=None)])
    assert str(nowhere) == "1x RTX 4090 at 0.354 USD/h (offer 7)"


ROW = {
    "dph_total": 0.4,
    "machine_id": 7,
    "reliability2": 0.97,
    "num_gpus": 2,
    "verification": "verified",
    "inet_up": None,
}


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        ({}, True),
        ({"dph_total": {"lte": 0.4}}, True),
        ({"dph_total": {"lt": 0.4}}, False),
        ({"dph_total": {"gt": 0.1, "lt": 0.3}}, False),
        ({"num_gpus": {"eq": 2}}, True),
        ({"num_gpus": {"neq": 2}}, False),
        ({"num_gpus": {"in": [1, 2]}}, True),
        ({"machine_id": {"notin": [7, 8]}}, False),
        ({"reliability": {"gte": 0.98}}, False),
        ({"reliability": {"gte": 0.95}}, True),
        ({"inet_up": {"gte": 100}}, True),
        ({"inet_down": {"gte": 100}}, True),
        ({"verified": {"eq": False}, "datacenter": {"eq": False}, "geolocation": {"in": ["XX"]}}, True),
        ({"order": [["id", "asc"]], "limit": 5, "type": "bid"}, True),
        ({"dph_total": {"like": "x"}}, True),
        ({"dph_total": {"lt": "cheap"}, "num_gpus": {"in": 2}}, True),
    ],
)
def test_filters_are_applied_again(filters, passes):
    assert admits(filters, ROW) is passes


def test_the_search_is_applied_to_the_rows_it_found():
    market = [evolve(offer(1), raw={"dph_total": 0.9}), evolve(offer(2), raw={"dph_total": 0.3})]
    assert ids(market, {"dph_total": {"lte": 0.5}}) == [2]
