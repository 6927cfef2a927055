"""A Lambda that runs in a process and keeps true books, for tests of this provider and of those who use it.

::

    fake = FakeLambda(clock, boot_s=150)
    atlas = exatlas.Atlas("lambda_labs", transport=InProcessTransport(fake.handle), clock=clock,
                          credentials={"lambda_labs": fake.api_key})

``cloud``      what callers see of it: :class:`FakeLambda`
``machines``   one instance: states on a clock, and what it costs
``catalog``    types, prices, regions and capacity
``bodies``     how strictly launches and the rest are read
``resources``  SSH keys, firewall rulesets, filesystems
``problems``   how it says no
"""

from exatlas.fakes.faults import Fault, FaultPlan
from exatlas.providers.lambda_labs.fake.catalog import Capacity, Kind
from exatlas.providers.lambda_labs.fake.cloud import FakeLambda
from exatlas.providers.lambda_labs.fake.machines import FakeInstance

__all__ = ["Capacity", "FakeInstance", "FakeLambda", "Fault", "FaultPlan", "Kind"]
