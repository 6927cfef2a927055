"""A stateful Fly.io with no sockets: Machines API and log API as one function from call to reply.

``cloud``     who may call, how often, and which part answers
``account``   what a test sets up, and what is true
``fleet``     lists and creates of machines
``orders``    what one machine is told: changes, waits, leases
``storage``   volumes
``machines``  one machine on a clock: its states to come, its lease, and what it has cost
``apps``      apps, their addresses and their volumes
``places``    regions, what their names stand for, and how much room they have
``problems``  how refusals are worded
``logs``      the log API

::

    fake = FakeFly(clock, boot_s=3)
    fake.room["fra"] = 0
    fake.fail(Fault.DROP_AFTER, "POST", "/machines")
    transport = InProcessTransport(fake.handle)
"""

from exatlas.fakes import Fault, InvoiceLine
from exatlas.providers.fly.fake.apps import FakeApp, FakeVolume
from exatlas.providers.fly.fake.cloud import FakeFly
from exatlas.providers.fly.fake.machines import FakeMachine

__all__ = ["FakeApp", "FakeFly", "FakeMachine", "FakeVolume", "Fault", "InvoiceLine"]
