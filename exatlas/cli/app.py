"""The commands, where each of them lives, and the way from a command line to an exit code.

A command's module loads when that command is called, or its help asked for: `exatlas --help` loads none of them.
"""

from functools import partial
from typing import Any

from cyclopts import App, CycloptsError, Parameter
from cyclopts.help import format_usage

import exatlas
from exatlas.cli import exits
from exatlas.cli.running import perform
from exatlas.cli.shell import Shell

app = App(
    name="exatlas",
    help="Rent GPUs and run serverless jobs on several clouds.",
    help_format="plaintext",
    default_parameter=Parameter(negative="", show_default=False),
    help_epilogue="Keys come from the environment, as each provider documents (exatlas providers lists the names).\n\n"
    + exits.epilogue(),
    version=lambda: str(exatlas.__version__),
)
"""The whole command line."""


def _command(name: str, where: str, text: str, group: str, *examples: str) -> None:
    shown = "Examples:\n\n" + "\n\n".join(f"  $ {example}" for example in examples)
    app.command(f"exatlas.cli.{where}", name=name, help=text, group=group, help_epilogue=shown)


_command(
    "spawn",
    "spawning:spawn",
    "Rent a machine. It bills until it is terminated.",
    "Machines",
    "exatlas spawn --gpu h100 --gpu a100_80g --image pytorch/pytorch -p 8000/http --wait",
    "exatlas spawn --image python:3.12 --env HF_TOKEN --env-file .env -- python -m http.server 8000",
    "exatlas spawn --gpu l4 --image app:1 --auth bearer --json > machine.json",
    "exatlas spawn --gpu l4 --image app:1 -p 8000/http --wait-for http",
)
_command(
    "ls",
    "machines:ls",
    "List machines, of one provider or of several at once.",
    "Machines",
    "exatlas ls --status running",
    "exatlas ls --provider A --provider B --json",
)
_command("get", "machines:get", "Show one machine.", "Machines", "exatlas get 8f3k2 --json")
_command(
    "stop",
    "machines:stop",
    "Pause machines. Their volumes stay and usually cost something; what is only in the container is lost.",
    "Machines",
    "exatlas stop 8f3k2 --yes",
)
_command("start", "machines:start", "Resume stopped machines. They bill again.", "Machines", "exatlas start 8f3k2")
_command(
    "terminate",
    "machines:terminate",
    "Destroy machines and their own disks; billing ends. One that is gone already is not an error.",
    "Machines",
    "exatlas terminate 8f3k2 9g4l3",
    "exatlas ls --json | jq -r '.[].id' | xargs exatlas terminate --yes",
)
_command(
    "logs",
    "machines:logs",
    "Show what a machine prints.",
    "Machines",
    "exatlas logs 8f3k2 --tail 20 --follow",
)
_command(
    "recover",
    "recovering:recover",
    "Settle in the ledger, and in the clouds, what a dead process has left behind.",
    "Machines",
    "exatlas recover --ledger sqlite:///machines.db --dry-run",
    "exatlas recover --ledger sqlite:///machines.db --policy terminate --yes",
)
_command(
    "sessions",
    "sessions:sessions",
    "List the machines and sessions that a ledger has: what they cost so far, and who looks after them.",
    "Machines",
    "exatlas sessions --ledger sqlite:///machines.db",
    "exatlas sessions --tenant acme --all --json",
)
_command(
    "reap",
    "reaping:reap",
    "Settle launches that stand still, and find machines with a launch mark that no ledger explains.",
    "Machines",
    "exatlas reap --ledger sqlite:///machines.db --dry-run",
    "exatlas reap --all-marked --yes",
)
_command(
    "gpus",
    "gpus:gpus",
    "List what can be rented: price per GPU and hour, memory, stock.",
    "Machines",
    "exatlas gpus --min-memory-gb 40 --in-stock",
    "exatlas gpus --gpu h100 --provider A --provider B --sort price",
    "exatlas gpus --matrix --min-memory-gb 80",
)
app.command("exatlas.cli.jobs:app", name="job", group="Jobs", help="Run serverless jobs, and watch them.")
_command(
    "serve",
    "serving:serve",
    "Serve a handler file on this machine as a serverless endpoint, until Ctrl-C.",
    "On this machine",
    "exatlas serve handler.py --port 8080",
)
_command(
    "demo",
    "demo:demo",
    "Start an endpoint with a real worker process on this machine, and stream jobs from it.",
    "On this machine",
    "exatlas demo",
)
_command(
    "providers",
    "catalog:providers",
    "Show which provider can do what.",
    "On this machine",
    "exatlas providers --json",
)
_command(
    "fake",
    "faking:fake",
    "Serve a provider's fake cloud on this machine, until Ctrl-C: nothing to pay, and nothing real.",
    "On this machine",
    "exatlas fake PROVIDER --port 8080 --boot-s 120 --speed 60",
)
_command(
    "conformance",
    "conformance:conformance",
    "Try a provider, ours or yours, by every rule of the contract.",
    "On this machine",
    "exatlas conformance PROVIDER --loopback",
    "exatlas conformance mycloud.testing:case --json report.json",
    "exatlas conformance mycloud:MyProvider --check declares_what_it_has",
)


def run(arguments: list[str], shell: Shell | None = None) -> int:
    """Run one command line and give its exit code."""
    here = shell or Shell.standard()

    def usage(text: str) -> int:
        return _tell_usage(arguments, text, here)

    try:
        command, bound, injected = app.parse_args(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        return usage(str(error))
    given: dict[str, Any] = {**bound.kwargs, **({"shell": here} if "shell" in injected else {})}
    if not injected:  # the help, or the version
        command(*bound.args, **given)
        return 0
    return perform(partial(command, *bound.args, **given), here, usage)


def _tell_usage(arguments: list[str], text: str, shell: Shell) -> int:
    chain, _, _ = app.parse_commands(arguments)
    shell.err.print("Usage:", format_usage(app, chain), end="")
    shell.note(text)
    shell.note(f"see {' '.join(('exatlas', *chain))} --help")
    return exits.USAGE
