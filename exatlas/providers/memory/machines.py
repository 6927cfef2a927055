"""The machines of the in-memory cloud: state and rules, with the time as an argument. No I/O, no tasks."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from attrs import define, field, frozen

from exatlas.errors import ConflictError, InvalidRequestError, NoCapacityError, NotFoundError
from exatlas.launch import mark_name
from exatlas.providers.memory import gpus
from exatlas.providers.memory.gpus import CPU, Model
from exatlas.records.compute import Compute, ComputeRequest, ComputeStatus, PortBinding, PortSpec, SshAccess
from exatlas.records.gpu import GpuType
from exatlas.records.job import LogLine
from exatlas.records.serial import unstructure


@frozen(kw_only=True)
class Charge:
    """What one machine has cost so far."""

    compute_id: str
    launch_id: str | None
    name: str
    usd_per_hour: Decimal
    billed: timedelta
    """Time it was neither stopped nor gone."""
    usd: Decimal
    open: bool
    """Whether it still bills."""


@define(kw_only=True, eq=False)
class Machine:
    """One rented machine. Its status follows from what was done to it and from the time."""

    id: str
    provider: str
    account: str
    request: ComputeRequest
    launch_id: str | None
    model: Model | None
    region: str
    public_ip: str
    usd_per_hour: Decimal
    created_at: datetime
    ready_at: datetime
    on_since: datetime | None
    """When the meter was last switched on; None while stopped or gone."""
    billed: timedelta = timedelta(0)
    """What the meter counted before that."""
    charged_usd: Decimal = Decimal(0)
    """What that has cost, by the prices of its time."""
    ended: bool = False
    failed: bool = False
    lines: list[LogLine] = field(factory=list)
    raw: Mapping[str, Any]

    @property
    def name(self) -> str:
        """With the launch id on it, as on a cloud that keeps marks in names."""
        return mark_name(self.request.name, self.launch_id) if self.launch_id else self.request.name or self.id

    @property
    def pool(self) -> str:
        """What it takes from the capacity, by name."""
        return self.model.canonical if self.model else CPU

    @property
    def amount(self) -> int:
        """How much it takes of it."""
        return self.request.gpu_count if self.model else 1

    def status(self, now: datetime) -> ComputeStatus:
        """Where it is in its life."""
        if self.ended:
            return ComputeStatus.TERMINATED
        if self.failed:
            return ComputeStatus.FAILED
        if self.on_since is None:
            return ComputeStatus.STOPPED
        return ComputeStatus.RUNNING if now >= self.ready_at else ComputeStatus.PROVISIONING

    def switch_off(self, now: datetime) -> None:
        """Stop the meter."""
        self._count(now)
        self.on_since = None

    def reprice(self, usd_per_hour: Decimal, now: datetime) -> None:
        """Bill another price from now on."""
        self._count(now)
        self.usd_per_hour = usd_per_hour

    def _count(self, now: datetime) -> None:
        if self.on_since is not None:
            self.charged_usd += _cost(self.usd_per_hour, now - self.on_since)
            self.billed += now - self.on_since
            self.on_since = now

    def record(self, now: datetime) -> Compute:
        """The machine as callers see it."""
        status = self.status(now)
        up = status is ComputeStatus.RUNNING
        return Compute(
            id=self.id,
            provider=self.provider,
            status=status,
            name=self.name,
            launch_id=self.launch_id,
            image=self.request.image,
            gpu_type=self.model.canonical if self.model else None,
            gpu_native=self.model.native if self.model else None,
            gpu_count=self.request.gpu_count if self.model else 0,
            cpus=self.request.cpus,
            memory_gb=self.request.memory_gb,
            cost_usd_per_hour=self.usd_per_hour if self.on_since else Decimal(0),
            region=self.region,
            public_ip=self.public_ip if up else None,
            ports=tuple(self._binding(spec, up) for spec in self.request.ports),
            ssh=SshAccess(host=self.public_ip) if up and self.request.ssh_keys else None,
            created_at=self.created_at,
            raw=self.raw,
        )

    def _binding(self, spec: PortSpec, up: bool) -> PortBinding:
        if spec.protocol == "http":
            url = f"https://{self.id}-{spec.port}.memory.invalid"
            return PortBinding(internal=spec.port, protocol="http", url=url)
        if not up:
            return PortBinding(internal=spec.port, protocol=spec.protocol)
        # Every machine has an address of its own, so the number outside is the number inside.
        url = f"{spec.protocol}://{self.public_ip}:{spec.port}"
        return PortBinding(internal=spec.port, external=spec.port, protocol=spec.protocol, url=url)

    def charge(self, now: datetime) -> Charge:
        """What it has cost up to now."""
        running = now - self.on_since if self.on_since else timedelta(0)
        return Charge(
            compute_id=self.id,
            launch_id=self.launch_id,
            name=self.name,
            usd_per_hour=self.usd_per_hour,
            billed=self.billed + running,
            usd=(self.charged_usd + _cost(self.usd_per_hour, running)).quantize(Decimal("0.000001")),
            open=self.on_since is not None,
        )

    def log(self, now: datetime, line: str, source: str) -> None:
        """Add a line to its log."""
        self.lines.append(LogLine(line=line, at=now, source=source, cursor=str(len(self.lines) + 1)))


class Fleet:
    """Every machine ever rented, and what is left to rent."""

    def __init__(self, provider: str, models: Sequence[Model], capacity: Mapping[str, int], boot: timedelta) -> None:
        self.capacity = dict(capacity)
        """GPUs in total by canonical name (and machines under `cpu`); a name that is missing never runs out."""
        self._provider = provider
        self._models = tuple(models)
        self._boot = boot
        self._machines: dict[str, Machine] = {}

    def rent(self, request: ComputeRequest, account: str, launch_id: str | None, now: datetime) -> Machine:
        """Rent the first of the request's candidates that is free."""
        region = self._place(request)
        models: list[Model | None] = [gpus.pick(self._models, name) for name in request.gpu or ()] or [None]
        for model in models:
            pool, amount = (model.canonical, request.gpu_count) if model else (CPU, 1)
            if self._has(pool, amount) and (model is None or model.sold_in(request.cloud_type)):
                return self._add(request, model, region, account, launch_id, now)
        wanted = ", ".join(model.canonical if model else CPU for model in models)
        raise NoCapacityError(f"nothing is free of {wanted} ({request.gpu_count} at once, {request.cloud_type} cloud)")

    def get(self, compute_id: str, account: str) -> Machine:
        """A machine of that account that is not gone."""
        machine = self._machines.get(compute_id)
        if machine is None or machine.account != account or machine.ended:
            raise NotFoundError(f"this account has no compute {compute_id!r}")
        return machine

    def all(self, account: str) -> Iterator[Machine]:
        """The machines of that account that are not gone, oldest first."""
        return (m for m in self._machines.values() if m.account == account and not m.ended)

    def everything(self) -> Iterator[Machine]:
        """Every machine ever rented by anybody, oldest first."""
        return iter(self._machines.values())

    def terminate(self, machine: Machine, now: datetime) -> None:
        """End it for good."""
        machine.switch_off(now)
        machine.ended = True

    def start(self, machine: Machine, now: datetime) -> None:
        """Switch a stopped machine on again, if its place is still free."""
        if machine.on_since is not None:
            return
        if machine.failed:
            raise ConflictError(f"compute {machine.id!r} has failed and cannot be started")
        if not self._has(machine.pool, machine.amount):
            raise NoCapacityError(f"the host of {machine.id!r} has no {machine.pool} free now")
        machine.on_since, machine.ready_at = now, now + self._boot

    def catalogue(self) -> list[GpuType]:
        """Models, prices and stock."""
        return [
            record
            for model in self._models
            for record in gpus.catalogue(self._provider, model, self._free(model.canonical))
        ]

    def _add(
        self,
        request: ComputeRequest,
        model: Model | None,
        region: str,
        account: str,
        launch_id: str | None,
        now: datetime,
    ) -> Machine:
        number = len(self._machines) + 1
        machine = Machine(
            id=f"mem-{number:06d}",
            provider=self._provider,
            account=account,
            request=request,
            launch_id=launch_id,
            model=model,
            region=region,
            public_ip=f"198.18.{number // 256 % 256}.{number % 256}",
            usd_per_hour=_price(request, model),
            created_at=now,
            ready_at=now + self._boot,
            on_since=now,
            raw=unstructure(request),
        )
        machine.log(now, f"pulled {request.image or request.template_id}", "system")
        self._machines[machine.id] = machine
        return machine

    def _place(self, request: ComputeRequest) -> str:
        for hint in request.region_hints:
            if hint not in gpus.REGIONS:
                raise InvalidRequestError(f"no region is named {hint!r}; there are {', '.join(gpus.REGIONS)}")
        return request.region_hints[0] if request.region_hints else gpus.REGIONS[0]

    def _free(self, pool: str) -> int | None:
        if pool not in self.capacity:
            return None
        taken = sum(m.amount for m in self._machines.values() if m.on_since is not None and m.pool == pool)
        return max(0, self.capacity[pool] - taken)

    def _has(self, pool: str, amount: int) -> bool:
        free = self._free(pool)
        return free is None or free >= amount


def _cost(usd_per_hour: Decimal, span: timedelta) -> Decimal:
    return usd_per_hour * Decimal(str(span.total_seconds())) / 3600


def _price(request: ComputeRequest, model: Model | None) -> Decimal:
    if model is None:
        return gpus.CPU_USD_PER_HOUR * (request.cpus or 1)
    return model.price(request.cloud_type, spot=request.spot) * request.gpu_count
