"""A stateful RunPod with no sockets: REST v2 and the serverless runtime as a function from call to reply.

``cloud``       who may call, planned faults, routes, pods, catalogue and logs
``pods``        one pod on a clock, and what it has cost
``serverless``  a queue endpoint whose workers run a handler on the same clock
``resources``   volumes, templates, endpoints
``problems``    how refusals are worded

::

    fake = FakeRunPod(clock)
    fake.stock.left["NVIDIA L4", "SECURE"] = 0
    fake.fail(Fault.DROP_AFTER, "POST", "/pods")
    transport = InProcessTransport(fake.handle)
"""

from exatlas.fakes import Fault, InvoiceLine
from exatlas.providers.runpod.fake.cloud import FakeRunPod
from exatlas.providers.runpod.fake.pods import FakePod
from exatlas.providers.runpod.fake.serverless import FakeEndpoint, Handler, script

__all__ = ["FakeEndpoint", "FakePod", "FakeRunPod", "Fault", "Handler", "InvoiceLine", "script"]
