"""What a template asks of a machine. Vast lays a template under the create, but not under our search, so we do.

Source: vast-ai/docs `api-reference/creating-and-using-templates-with-api` and `search_templates`, read 2026-11-23. That
the search leaves a template's filters alone is unverified; asking for them twice does no harm.
"""

from collections.abc import Mapping
from typing import Any

import orjson
from attrs import field, frozen

from exatlas.errors import ForbiddenError, UnauthorizedError
from exatlas.messages import HttpReply
from exatlas.protocols import Context
from exatlas.providers.vast import translate
from exatlas.providers.vast.exchange import ask
from exatlas.transport.shape import Fields, body_of


@frozen(kw_only=True)
class Template:
    """The part of a template that a search must know."""

    filters: Mapping[str, Any] = field(factory=dict)
    """Columns and what they must be."""
    disk_gb: float | None = None


NONE = Template()
"""No template, or one that says nothing."""


async def read(template_id: str | None, ctx: Context) -> Template:
    """What the template asks for. One that cannot be seen asks for nothing: whether it can be used, the create says.

    Keys may lack the right to read templates and be good for machines all the same.
    """
    if template_id is None:
        return NONE
    try:
        return await ask(ctx, translate.find_template(template_id, ctx), first)
    except (ForbiddenError, UnauthorizedError):
        return NONE


def first(reply: HttpReply) -> Template:
    """The first template of a search for one; the same content under two names asks for the same machine."""
    found = body_of(reply).objects("templates")
    if not found:
        return NONE
    return Template(filters=_filters(found[0]), disk_gb=found[0].number("recommended_disk_space"))


def _filters(item: Fields) -> Mapping[str, Any]:
    """`extra_filters` is a mapping, or the text of one."""
    filters = item.any("extra_filters")
    if isinstance(filters, str):
        try:
            filters = orjson.loads(filters)
        except orjson.JSONDecodeError:
            return {}
    if not isinstance(filters, dict):
        return {}
    return {column: tests for column, tests in filters.items() if isinstance(tests, dict)}
