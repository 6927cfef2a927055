"""What providers are given, and that the built-in ones are providers."""

import inspect

import pytest

from exatlas.capabilities import OPERATION_NEEDS
from exatlas.client.connection import OwnTransport
from exatlas.clock import ManualClock
from exatlas.protocols import Context, OptionalOperations, Provider, Transport
from exatlas.providers import builtins

SECRET = "sk-do-not-show"


def context(**facts):
    return Context(provider="p", transport=OwnTransport(), clock=ManualClock(), **facts)


def test_a_context_never_shows_its_key():
    assert SECRET not in repr(context(api_key=SECRET))


def test_the_first_base_url_is_the_main_one():
    assert context().base_url is None
    assert context(base_urls={"rest": "https://a", "runtime": "https://b"}).base_url == "https://a"


def test_the_clients_transport_is_a_transport():
    assert isinstance(OwnTransport(), Transport)


@pytest.mark.parametrize("cls", list(builtins()), ids=lambda cls: cls.name)
def test_a_provider_has_exactly_the_operations_it_declares(cls):
    for operation, need in OPERATION_NEEDS.items():
        assert hasattr(cls, operation) == (need in cls.capabilities), operation


@pytest.mark.parametrize("cls", list(builtins()), ids=lambda cls: cls.name)
def test_a_provider_takes_what_the_contract_gives(cls):
    for contract in (Provider, OptionalOperations):
        for name, wanted in vars(contract).items():
            if name.startswith("_") or not inspect.isfunction(wanted) or not hasattr(cls, name):
                continue
            given = inspect.signature(getattr(cls, name)).parameters.values()
            expected = inspect.signature(wanted).parameters.values()
            assert [p.kind for p in given] == [p.kind for p in expected], name
