"""One question to many providers: machines and catalogues with each provider's own answer or error."""

import pytest

import exatlas
from exatlas.providers.memory import MemoryProvider


class Broken(MemoryProvider):
    name = "broken"

    async def list_compute(self, filters, ctx, /):
        raise exatlas.ProviderBrokenError("out of order", provider=self.name)

    list_gpu_types = None
    capabilities = frozenset(MemoryProvider.capabilities - {exatlas.Capability.GPU_CATALOG})


async def test_each_gives_its_machines_or_its_error(atlas, cloud):
    compute = await atlas.spawn_compute(gpu="l4", image="app:1", name="one")
    await atlas.spawn_compute(gpu="l4", image="app:1", name="two")
    found = await atlas.list_compute(providers=[cloud, Broken, "nobody"], name="one")
    assert [outcome.input for outcome in found] == [cloud, Broken, "nobody"]
    assert [one.id for one in found[0].value] == [compute.id]
    assert isinstance(found[1].error, exatlas.ProviderBrokenError)
    assert isinstance(found[2].error, exatlas.ConfigError)


async def test_each_gives_its_catalogue_or_its_error(atlas, cloud):
    found = await atlas.list_gpu_types(providers=[Broken, cloud])
    assert isinstance(found[0].error, exatlas.UnsupportedError)
    assert {gpu.provider for gpu in found[1].value} == {"memory"}


@pytest.mark.parametrize("option", [{"provider": "memory"}, {"api_key": "k"}, {"base_url": "https://x.test"}])
async def test_what_belongs_to_one_provider_is_not_sent_to_all(atlas, option):
    for call in (atlas.list_compute, atlas.list_gpu_types):
        with pytest.raises(exatlas.ValidationError, match="goes with one provider"):
            await call(providers=["memory"], **option)


async def test_the_module_functions_ask_many_too():
    (outcome,) = await exatlas.list_gpu_types(providers=["memory"])
    assert outcome.ok
    (outcome,) = await exatlas.list_compute(providers=["memory"])
    assert outcome.value == []
