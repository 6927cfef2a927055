"""A stateful Vast with no sockets: a market, instances, logs and the OpenAI proxy as a function from call to reply.

``cloud``      who may call and how often, planned faults, routes
``market``     hosts, what the search shows of them, how it filters
``instances``  one instance on a clock, and what it has cost
``problems``   how refusals are worded

::

    fake = FakeVast(clock)
    fake.snatched = 1                   # somebody else takes the first offer
    fake.rival(4242, 0.9)               # somebody else bids more
    fake.fail(Fault.DROP_AFTER, "PUT")
    transport = InProcessTransport(fake.handle)
"""

from exatlas.fakes import Fault, InvoiceLine
from exatlas.providers.vast.fake.cloud import FakeVast
from exatlas.providers.vast.fake.instances import FakeInstance
from exatlas.providers.vast.fake.market import FakeHost

__all__ = ["FakeHost", "FakeInstance", "FakeVast", "Fault", "InvoiceLine"]
