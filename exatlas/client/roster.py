"""Which instance a client means by a name, a class or an instance."""

from exatlas.errors import ConfigError
from exatlas.protocols import Provider
from exatlas.providers import ProviderChoice, find, resolve


class Roster:
    """The providers a client has worked with. A name means the one instance it has used under that name."""

    def __init__(self) -> None:
        self.made: list[Provider] = []
        """Instances made here from names and classes, and so to be closed with the client."""
        self._by_name: dict[str, Provider] = {}
        self._by_class: dict[type[Provider], Provider] = {}
        self._ambiguous: set[str] = set()

    def get(self, choice: ProviderChoice) -> Provider:
        """The instance a choice means, made on first use.

        Raises:
            ConfigError: there is no such provider, or several instances share the name.
        """
        if isinstance(choice, str):
            return self._named(choice)
        if isinstance(choice, type):
            return self._by_class.get(choice) or self._make(choice)
        if self._by_name.get(getattr(choice, "name", "")) is not choice:
            self._meet(resolve(choice))
        return choice

    def _named(self, name: str) -> Provider:
        if name in self._ambiguous:
            raise ConfigError(
                f"this client has used several providers named {name!r}; pass the one you mean as provider=",
                provider=name,
            )
        known = self._by_name.get(name)
        if known is not None:
            return known
        cls = find(name)
        if cls.name != name and (cls.name in self._by_name or cls.name in self._ambiguous):
            return self._named(cls.name)
        made = self._make(cls)
        self._by_name.setdefault(name, made)
        return made

    def _make(self, cls: type[Provider]) -> Provider:
        made = self._by_class[cls] = resolve(cls)
        self.made.append(made)
        self._meet(made)
        return made

    def _meet(self, provider: Provider) -> None:
        if self._by_name.setdefault(provider.name, provider) is not provider:
            self._ambiguous.add(provider.name)
