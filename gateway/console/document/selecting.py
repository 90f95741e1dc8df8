"""What does an answer look like of which a caller wanted some fields alone?

The same with every member optional, at each depth that `fields` can name (gateway.console.calls.fields). A client that
a generator makes of the document tries the whole shape first, and takes what was selected for the other.
"""

from typing import Any

Object = dict[str, Any]

_REF = "#/components/schemas/"
PREFIX = "SomeOf"


class Selecting:
    """Adds the shapes of selections to `components`, each once, under a name of its own."""

    def __init__(self, components: dict[str, Object]) -> None:
        self._components = components

    def either(self, schema: Object, *, of_items: bool) -> Object:
        """An answer of this shape, or some of it. Of a list the frame stays, and its items are chosen from."""
        return {"anyOf": [schema, self._list(schema) if of_items else self._some(schema)]}

    def _list(self, schema: Object) -> Object:
        name = schema["$ref"].removeprefix(_REF)
        whole = self._components[name]
        items = self._some(whole["properties"]["items"])
        return self._kept(name, whole | {"properties": whole["properties"] | {"items": items}})

    def _some(self, schema: Object) -> Object:
        if "$ref" in schema:
            return self._some_of(schema["$ref"].removeprefix(_REF))
        made = dict(schema)
        for several in ("anyOf", "prefixItems"):
            if several in made:
                made[several] = [self._some(one) for one in made[several]]
        for one in ("items", "additionalProperties"):
            if isinstance(made.get(one), dict):
                made[one] = self._some(made[one])
        return made

    def _some_of(self, name: str) -> Object:
        whole = self._components[name]
        if "properties" not in whole:
            return {"$ref": _REF + name}
        if PREFIX + name not in self._components:
            self._kept(name, whole)  # there before its members are looked at, which may speak of it
            members = {member: self._some(one) for member, one in whole["properties"].items()}
            self._kept(
                name, {key: value for key, value in whole.items() if key != "required"} | {"properties": members}
            )
        return {"$ref": _REF + PREFIX + name}

    def _kept(self, name: str, schema: Object) -> Object:
        told = f"Of {name} the fields that were asked for."
        self._components[PREFIX + name] = schema | {"title": PREFIX + name, "description": told}
        return {"$ref": _REF + PREFIX + name}
