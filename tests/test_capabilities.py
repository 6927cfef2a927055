"""The vocabulary of what a provider can do."""

import ast
import inspect

from exatlas import capabilities
from exatlas.capabilities import OPERATION_NEEDS, Capability
from exatlas.protocols import OptionalOperations, Provider


def test_every_member_says_what_a_caller_may_rely_on():
    tree = ast.parse(inspect.getsource(capabilities.Capability)).body[0]
    body = tree.body
    for index, node in enumerate(body):
        if isinstance(node, ast.Assign):
            following = body[index + 1]
            assert isinstance(following, ast.Expr)
            assert isinstance(following.value, ast.Constant)


def test_every_optional_operation_needs_a_capability_and_no_other_does():
    optional = {name for name in vars(OptionalOperations) if not name.startswith("_")}
    required = {name for name in vars(Provider) if not name.startswith("_") and callable(getattr(Provider, name))}
    assert set(OPERATION_NEEDS) == optional
    assert not optional & required


def test_needs_are_capabilities_and_cannot_be_changed():
    assert all(isinstance(need, Capability) for need in OPERATION_NEEDS.values())
    assert not hasattr(OPERATION_NEEDS, "update")


def test_a_capability_is_its_word():
    assert Capability.SPOT == "spot"
    assert str(Capability.SPOT) == "spot"
