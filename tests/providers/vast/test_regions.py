"""Country codes, larger regions, and what Vast answers."""

import pytest

from exatlas.providers.vast import regions


@pytest.mark.parametrize(
    ("hint", "some", "none"),
    [
        ("DE", ["DE"], ["FR"]),
        ("de", ["DE"], ["FR"]),
        ("Frankfurt, DE", ["DE"], ["FR"]),
        ("eu", ["DE", "FR", "SE"], ["GB", "NO", "US"]),
        ("Europe", ["DE", "GB", "NO"], ["US"]),
        ("North America", ["US", "CA", "MX"], ["BR"]),
        ("north-america", ["US"], ["DE"]),
        ("south_america", ["BR"], ["US"]),
        ("americas", ["BR", "US"], ["DE"]),
        ("asia", ["JP", "TW"], ["AU"]),
        ("africa", ["ZA"], ["DE"]),
        ("oceania", ["AU"], ["DE"]),
        ("uk", ["GB"], ["UK"]),
        ("usa", ["US"], []),
    ],
)
def test_a_hint_is_its_countries(hint, some, none):
    found = regions.countries(hint)
    assert set(some) <= set(found)
    assert not set(none) & set(found)


@pytest.mark.parametrize("hint", ["europa", "us-east-1", "", "D", "ÄÖ", "12"])
def test_other_words_are_no_hints(hint):
    assert regions.countries(hint) is None


def test_a_mistyped_region_has_a_nearest_one():
    assert regions.nearest("Europa") == "europe"
    assert regions.nearest("xyzzy") is None


@pytest.mark.parametrize(("country", "place"), [("FR", 0), ("DE", 1), ("US", 2), (None, 2)])
def test_the_place_of_the_first_hint_that_has_the_country(country, place):
    assert regions.rank(("FR", "eu"), country) == place


def test_all_countries_in_order_and_once():
    assert regions.all_countries(["SE", "uk", "SE"]) == ["SE", "GB"]
    assert regions.all_countries(["eu", "DE"]).count("DE") == 1


@pytest.mark.parametrize("codes", regions.MACRO.values(), ids=regions.MACRO)
def test_every_region_is_a_list_of_different_codes(codes):
    assert len(set(codes)) == len(codes) > 0
    assert all(len(code) == 2 and code.isupper() for code in codes)


@pytest.mark.parametrize(
    ("geolocation", "country"),
    [
        ("Frankfurt, DE", "DE"),
        (", US", "US"),
        ("Washington, DC, us ", "US"),
        ("California, United States", "California, United States"),
        ("DE", "DE"),
        ("", None),
        (None, None),
        (" , ", None),
    ],
)
def test_the_country_of_a_place(geolocation, country):
    assert regions.country(geolocation) == country
