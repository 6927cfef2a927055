"""Container settings kept at RunPod under an id, for `template_id`. Editing one does not change what was made from it.

Source: https://docs.runpod.io/api-reference-v2 (`/v2/templates`), read 2026-11-23.
"""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from attrs import field, frozen

from exatlas.errors import ValidationError, faults_of
from exatlas.protocols import Context
from exatlas.providers.runpod.normalize import without_env
from exatlas.providers.runpod.resources import Kind
from exatlas.providers.runpod.rules import SMALLEST_VOLUME_GB
from exatlas.providers.runpod.translate import GPU_DISK_GB, MOUNT_PATH
from exatlas.records import checks
from exatlas.records.compute import PortSpec, as_ports, ports as are_ports
from exatlas.transport.calls import merge
from exatlas.transport.shape import Fields

_KIND = Kind("template", "/templates", "templates")

Category = Literal["CPU", "NVIDIA", "AMD"]


@frozen(kw_only=True)
class Template:
    """One template, of the account or public. Values of its variables are not kept."""

    id: str
    name: str | None = None
    image: str | None = None
    args: str | None = None
    container_disk_gb: int | None = None
    ports: tuple[str, ...] = ()
    env_names: tuple[str, ...] = ()
    serverless: bool | None = None
    """True for templates of serverless endpoints; those cannot make machines, and the reverse."""
    public: bool | None = None
    category: str | None = None
    raw: Mapping[str, Any] = field(factory=dict, repr=False, hash=False)


async def create(
    ctx: Context,
    *,
    name: str,
    image: str,
    command: Sequence[str] = (),
    container_disk_gb: int = GPU_DISK_GB,
    volume_gb: int | None = None,
    ports: Sequence[PortSpec | tuple[int, str] | str] = (),
    env: Mapping[str, str] | None = None,
    serverless: bool = False,
    public: bool = False,
    category: Category = "NVIDIA",
    start_ssh: bool = True,
    start_jupyter: bool = False,
    provider_opts: Mapping[str, Any] | None = None,
) -> Template:
    """Create a template. `provider_opts` is merged deeply into RunPod's own body, last.

    Raises:
        OutcomeUnknownError: it may have been created; look at :func:`list` before trying again.
    """
    specs = as_ports(checks.as_tuple(ports))
    faults = faults_of(
        {
            "name": checks.text(name),
            "image": checks.text(image),
            "command": checks.texts(checks.as_strings(command)),
            "container_disk_gb": checks.whole(1)(container_disk_gb),
            "volume_gb": checks.optional(checks.whole(SMALLEST_VOLUME_GB))(volume_gb),
            "ports": are_ports(specs),
            "env": checks.string_map(env or {}),
            "category": checks.member("CPU", "NVIDIA", "AMD")(category),
        }
    )
    if faults:
        raise ValidationError("template", faults, provider=ctx.provider, operation="create_template")
    body: dict[str, Any] = {
        "name": name,
        "image": image,
        "args": shlex.join(checks.as_strings(command)),
        "disk": container_disk_gb,
        "ports": [str(spec) for spec in specs],
        "env": dict(env or {}),
        "serverless": serverless,
        "public": public,
        "category": category,
        "startSsh": start_ssh,
        "startJupyter": start_jupyter,
    }
    if volume_gb is not None:
        body["mounts"] = {"persistent": {"size": volume_gb, "path": MOUNT_PATH}}
    return await _KIND.create(ctx, merge(body, provider_opts or {}), _read)


async def list(ctx: Context) -> tuple[Template, ...]:  # noqa: A001 - read as `templates.list`
    """The account's own templates."""
    return await _KIND.list(ctx, _read)


async def get(ctx: Context, template_id: str) -> Template:
    """Read one template. Raises NotFoundError."""
    return await _KIND.get(ctx, template_id, _read)


async def delete(ctx: Context, template_id: str) -> None:
    """Delete a template. Raises InvalidRequestError while something uses it; one that is gone is not an error."""
    await _KIND.delete(ctx, template_id)


def _read(body: Fields) -> Template:
    env = body.object("env")
    return Template(
        id=body.required_text("id"),
        name=body.text("name"),
        image=body.text("image"),
        args=body.text("args") or None,
        container_disk_gb=body.whole("disk"),
        ports=body.texts("ports"),
        env_names=tuple(env.raw) if env else (),
        serverless=body.flag("serverless"),
        public=body.flag("public"),
        category=body.text("category"),
        raw=without_env(body.raw),
    )
