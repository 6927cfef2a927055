"""Which provider can do what, and where its key comes from."""

from rich.table import Table

from exatlas.capabilities import Capability
from exatlas.cli.options import JsonOption
from exatlas.cli.shell import ShellHere
from exatlas.providers import list_providers


async def providers(*, as_json: JsonOption = False, shell: ShellHere) -> None:
    """Show which provider can do what."""
    found = list_providers()
    if as_json:
        shell.json(
            {
                name: {"capabilities": sorted(cls.capabilities), "key_env": list(cls.settings.key_env)}
                for name, cls in found.items()
            }
        )
        return
    table = Table("", *found, box=None, pad_edge=False, header_style="bold")
    for capability in Capability:
        table.add_row(capability.value, *("yes" if capability in cls.capabilities else "-" for cls in found.values()))
    table.add_row("key from", *(" or ".join(cls.settings.key_env) or "-" for cls in found.values()))
    shell.show(table)
