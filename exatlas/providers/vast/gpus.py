"""Vast's names of GPUs, and the canonical names exatlas uses for them.

Vast's names hold spaces, and one name may stand for cards of several sizes: "A100 SXM4" is one of 40 or 80 GB. So a
model is a name and a range of video memory. Vast does not tell a V100's form factor, so only the family `v100` can be
had there.

Source: the name lists of Vast's own SDK (`vastai` 1.9.1, `data/query.py`) and of dstackai/gpuhunt, read 2026-11-23.
"""

import re
from collections.abc import Iterable

from attrs import frozen

from exatlas.records.gpu import GPU_MODELS, gpu_names

MIB_PER_GB = 1024
FLOOR = 0.9
"""Drivers report less than the nominal size: 24,564 MiB on one 24 GB card, 23,028 on another with error correction."""

ROWS: tuple[tuple[str, str], ...] = (
    ("a10", "A10"),
    ("a100_40g_pcie", "A100 PCIE"),
    ("a100_40g_sxm", "A100 SXM4"),
    ("a100_80g_pcie", "A100 PCIE"),
    ("a100_80g_sxm", "A100 SXM4"),
    ("a100x", "A100X"),
    ("a10g", "A10g"),
    ("a16", "A16"),
    ("a30", "A30"),
    ("a40", "A40"),
    ("a800_pcie", "A800 PCIE"),
    ("b200", "B200"),
    ("gh200", "GH200 SXM"),
    ("gtx_1080_ti", "GTX 1080 Ti"),
    ("h100_nvl", "H100 NVL"),
    ("h100_pcie", "H100 PCIE"),
    ("h100_sxm", "H100 SXM"),
    ("h200_nvl", "H200 NVL"),
    ("h200_sxm", "H200"),
    ("l4", "L4"),
    ("l40", "L40"),
    ("l40s", "L40S"),
    ("mi100", "InstinctMI100"),
    ("mi210", "InstinctMI210"),
    ("mi250x", "InstinctMI250X"),
    ("mi50", "InstinctMI50"),
    ("p100", "Tesla P100"),
    ("p4", "Tesla P4"),
    ("p40", "Tesla P40"),
    ("rtx_2000_ada", "RTX 2000Ada"),
    ("rtx_2060", "RTX 2060"),
    ("rtx_2080_super", "RTX 2080S"),
    ("rtx_2080_ti", "RTX 2080 Ti"),
    ("rtx_3060", "RTX 3060"),
    ("rtx_3060_ti", "RTX 3060 Ti"),
    ("rtx_3070", "RTX 3070"),
    ("rtx_3070_ti", "RTX 3070 Ti"),
    ("rtx_3080", "RTX 3080"),
    ("rtx_3080_ti", "RTX 3080 Ti"),
    ("rtx_3090", "RTX 3090"),
    ("rtx_3090_ti", "RTX 3090 Ti"),
    ("rtx_4000_ada", "RTX 4000Ada"),
    ("rtx_4060", "RTX 4060"),
    ("rtx_4060_ti", "RTX 4060 Ti"),
    ("rtx_4070", "RTX 4070"),
    ("rtx_4070_super", "RTX 4070S"),
    ("rtx_4070_ti", "RTX 4070 Ti"),
    ("rtx_4070_ti_super", "RTX 4070S Ti"),
    ("rtx_4080", "RTX 4080"),
    ("rtx_4080_super", "RTX 4080S"),
    ("rtx_4090", "RTX 4090"),
    ("rtx_4090_d", "RTX 4090D"),
    ("rtx_4500_ada", "RTX 4500Ada"),
    ("rtx_5000_ada", "RTX 5000Ada"),
    ("rtx_5060", "RTX 5060"),
    ("rtx_5060_ti", "RTX 5060 Ti"),
    ("rtx_5070", "RTX 5070"),
    ("rtx_5070_ti", "RTX 5070 Ti"),
    ("rtx_5080", "RTX 5080"),
    ("rtx_5090", "RTX 5090"),
    ("rtx_5880_ada", "RTX 5880Ada"),
    ("rtx_6000", "Q RTX 6000"),
    ("rtx_6000_ada", "RTX 6000Ada"),
    ("rtx_8000", "Q RTX 8000"),
    ("rtx_a2000", "RTX A2000"),
    ("rtx_a4000", "RTX A4000"),
    ("rtx_a4500", "RTX A4500"),
    ("rtx_a5000", "RTX A5000"),
    ("rtx_a6000", "RTX A6000"),
    ("rtx_pro_4000", "RTX PRO 4000"),
    ("rtx_pro_4500", "RTX PRO 4500"),
    ("rtx_pro_5000", "RTX PRO 5000"),
    ("rtx_pro_6000", "RTX PRO 6000 S"),
    ("rtx_pro_6000", "RTX PRO 6000"),
    ("rtx_pro_6000_maxq", "RTX PRO 6000 Max-Q"),
    ("rtx_pro_6000_wk", "RTX PRO 6000 WS"),
    ("rx_7900_xtx", "RX 7900 XTX"),
    ("t4", "Tesla T4"),
    ("titan_rtx", "Titan RTX"),
    ("titan_v", "Titan V"),
)
"""Canonical name, Vast's name."""

V100 = "Tesla V100"
_V100_FORMS = frozenset(name for name in GPU_MODELS if name.startswith("v100_"))
_SIZED = re.compile(r"(.+\S) (\d{1,4})GB", re.ASCII)


@frozen
class Model:
    """A model as Vast can be asked for it."""

    gpu_name: str
    """Vast's name."""
    canonical: str | None = None
    least_mib: int = 0
    """Video memory per GPU, as drivers report it: at least so much ..."""
    most_mib: int | None = None
    """... and at most so much, where the name also stands for a larger card."""

    def is_it(self, gpu_name: str, mib: float | None) -> bool:
        """Whether a card of that name and memory is one. Unknown memory passes."""
        if gpu_name.casefold() != self.gpu_name.casefold():
            return False
        return mib is None or (self.least_mib <= mib and (self.most_mib is None or mib <= self.most_mib))


def _floor(memory_gb: float) -> int:
    return int(memory_gb * MIB_PER_GB * FLOOR)


def _model(canonical: str, gpu_name: str) -> Model:
    mine = GPU_MODELS[canonical].memory_gb
    larger = [
        GPU_MODELS[other].memory_gb for other, name in ROWS if name == gpu_name and GPU_MODELS[other].memory_gb > mine
    ]
    return Model(gpu_name, canonical, _floor(mine), _floor(min(larger)) - 1 if larger else None)


MODELS: tuple[Model, ...] = tuple(_model(*row) for row in ROWS)
_OF_NAME = {name: tuple(model for model in MODELS if model.canonical == name) for name, _ in ROWS}
_BY_GPU_NAME = {name.casefold(): tuple(model for model in MODELS if model.gpu_name == name) for _, name in ROWS}


def models_of(name: str) -> tuple[Model, ...]:
    """What to look for under a name, best first: a canonical name, a family, or a name of Vast's own.

    A name of Vast's may carry a size (`A100 SXM4 40GB`), as `list_gpu_types` gives it where the name alone is not
    enough. Any other name goes out as it was typed, with spaces for underscores: the API knows no underscores.
    """
    if name.lower() == "v100":
        return (Model(V100),)
    known = tuple(model for canonical in gpu_names(name) for model in _OF_NAME.get(canonical, ()))
    if known:
        return known
    if native := _BY_GPU_NAME.get(name.casefold()):
        return (Model(native[0].gpu_name),)
    if sized := _SIZED.fullmatch(name):
        own = models_of(sized[1])[0].gpu_name
        return (Model(own, None, _floor(int(sized[2])), int(int(sized[2]) * MIB_PER_GB * 1.1)),)
    spelled = name.replace("_", " ")
    return (Model(spelled.upper() if name.lower() in GPU_MODELS else spelled),)


def is_untold(name: str) -> bool:
    """Whether the name asks for something that Vast does not tell: the form of a V100."""
    return name.lower() in _V100_FORMS


def canonical(gpu_name: str | None, mib: float | None) -> str | None:
    """The canonical name of a card, or None where it has none or its memory leaves several."""
    fits = {model.canonical for model in _BY_GPU_NAME.get((gpu_name or "").casefold(), ()) if _fits(model, mib)}
    return fits.pop() if len(fits) == 1 else None


def _fits(model: Model, mib: float | None) -> bool:
    return model.is_it(model.gpu_name, mib)


def nominal_gb(gpu_name: str, mib: float | None) -> int | None:
    """Video memory as it is sold: that of the model where it is known, else what the driver reports, rounded."""
    name = canonical(gpu_name, mib)
    if name and (mib is None or mib <= GPU_MODELS[name].memory_gb * MIB_PER_GB * 1.1):
        return GPU_MODELS[name].memory_gb
    return None if mib is None else round(mib / MIB_PER_GB)


def id_of(gpu_name: str, memory_gb: int | None) -> str:
    """A name that means one size only, good as `gpu=`."""
    several = gpu_name == V100 or len(_BY_GPU_NAME.get(gpu_name.casefold(), ())) > 1
    return f"{gpu_name} {memory_gb}GB" if several and memory_gb else gpu_name


def bounds(models: Iterable[Model]) -> tuple[int, int | None]:
    """The memory that lets every one of the models through."""
    wanted = tuple(models)
    most = [model.most_mib for model in wanted]
    return min(model.least_mib for model in wanted), None if None in most else max(size for size in most if size)
