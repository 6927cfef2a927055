"""The facade: clients that callers own, the default ones behind the module functions, and what both are made of."""
