"""Stripe's API as data: what a request may say, and what an answer has. One document for each series of its versions.

They come from Stripe's own SDKs or, with KRCARD_TEST_STRIPE_OPENAPI, from wherever somebody keeps Stripe's published
ones. Maximum lengths are not looked at: those of the rebuilt documents are not Stripe's.
"""

import json
import os
import re
from functools import cache, cached_property
from pathlib import Path
from urllib.parse import parse_qsl

FOLDER = Path(os.environ.get("KRCARD_TEST_STRIPE_OPENAPI") or Path(__file__).parents[3] / "shared" / "stripe-openapi")

TYPES = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict, "number": (int, float)}

#: How Stripe's forms write what is no text.
WRITTEN = {"integer": re.compile(r"-?\d+"), "boolean": re.compile("true|false"), "number": re.compile(r"-?\d+(\.\d+)?")}

FORM = "application/x-www-form-urlencoded"


class Document:
    def __init__(self, path):
        self.path = path

    @cached_property
    def content(self):
        return json.loads(self.path.read_text())

    @property
    def schemas(self):
        return self.content["components"]["schemas"]

    def operation(self, method, address):
        """Stripe's address for ``POST /v1/refunds/re_1``, and what it says of it, or ``None``."""
        paths = self.content["paths"]
        fitting = [path for path in paths if re.fullmatch(re.sub(r"\{[^}]*\}", "[^/]+", path), address)]
        # An address without a name in it comes first: /v1/refunds/search is no refund.
        best = min(fitting, key=lambda path: path.count("{"), default=None)
        return best, paths[best].get(method.lower()) if best else None

    def resolved(self, schema):
        while "$ref" in schema:
            schema = self.schemas[schema["$ref"].rpartition("/")[2]]
        return schema

    def answer_to(self, operation):
        return operation["responses"]["200"]["content"]["application/json"]["schema"]

    # --- an answer ------------------------------------------------------------------------------------

    def misfits(self, value, schema, where):
        """Everything about the value that the schema forbids, as sentences."""
        schema = self.resolved(schema)
        if value is None:
            return [] if schema.get("nullable") else [f"{where} is null"]
        if "anyOf" in schema:
            tries = [self.misfits(value, each, where) for each in schema["anyOf"]]
            return min(tries, key=len)
        kind = schema.get("type")
        right_type = isinstance(value, TYPES[kind]) and isinstance(value, bool) == (kind == "boolean") if kind else True
        if not right_type:
            return [f"{where} is {type(value).__name__}, not {kind}"]
        if "enum" in schema and value not in schema["enum"]:
            return [f"{where} is {value!r}, not one of the enum"]
        if kind == "array":
            return [
                each
                for place, item in enumerate(value)
                for each in self.misfits(item, schema["items"], f"{where}[{place}]")
            ]
        if kind == "object":
            return self._object_misfits(value, schema, where)
        return []

    def _object_misfits(self, value, schema, where):
        properties = schema.get("properties", {})
        found = [f"{where}.{name} is missing" for name in schema.get("required", []) if name not in value]
        if properties and not schema.get("additionalProperties"):
            found += [f"{where}.{name} is not Stripe's" for name in value if name not in properties]
        for name, inner in value.items():
            if name in properties:
                found += self.misfits(inner, properties[name], f"{where}.{name}")
        return found

    def has(self, schema, path):
        """Whether an answer has what was read at this path: names, and ``[]`` for whatever is in a list."""
        schema = self.resolved(schema)
        if "anyOf" in schema:
            return any(self.has(each, path) for each in schema["anyOf"])
        if not path:
            return True
        name, *rest = path
        if name == "[]":
            return schema.get("type") == "array" and self.has(schema["items"], rest)
        if name in schema.get("properties", {}):
            return self.has(schema["properties"][name], rest)
        # Metadata: the names are ours.
        return schema.get("type") == "object" and bool(schema.get("additionalProperties"))

    # --- a request ------------------------------------------------------------------------------------

    def wrong_with(self, operation, method, sent):
        """Everything about what was sent, form-encoded, that Stripe does not know, as sentences."""
        if method in ("GET", "DELETE"):
            known = {each["name"]: each["schema"] for each in operation.get("parameters", []) if each["in"] == "query"}
            needed = {each["name"] for each in operation.get("parameters", []) if each.get("required")} & set(known)
            schema = {"type": "object", "properties": known, "required": sorted(needed)}
        else:
            schema = operation["requestBody"]["content"][FORM]["schema"]
        decoded = decode(sent)
        found = self._refused(decoded, schema, "")
        for path in decoded.get("expand", {}).values():
            if not self._can_expand(self.answer_to(operation), path.split(".")):
                found.append(f"expand: there is no {path}")
        return found

    def _refused(self, value, schema, where):
        schema = self.resolved(schema)
        if "anyOf" in schema:
            return min((self._refused(value, each, where) for each in schema["anyOf"]), key=len)
        kind = schema.get("type")
        if kind == "array":
            return self._refused_in_list(value, schema, where)
        if kind == "object":
            return self._refused_in_object(value, schema, where)
        if not isinstance(value, str):
            return [f"{where} has parts, and is a {kind}"]
        if kind in WRITTEN and not WRITTEN[kind].fullmatch(value):
            return [f"{where} is {value!r}, not a {kind}"]
        if "enum" in schema and value not in schema["enum"]:
            return [f"{where} is {value!r}, not one of the enum"]
        return []

    def _refused_in_list(self, value, schema, where):
        if not isinstance(value, dict) or list(value) != [str(n) for n in range(len(value))]:
            return [f"{where} is not written as a list"]
        return [each for n, one in value.items() for each in self._refused(one, schema["items"], f"{where}[{n}]")]

    def _refused_in_object(self, value, schema, where):
        if not isinstance(value, dict):
            return [f"{where} has no parts"]
        properties, others = schema.get("properties", {}), schema.get("additionalProperties")
        found = [f"{where}[{name}] is missing" for name in schema.get("required", []) if name not in value]
        for name, inner in value.items():
            if name in properties:
                found += self._refused(inner, properties[name], f"{where}[{name}]")
            elif not others:
                found.append(f"{where}[{name}] is not Stripe's")
            elif isinstance(others, dict):
                found += self._refused(inner, others, f"{where}[{name}]")
        return found

    def _can_expand(self, schema, path):
        schema = self.resolved(schema)
        if "anyOf" in schema:
            return any(self._can_expand(each, path) for each in schema["anyOf"])
        if not path:
            return True
        if schema.get("type") == "array":
            return self._can_expand(schema["items"], path)
        name, *rest = path
        inner = schema.get("properties", {}).get(name)
        if inner is None:
            return False
        # The last one is what Stripe shall put in place of an id, or give where it is left out.
        if not rest and name not in schema.get("x-expandableFields", []):
            return False
        return self._can_expand(inner, rest)


def decode(sent):
    """``a[b]=1&a[c][0]=2`` as {"a": {"b": "1", "c": {"0": "2"}}}."""
    found = {}
    for name, value in parse_qsl(sent, keep_blank_values=True, strict_parsing=bool(sent)):
        *path, last = re.findall(r"[^\[\]]+", name)
        place = found
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return found


@cache
def document(series):
    return Document(FOLDER / f"{series}.json")
