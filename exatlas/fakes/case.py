"""A provider with the cloud it is tried against: what the conformance suite needs to know to judge any provider.

A case is an async context manager that gives a :class:`Case`; a built-in provider keeps its own in ``case.py``.
"""

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from attrs import field, frozen

from exatlas.fakes.faults import Fault
from exatlas.protocols import Provider

PATIENCE = 25
"""For the automatic clock of a case: how long it lets a check that steps through the event loop keep it busy."""


class NotApplicableError(Exception):
    """The case has no means to try something; the message says which."""


@frozen(kw_only=True)
class JobKit:
    """What jobs to run, for providers with the capability `serverless`."""

    endpoint: str
    counting: Callable[[int], Any]
    """The input of a job that yields so many chunks and completes."""
    outputs: Callable[[int], list[Any]]
    """What those chunks are."""
    failing: Any
    """The input of a job that yields one chunk and fails."""
    endless: Any
    """The input of a job that yields one chunk and then goes on, with chunks or without, until it is cancelled."""


@frozen(kw_only=True)
class Case:
    """One provider, one fresh account at its cloud, and the truth about it."""

    provider: Provider
    options: Mapping[str, Any] = field(factory=dict)
    """What :class:`exatlas.Atlas` is to be made with: transport, credentials, base URLs, clock."""
    request: Mapping[str, Any]
    """Fields of a machine that the cloud grants. Its `env` holds at least one value, which is then looked for in
    everything that people get to read."""
    unknown_id: str
    """An id as the cloud spells them, that no machine of the account has."""
    rented: Callable[[], Collection[str]]
    """Ids of the machines that exist and bill, whatever the cloud's replies say. Computed ids, as in `Compute.id`."""
    requests: Callable[[], int]
    """How many requests have reached the cloud."""
    trouble: Callable[[Fault, str, int], None] | None = None
    """Let the next so many requests of a contract operation go wrong; None where that cannot be arranged. Raises
    NotApplicableError for the faults and operations that cannot."""
    exhaust: Callable[[], None] | None = None
    """Take everything that could be rented off the market."""
    wrong_key: str | None = None
    """A key that the cloud refuses; None where there are no keys."""
    many: int = 3
    """How many machines fill more than one page of a list."""
    every_step: int = 100
    """A check that cuts work everywhere tries so many steps of the event loop one by one, and then takes growing
    strides. Over real sockets and in real time, most steps are only waiting."""
    jobs: JobKit | None = None
    log: Callable[[str, str], None] | None = None
    """Let a machine print a line."""
    no_cloud: str = ""
    """Why there is no cloud behind the provider, where there is none: only what it declares is checked then."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Keys and other strings that nobody may ever read, beside the values of `env`."""


OpenCase = Callable[[], AbstractAsyncContextManager[Case]]
"""Opens a fresh case: a check leaves machines behind, and the next one starts from nothing."""
