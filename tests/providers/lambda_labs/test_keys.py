"""The one SSH key of every machine."""

import pytest
from attrs import evolve

from exatlas.errors import ConfigError, ProviderBrokenError, QuotaError
from exatlas.providers.lambda_labs import keys
from exatlas.providers.lambda_labs.fake import Fault
from exatlas.providers.lambda_labs.fake.problems import quota
from exatlas.records.compute import ComputeRequest
from exatlas.transport.inprocess import InProcessTransport

NEW = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINewKey jane@desk"


def request(*ssh_keys):
    return ComputeRequest(image="i", ssh_keys=ssh_keys)


def names(fake):
    return sorted(fake.keys.names())


async def test_the_only_key_is_used(ctx):
    assert await keys.name_for(request(), ctx) == "my-laptop"


async def test_a_key_may_be_named(fake, ctx):
    fake.keys.add("ci", "ssh-rsa AAAA", "k2")
    assert await keys.name_for(request("ci"), ctx) == "ci"


@pytest.mark.parametrize(
    ("there", "ssh_keys", "said"),
    [
        ([], (), "the request names none; pass ssh_keys=[…] with the name of a key once the account has one"),
        (["a", "b"], (), "names none; pass ssh_keys=[…] with one of a, b, or with a public key"),
        (["a"], ("c",), "the account has no SSH key named 'c'; pass ssh_keys=[…] with one of a"),
    ],
)
async def test_what_cannot_be_decided_is_told(fake, ctx, there, ssh_keys, said):
    fake.keys.items.clear()
    for name in there:
        fake.keys.add(name, f"ssh-rsa {name}", name)
    with pytest.raises(ConfigError) as caught:
        await keys.name_for(request(*ssh_keys), ctx)
    assert said in caught.value.message
    assert (caught.value.provider, caught.value.operation) == ("lambda_labs", "spawn_compute")


async def test_a_public_key_is_registered_once_under_a_name_of_its_own(fake, ctx):
    first = await keys.name_for(request(NEW), ctx)
    again = await keys.name_for(request(f"{NEW.rsplit(' ', 1)[0]} other comment\n"), ctx)
    assert first == again
    assert names(fake) == [first, "my-laptop"]
    assert first.startswith("exatlas-")
    assert len(first) == len("exatlas-0123456789ab")
    assert fake.calls.count(("POST", "/ssh-keys")) == 1


async def test_a_public_key_that_is_there_under_another_name_is_found(fake, ctx):
    fake.keys.add("janes", NEW.replace("jane@desk", "elsewhere"), "k2")
    assert await keys.name_for(request(NEW), ctx) == "janes"
    assert ("POST", "/ssh-keys") not in fake.calls


@pytest.mark.parametrize(
    "fault", [Fault.DROP_AFTER, Fault.ERROR_AFTER, Fault.STALL_AFTER, Fault.TWICE, Fault.GARBAGE_AFTER]
)
async def test_a_lost_answer_registers_once(fake, ctx, fault):
    fake.fail(fault, "POST", "/ssh-keys")
    name = await keys.name_for(request(NEW), ctx)
    assert names(fake) == [name, "my-laptop"]


async def test_a_key_that_was_not_registered_is_the_callers_to_know(fake, ctx):
    fake.fail(Fault.ERROR_BEFORE, "POST", "/ssh-keys")
    with pytest.raises(ProviderBrokenError):
        await keys.name_for(request(NEW), ctx)


async def test_another_refusal_is_the_callers(fake, ctx):
    async def full(call):
        return quota("SSH keys") if call.method == "POST" else await fake.handle(call)

    with pytest.raises(QuotaError):
        await keys.name_for(request(NEW), evolve(ctx, transport=InProcessTransport(full)))
