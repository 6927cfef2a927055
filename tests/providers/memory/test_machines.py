"""State and rules of machines, with the time as an argument."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from exatlas.errors import ConflictError, InvalidRequestError, NoCapacityError, NotFoundError
from exatlas.providers.memory.gpus import MODELS, REGIONS
from exatlas.providers.memory.machines import Fleet
from exatlas.records.compute import ComputeRequest, ComputeStatus, PortBinding

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BOOT = timedelta(seconds=10)
HOUR = timedelta(hours=1)


def fleet(**capacity):
    return Fleet("memory", MODELS, capacity, BOOT)


def rent(cloud, *, account="a", launch=None, now=NOW, **fields):
    return cloud.rent(ComputeRequest(**{"image": "img", "gpu": "l4", **fields}), account, launch, now)


def test_a_machine_lives_from_provisioning_to_its_end():
    cloud = fleet()
    machine = rent(cloud)
    assert machine.status(NOW) is ComputeStatus.PROVISIONING
    assert machine.status(NOW + BOOT) is ComputeStatus.RUNNING
    machine.switch_off(NOW + BOOT)
    assert machine.status(NOW + HOUR) is ComputeStatus.STOPPED
    cloud.start(machine, NOW + HOUR)
    assert machine.status(NOW + HOUR) is ComputeStatus.PROVISIONING
    assert machine.status(NOW + HOUR + BOOT) is ComputeStatus.RUNNING
    cloud.terminate(machine, NOW + HOUR)
    assert machine.status(NOW + HOUR) is ComputeStatus.TERMINATED


def test_starting_what_runs_and_stopping_what_is_stopped_changes_nothing():
    cloud = fleet()
    machine = rent(cloud)
    cloud.start(machine, NOW + HOUR)
    assert machine.ready_at == NOW + BOOT
    machine.switch_off(NOW + HOUR)
    machine.switch_off(NOW + 2 * HOUR)
    assert machine.charge(NOW + 3 * HOUR).billed == HOUR


@pytest.mark.parametrize(
    ("fields", "per_hour"),
    [
        ({}, "0.44"),
        ({"gpu_count": 4}, "1.76"),
        ({"spot": True}, "0.22"),
        ({"gpu": "rtx_4090", "cloud_type": "community"}, "0.40"),
        ({"gpu": None}, "0.02"),
        ({"gpu": None, "cpus": 8}, "0.16"),
    ],
)
def test_the_bill_counts_the_hours_it_was_on(fields, per_hour):
    cloud = fleet()
    machine = rent(cloud, **fields)
    assert machine.record(NOW).cost_usd_per_hour == Decimal(per_hour)
    machine.switch_off(NOW + HOUR)
    assert machine.record(NOW + HOUR).cost_usd_per_hour == 0
    cloud.start(machine, NOW + 5 * HOUR)
    charge = machine.charge(NOW + 6 * HOUR)
    assert (charge.billed, charge.usd, charge.open) == (2 * HOUR, 2 * Decimal(per_hour), True)
    cloud.terminate(machine, NOW + 6 * HOUR)
    charge = machine.charge(NOW + 9 * HOUR)
    assert (charge.billed, charge.usd, charge.open) == (2 * HOUR, 2 * Decimal(per_hour), False)


def test_a_failed_machine_bills_and_cannot_be_started():
    cloud = fleet()
    machine = rent(cloud)
    machine.failed = True
    assert machine.status(NOW) is ComputeStatus.FAILED
    assert machine.charge(NOW + HOUR).open
    machine.switch_off(NOW)
    with pytest.raises(ConflictError, match="has failed"):
        cloud.start(machine, NOW)


def test_ports_have_addresses_as_soon_as_they_can():
    machine = rent(fleet(), ports=["8000/http", "22/tcp", "53/udp"])
    https = PortBinding(internal=8000, url=f"https://{machine.id}-8000.memory.invalid")
    assert machine.record(NOW).ports == (
        https,
        PortBinding(internal=22, protocol="tcp"),
        PortBinding(internal=53, protocol="udp"),
    )
    record = machine.record(NOW + BOOT)
    assert record.ports[0] == https
    assert [port.url for port in record.ports[1:]] == [f"tcp://{record.public_ip}:22", f"udp://{record.public_ip}:53"]
    assert [port.external for port in record.ports] == [None, 22, 53]


def test_a_shell_needs_a_key_and_a_running_machine():
    assert rent(fleet()).record(NOW + BOOT).ssh is None
    keyed = rent(fleet(), ssh_keys=["k"])
    assert keyed.record(NOW).ssh is None
    assert keyed.record(NOW + BOOT).ssh.host == keyed.public_ip
    assert keyed.record(NOW).public_ip is None


def test_a_record_says_what_was_rented_and_hides_the_environment():
    machine = rent(fleet(), launch="0123456789ab", name="web", cpus=4, memory_gb=8, env={"TOKEN": "s3cr3t"})
    record = machine.record(NOW)
    assert (record.id, record.provider, record.name, record.launch_id) == (
        "mem-000001", "memory", "web-0123456789ab", "0123456789ab",
    )  # fmt: skip
    assert (record.gpu_type, record.gpu_native, record.gpu_count) == ("l4", "MEM L4", 1)
    assert (record.cpus, record.memory_gb, record.image, record.created_at) == (4, 8, "img", NOW)
    assert "s3cr3t" not in repr(record)
    assert "s3cr3t" not in str(record.raw)


def test_names_without_a_launch_are_as_given_or_the_id():
    cloud = fleet()
    assert rent(cloud, name="web").name == "web"
    assert rent(cloud).name == "mem-000002"


def test_a_cpu_machine_has_no_gpu():
    record = rent(fleet(), gpu=None).record(NOW)
    assert (record.gpu_type, record.gpu_native, record.gpu_count) == (None, None, 0)


def test_addresses_do_not_repeat():
    cloud = fleet()
    assert len({rent(cloud).public_ip for _ in range(600)}) == 600


def test_what_is_counted_runs_out_and_comes_back():
    cloud = fleet(l4=3)
    first = rent(cloud, gpu_count=2)
    rent(cloud)
    with pytest.raises(NoCapacityError, match="nothing is free of l4"):
        rent(cloud, account="b")
    first.switch_off(NOW)
    rent(cloud)
    with pytest.raises(NoCapacityError):
        rent(cloud, gpu_count=2)
    with pytest.raises(NoCapacityError, match="the host of 'mem-000001' has no l4 free"):
        cloud.start(first, NOW)
    assert first.on_since is None
    cloud.terminate(first, NOW)
    rent(cloud)
    assert rent(cloud, gpu="h100", gpu_count=100).amount == 100


def test_cpu_machines_are_counted_under_their_own_name():
    cloud = fleet(cpu=1)
    rent(cloud, gpu=None, cpus=32)
    with pytest.raises(NoCapacityError, match="nothing is free of cpu"):
        rent(cloud, gpu=None)
    rent(cloud)


def test_candidates_are_tried_in_order():
    cloud = fleet(h100=0, l4=1)
    assert rent(cloud, gpu=["h100", "l4", "rtx_4090"]).model.canonical == "l4"
    assert rent(cloud, gpu=["h100", "l4", "rtx_4090"]).model.canonical == "rtx_4090"
    assert rent(cloud, gpu=["h100", "a100_80g"], cloud_type="community").model.canonical == "a100_80g"
    with pytest.raises(NoCapacityError, match=r"nothing is free of h100, l4 \(1 at once, any cloud\)"):
        rent(cloud, gpu=["h100", "l4"])


def test_nothing_is_rented_for_a_name_or_a_region_that_does_not_exist():
    cloud = fleet()
    with pytest.raises(InvalidRequestError, match="no GPU is named 'k80'"):
        rent(cloud, gpu=["l4", "k80"])
    with pytest.raises(InvalidRequestError, match="no region is named 'moon'"):
        rent(cloud, region_hints=[REGIONS[0], "moon"])
    assert list(cloud.everything()) == []


def test_the_first_region_that_is_wanted_is_taken():
    cloud = fleet()
    assert rent(cloud).region == REGIONS[0]
    assert rent(cloud, region_hints=[REGIONS[2], REGIONS[1]]).region == REGIONS[2]


def test_accounts_do_not_see_each_other():
    cloud = fleet()
    mine, theirs = rent(cloud), rent(cloud, account="b")
    assert list(cloud.all("a")) == [mine]
    assert cloud.get(mine.id, "a") is mine
    for compute_id in (theirs.id, "mem-000009"):
        with pytest.raises(NotFoundError, match="this account has no compute"):
            cloud.get(compute_id, "a")
    cloud.terminate(mine, NOW)
    with pytest.raises(NotFoundError):
        cloud.get(mine.id, "a")
    assert list(cloud.all("a")) == []
    assert list(cloud.everything()) == [mine, theirs]


def test_lines_are_numbered_and_dated():
    machine = rent(fleet())
    machine.log(NOW + BOOT, "hello", "container")
    assert [(line.line, line.at, line.source, line.cursor) for line in machine.lines] == [
        ("pulled img", NOW, "system", "1"),
        ("hello", NOW + BOOT, "container", "2"),
    ]


def test_the_catalogue_knows_what_is_left():
    cloud = fleet(l4=1, h100=20)
    stock = {record.canonical: record.stock for record in cloud.catalogue()}
    assert (stock["l4"], stock["h100"], stock["rtx_4090"]) == ("low", "high", "high")
    rent(cloud)
    assert {record.canonical: record.stock for record in cloud.catalogue()}["l4"] == "unavailable"


def test_a_new_price_is_billed_from_then_on():
    machine = rent(fleet())
    before = machine.usd_per_hour
    machine.reprice(before * 3, NOW + timedelta(hours=1))
    machine.switch_off(NOW + timedelta(hours=1.5))
    assert machine.charge(NOW + timedelta(hours=9)).usd == before * Decimal("2.5")
    assert machine.charge(NOW + timedelta(hours=9)).billed == timedelta(hours=1.5)
