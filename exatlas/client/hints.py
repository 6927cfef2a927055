"""What a failed spawn may have meant. Names of GPUs that nobody here knows go to the cloud as they were typed."""

from exatlas.errors import AtlasError, InvalidRequestError, NoCapacityError, NotFoundError, ValidationError
from exatlas.records.compute import ComputeRequest
from exatlas.records.gpu import gpu_names, nearest_gpu

ASKED = "did you mean"
"""How a hint begins, here and at providers that give one of their own."""


def hint_at_gpus(error: AtlasError, request: ComputeRequest) -> None:
    """Add the nearest known names to the error of a spawn whose GPU may have been misspelled, once."""
    if not _may_be_the_name(error) or ASKED in error.message:
        return
    unknown = [name for name in request.gpu or () if not gpu_names(name)]
    nearest = [f"{near!r} by {name!r}" for name in unknown if (near := nearest_gpu(name))]
    if nearest:
        error.extend(f"{ASKED} {' and '.join(nearest)}?")


def _may_be_the_name(error: AtlasError) -> bool:
    if isinstance(error, ValidationError):
        return any("gpu" in fault.partition(":")[0] for fault in error.faults)
    return isinstance(error, NoCapacityError | InvalidRequestError | NotFoundError)
