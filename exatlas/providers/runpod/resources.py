"""What network volumes, templates and serverless endpoints have in common: create, list, get, delete."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from exatlas.errors import AtlasError, NotFoundError, OutcomeUnknownError
from exatlas.launch import may_have_acted
from exatlas.protocols import Context
from exatlas.providers.runpod import calls, translate
from exatlas.providers.runpod.exchange import all_pages, ask
from exatlas.transport.asking import done
from exatlas.transport.calls import env_values, segment
from exatlas.transport.shape import Fields, body_of

T = TypeVar("T")


class Kind:
    """One kind of resource: where it lives and what its words are."""

    def __init__(self, noun: str, path: str, key: str) -> None:
        self.noun = noun
        self.path = path
        self.key = key

    async def create(self, ctx: Context, body: Mapping[str, Any], read: Callable[[Fields], T]) -> T:
        """Create one. Names need not be unique, so an answer that is lost cannot be settled by looking."""
        operation = f"create_{self.noun.replace(' ', '_')}"
        call = calls.rest(ctx, operation, "POST", self.path, body=body, secrets=env_values(body))
        try:
            return await ask(ctx, call, lambda reply: read(body_of(reply)))
        except AtlasError as error:
            if not may_have_acted(error):
                raise
            raise OutcomeUnknownError(
                f"a {self.noun} named {body.get('name')!r} may have been created: the call ended in "
                f"{type(error).__name__} ({error.message}); list them before creating it again",
                provider=ctx.provider,
                operation=operation,
                status=error.status,
                request_id=error.request_id,
            ) from error

    async def list(self, ctx: Context, read: Callable[[Fields], T]) -> tuple[T, ...]:
        """All of them, over all pages."""
        operation = f"list_{self.noun.replace(' ', '_')}s"

        def page(cursor: str | None) -> Any:
            return calls.rest(ctx, operation, "GET", self.path, query=translate.page(cursor))

        return tuple(await all_pages(ctx, page, self.key, read))

    async def get(self, ctx: Context, resource_id: str, read: Callable[[Fields], T]) -> T:
        """One by id. Raises NotFoundError."""
        call = self._one(ctx, "get", "GET", resource_id)
        return await ask(ctx, call, lambda reply: read(body_of(reply)))

    async def delete(self, ctx: Context, resource_id: str) -> None:
        """Delete one for good. One that is gone already is not an error."""
        try:
            await ask(ctx, self._one(ctx, "delete", "DELETE", resource_id), done)
        except NotFoundError:
            return

    def _one(self, ctx: Context, verb: str, method: str, resource_id: str) -> Any:
        path = f"{self.path}/{segment(resource_id, f'{self.noun} id')}"
        return calls.rest(ctx, f"{verb}_{self.noun.replace(' ', '_')}", method, path, template=f"{self.path}/{{id}}")
