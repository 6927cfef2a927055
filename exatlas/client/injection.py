"""Give a machine the secret it shares with us."""

from attrs import evolve

from exatlas.auth import TOKEN_VARIABLES, machine_env, mint
from exatlas.errors import ValidationError
from exatlas.records.compute import AuthHandle, ComputeRequest


def with_secret(request: ComputeRequest) -> tuple[ComputeRequest, AuthHandle | None]:
    """The request with a fresh secret in its environment, and the handle to give to the caller.

    Raises:
        ValidationError: the caller's own environment sets the variables that the secret goes into.
    """
    if request.auth == "none":
        return request, None
    taken = [name for name in TOKEN_VARIABLES if name in request.env]
    if taken:
        raise ValidationError(
            "ComputeRequest",
            [f"env: {name} is set by auth={request.auth!r}; leave it out, or use auth='none'" for name in taken],
        )
    handle = mint(request.auth)
    return evolve(request, env={**request.env, **machine_env(handle)}), handle
