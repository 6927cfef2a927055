"""Machines against the fake: what is rented, and what is left over, afterwards is what counts."""

import pytest
from attrs import evolve

from exatlas.errors import NotFoundError
from exatlas.providers.fly import machines
from exatlas.providers.fly.fake import FakeFly
from exatlas.providers.fly.options import Settings
from exatlas.records.compute import ComputeFilter, ComputeRequest, ComputeStatus

LAUNCH = "0123456789ab"
APP = f"exatlas-{LAUNCH}"
ANY = Settings()


@pytest.fixture
def launch(ctx):
    return evolve(ctx, launch_id=LAUNCH)


def request(**fields):
    return ComputeRequest(**{"image": "ghcr.io/acme/worker:1.4", **fields})


def creates(fake: FakeFly) -> int:
    return sum(method == "POST" and path.endswith("/machines") for method, path in fake.calls)


async def test_one_create_rents_one_marked_machine(fake, launch):
    compute = await machines.spawn(
        request(name="web", ports=[(8000, "http"), (22, "tcp")], env={"TOKEN": "s3cr3t"}, volume_gb=20), ANY, launch
    )
    (machine,) = fake.rented()
    assert (compute.id, compute.name, compute.launch_id) == (machine.id, f"web-{LAUNCH}", LAUNCH)
    assert compute.status is ComputeStatus.PROVISIONING
    assert compute.ports[0].url == f"https://{APP}.fly.dev"
    assert compute.ports[1].url == "tcp://[2a09:8280:1::1:1]:22"
    assert machine.config["env"] == {"TOKEN": "s3cr3t"}
    assert compute.raw["config"]["env"] == {"TOKEN": "[redacted]"}
    assert creates(fake) == 1


async def test_a_whole_life(fake, ctx, clock):
    compute = await machines.spawn(request(volume_gb=1), ANY, ctx)
    assert [one.id for one in await machines.list_all(ComputeFilter(), ANY, ctx)] == [compute.id]
    assert (await machines.get(compute.id, ANY, ctx)).status is ComputeStatus.RUNNING
    await machines.terminate(compute.id, ANY, ctx)
    await machines.terminate(compute.id, ANY, ctx)
    assert fake.left_over() == []
    with pytest.raises(NotFoundError):
        await machines.get(compute.id, ANY, ctx)
