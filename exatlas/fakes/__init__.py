"""What every fake cloud is made of. The fakes themselves live with their providers.

A fake is a function from call to reply with a state behind it: plug its ``handle`` into an in-process transport, or
serve it on loopback with ``exatlas.testing``. What is true, whatever its replies say, is in ``rented()`` and
``invoice()``.

``case``     a provider with its cloud, for the conformance suite
``cloud``    the base class: who called, what goes wrong on purpose
``faults``   ways to misbehave, ordered one by one or drawn from a seed
``billing``  what machines cost, by the second
``replies``  replies in a line of code
"""

from exatlas.fakes.billing import InvoiceLine, Meter
from exatlas.fakes.case import Case, JobKit, OpenCase
from exatlas.fakes.cloud import FakeCloud
from exatlas.fakes.faults import Fault, FaultPlan

__all__ = ["Case", "FakeCloud", "Fault", "FaultPlan", "InvoiceLine", "JobKit", "Meter", "OpenCase"]
