"""The secret that a machine shares with its caller."""

import pytest

from exatlas.auth import TOKEN_VARIABLES, verify_token
from exatlas.client.injection import with_secret
from exatlas.errors import ValidationError
from exatlas.records.compute import ComputeRequest


def test_without_auth_nothing_changes():
    request = ComputeRequest(image="img", env={"EXATLAS_PRESHARED_KEY": "mine"})
    assert with_secret(request) == (request, None)


@pytest.mark.parametrize("scheme", ["bearer", "signed_url"])
def test_the_machine_gets_what_the_caller_gets(scheme):
    request = ComputeRequest(image="img", auth=scheme, env={"A": "b"})
    secured, handle = with_secret(request)
    assert handle.scheme == scheme
    assert secured.env == {"A": "b"} | dict.fromkeys(TOKEN_VARIABLES, handle.token)
    assert verify_token(handle.token, handle.hash)
    assert request.env == {"A": "b"}


def test_every_machine_has_a_secret_of_its_own():
    request = ComputeRequest(image="img", auth="bearer")
    assert with_secret(request)[1].token != with_secret(request)[1].token


@pytest.mark.parametrize("taken", [TOKEN_VARIABLES[:1], TOKEN_VARIABLES[1:], TOKEN_VARIABLES])
def test_variables_that_the_caller_sets_are_not_taken_over(taken):
    with pytest.raises(ValidationError) as caught:
        with_secret(ComputeRequest(image="img", auth="bearer", env=dict.fromkeys(taken, "s3cr3t")))
    assert len(caught.value.faults) == len(taken)
    assert all(f"env: {name} is set by auth='bearer'" in str(caught.value) for name in taken)
    assert "s3cr3t" not in str(caught.value)
