"""Lambda's instance types, and the canonical names exatlas uses for the GPUs in them.

A type's name is `gpu_{count}x_{model}`, and its `gpu_description` ("H100 (80 GB SXM5)") names the GPU alone. The table
holds the models Lambda has sold; a type that is not in it is read from its description.

Source: captures of `GET /instance-types` of March to August 2026, and the schema examples of
https://docs.lambda.ai/api/cloud, read 2026-11-23.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType

from exatlas.records.gpu import GPU_MODELS

MODELS: Mapping[str, str] = MappingProxyType(
    {
        "a10": "a10",
        "rtx6000": "rtx_6000",
        "a6000": "rtx_a6000",
        "a100": "a100_40g_pcie",
        "a100_pcie": "a100_40g_pcie",
        "a100_sxm4": "a100_40g_sxm",
        "a100_80gb_sxm4": "a100_80g_sxm",
        "h100_pcie": "h100_pcie",
        "h100_sxm5": "h100_sxm",
        "h100_sxm5gdr": "h100_sxm",
        "gh200": "gh200",
        "b200_sxm6": "b200",
        "v100": "v100_sxm2_16g",
        "v100_n": "v100_sxm2_16g",
    }
)
"""Model part of a type's name → canonical name."""
EIGHTS: Mapping[str, str] = MappingProxyType({"a100": "a100_40g_sxm"})
"""Models that are another card in machines of eight."""

_NAME = re.compile(r"gpu_(\d+)x_(\w+)", re.ASCII)
_DESCRIPTION = re.compile(r"(?:Tesla |Quadro )?(?P<model>.+?) \((?P<memory>\d+) GB(?: (?P<form>\w+))?\)", re.ASCII)
_FORMS = ("sxm", "pcie", "nvl")


def canonical(type_name: str, gpu_description: str | None) -> str | None:
    """The canonical name of a type's GPU; None for CPU machines, and for GPUs exatlas has no name for."""
    named = _NAME.fullmatch(type_name)
    if named is None:
        return None
    count, model = named.groups()
    known = EIGHTS.get(model) if count == "8" else None
    return known or MODELS.get(model) or _described(gpu_description)


def memory_gb(gpu_description: str | None) -> int | None:
    """Video memory per GPU, from the description."""
    found = _DESCRIPTION.fullmatch(gpu_description or "")
    return int(found["memory"]) if found else None


def _described(gpu_description: str | None) -> str | None:
    found = _DESCRIPTION.fullmatch(gpu_description or "")
    if found is None:
        return None
    model = found["model"].lower().replace(" ", "_")
    form = next((form for form in _FORMS if (found["form"] or "").lower().startswith(form)), None)
    spellings = (f"{model}_{found['memory']}g_{form}", f"{model}_{form}", model)
    return next((spelling for spelling in spellings if spelling in GPU_MODELS), None)
