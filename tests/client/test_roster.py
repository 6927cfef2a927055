"""Which instance a client means."""

import pytest

from exatlas.client.roster import Roster
from exatlas.errors import ConfigError
from exatlas.providers.memory import MemoryProvider


class Mine(MemoryProvider):
    name = "mine"


@pytest.fixture
def roster():
    return Roster()


def test_a_name_means_one_instance(roster):
    assert roster.get("memory") is roster.get("memory")
    assert type(roster.get("memory")) is MemoryProvider


@pytest.mark.parametrize("names", [("memory", "mock"), ("mock", "memory")])
def test_another_name_means_the_same_instance(roster, names):
    first, second = names
    assert roster.get(first) is roster.get(second)
    assert len(roster.made) == 1


def test_a_class_means_one_instance_which_its_name_means_too(roster):
    made = roster.get(Mine)
    assert roster.get(Mine) is made
    assert roster.get("mine") is made


def test_a_name_and_its_class_mean_one_instance_whichever_comes_first(roster):
    assert roster.get("memory") is roster.get(MemoryProvider)
    other = Roster()
    assert other.get(MemoryProvider) is other.get("mock")
    assert len(roster.made) == len(other.made) == 1


def test_an_instance_is_itself_and_is_meant_by_its_name_from_then_on(roster):
    mine = MemoryProvider()
    assert roster.get(mine) is mine
    assert roster.get("memory") is mine
    assert roster.get("mock") is mine


def test_what_was_passed_in_is_not_the_clients_to_close(roster):
    roster.get(MemoryProvider())
    assert roster.made == []
    made = roster.get(Mine)
    assert roster.made == [made]


def test_a_name_that_several_go_by_is_refused_and_they_are_not(roster):
    first, second = MemoryProvider(), MemoryProvider()
    assert roster.get(first) is first
    assert roster.get(second) is second
    assert roster.get(first) is first
    with pytest.raises(ConfigError, match="several providers named 'memory'") as caught:
        roster.get("memory")
    assert caught.value.provider == "memory"
    with pytest.raises(ConfigError, match="several providers"):
        roster.get("mock")


def test_users_names_are_not_known_before_they_are_met(roster):
    with pytest.raises(ConfigError, match="no provider is named 'mine'"):
        roster.get("mine")


@pytest.mark.parametrize("thing", [5, object(), dict, {}])
def test_what_is_no_provider_is_told_what_it_lacks(roster, thing):
    with pytest.raises(ConfigError, match="is not a provider; expected a name, a class or an instance"):
        roster.get(thing)
