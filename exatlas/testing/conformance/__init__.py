"""The contract as a suite that any provider can be tried by: ours, and yours.

::

    pytest --pyargs exatlas.testing.conformance --exatlas-case mycloud.testing:case
    exatlas conformance mycloud.testing:case

A case is an async context manager that gives a :class:`exatlas.fakes.Case`. Each check is a coroutine function of a
fresh :class:`World`; it needs no pytest, and its failure is a sentence.

``world``    what a check gets, and how it says no
``shape``    the class itself: what it declares and has
``machines`` renting, reading, ending
``trouble``  lost replies, refusals, cancellation
``secrecy``  what nobody may read
``jobs``     serverless jobs and their streams
``runner``   runs the checks
``report``   what came of them, as records and as JSON
"""

from exatlas.testing.conformance.report import Report, Result, Verdict
from exatlas.testing.conformance.runner import CHECKS, run
from exatlas.testing.conformance.world import Check, NonconformityError, World

__all__ = ["CHECKS", "Check", "NonconformityError", "Report", "Result", "Verdict", "World", "run"]
