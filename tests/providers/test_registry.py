"""Names, classes and instances become providers; anything else is told what there is."""

import importlib.metadata
import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from exatlas import providers
from exatlas.errors import ConfigError
from exatlas.protocols import ProviderSettings
from exatlas.providers.memory import MemoryProvider


class Mine(MemoryProvider):
    name = "mine"


@pytest.fixture
def installed(monkeypatch):
    """Pretend that packages with these entry points are installed."""

    def install(**values):
        entries = [EntryPoint(name, value, providers.GROUP) for name, value in values.items()]
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: entries)
        monkeypatch.setattr(providers, "entry_points", lambda group: entries if group == providers.GROUP else [])
        providers._installed.cache_clear()

    module = ModuleType("a_strangers_package")
    module.Mine = Mine
    monkeypatch.setitem(sys.modules, module.__name__, module)
    yield install
    monkeypatch.undo()
    providers._installed.cache_clear()


@pytest.mark.parametrize("name", ["memory", "mock"])
def test_a_folder_is_found_by_its_name_and_its_other_names(name):
    assert providers.find(name) is MemoryProvider


def test_runpod_is_found():
    assert providers.find("runpod").name == "runpod"


def test_resolving_makes_instances_of_names_and_classes_and_keeps_instances():
    mine = Mine()
    assert type(providers.resolve("mock")) is MemoryProvider
    assert type(providers.resolve(Mine)) is Mine
    assert providers.resolve(mine) is mine
    assert providers.resolve("memory") is not providers.resolve("memory")


@pytest.mark.parametrize(
    ("name", "said"), [("runpdo", "did you mean 'runpod'"), ("Memory", "did you mean 'memory'"), ("zzz", "there are")]
)
def test_an_unknown_name_is_answered_with_what_there_is(name, said):
    with pytest.raises(ConfigError, match=said) as caught:
        providers.find(name)
    assert "memory, mock, runpod" in str(caught.value)


@pytest.mark.parametrize("thing", [7, None, object(), dict, [Mine]])
def test_a_thing_that_is_no_provider_is_told_what_it_lacks(thing):
    with pytest.raises(ConfigError) as caught:
        providers.resolve(thing)
    assert "capabilities" in str(caught.value)
    assert "spawn_compute" in str(caught.value)


def test_half_a_provider_is_told_only_what_it_lacks():
    half = type("Half", (MemoryProvider,), {"name": "", "capabilities": {"spot"}, "settings": None})
    with pytest.raises(ConfigError, match=r"name \(.*capabilities \(.*settings \(") as caught:
        providers.resolve(half)
    assert "terminate" not in str(caught.value)


def test_an_installed_package_adds_a_name(installed):
    installed(theirs="a_strangers_package:Mine")
    assert providers.find("theirs") is Mine
    assert "theirs" in providers.names()
    assert providers.list_providers()["theirs"] is Mine


def test_an_installed_package_cannot_take_a_built_in_name(installed):
    installed(memory="a_strangers_package:Mine", mock="a_strangers_package:Mine")
    assert providers.find("memory") is MemoryProvider
    assert providers.find("mock") is MemoryProvider
    assert providers.list_providers()["memory"] is MemoryProvider


def test_a_broken_package_hurts_only_itself(installed, caplog):
    installed(
        broken="no_such_module_at_all:Thing", number="a_strangers_package:__name__", fine="a_strangers_package:Mine"
    )
    with pytest.raises(ConfigError, match=r"broken.*cannot be imported") as caught:
        providers.find("broken")
    assert isinstance(caught.value.__cause__, ImportError)
    with pytest.raises(ConfigError, match="not a provider class"):
        providers.find("number")
    assert {"fine", "memory", "runpod"} <= set(providers.list_providers())
    assert "broken" not in providers.list_providers()
    assert "broken" in caplog.text


def test_the_listing_is_by_name_and_says_what_each_can_do():
    listing = providers.list_providers()
    assert list(listing) == sorted(listing)
    assert all(cls.name == name and cls.capabilities for name, cls in listing.items())


def test_folders_are_attributes_and_other_words_are_not():
    assert providers.memory.PROVIDER is MemoryProvider
    with pytest.raises(AttributeError, match="no_such_cloud"):
        _ = providers.no_such_cloud


@pytest.mark.parametrize("cls", list(providers.builtins()), ids=lambda cls: cls.name)
def test_every_folder_keeps_the_convention(cls):
    providers.resolve(cls)
    assert isinstance(cls.settings, ProviderSettings)
