"""What an endpoint accepts: a table of names, each with the check that reads its value."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .errors import ApiError

Check = Callable[[Any, str], Any]

OLD_TYPES, NEW_TYPES = "payment_method_types", "allowed_payment_method_types"
OLD_TYPES_END = "2026-09-30"


def invalid(message: str, name: str, code: str | None = None) -> ApiError:
    return ApiError(400, message, code=code, param=name)


def missing(name: str) -> ApiError:
    return invalid(f"Missing required param: {name}.", name, "parameter_missing")


def text(maximum: int = 5000, *, clearable: bool = False) -> Check:
    def read(value: Any, name: str) -> str | None:
        if not isinstance(value, str):
            raise invalid(f"Invalid string: {name}", name)
        if value == "" and clearable:
            return None
        if value == "":
            message = f"You passed an empty string for '{name}'."
            raise invalid(message, name, "parameter_invalid_empty")
        if len(value) > maximum:
            message = f"Invalid string: {name} must be at most {maximum} characters"
            raise invalid(message, name, "parameter_invalid_string")
        return value

    return read


def url(value: Any, name: str) -> str:
    address: str = text()(value, name)
    if not re.match(r"https?://[^/\s]+", address):
        raise invalid("Not a valid URL", name, "url_invalid")
    return address


def integer(value: Any, name: str) -> int:
    if not isinstance(value, str) or not re.fullmatch(r"-?[0-9]{1,18}", value):
        raise invalid(f"Invalid integer: {value}", name, "parameter_invalid_integer")
    return int(value)


def positive(value: Any, name: str) -> int:
    number = integer(value, name)
    if number < 1:
        raise invalid("This value must be greater than or equal to 1.", name, "parameter_invalid_integer")
    return number


def flag(value: Any, name: str) -> bool:
    if value not in ("true", "false"):
        raise invalid(f"Invalid boolean: {value}", name)
    return bool(value == "true")


def choice(*allowed: str) -> Check:
    def read(value: Any, name: str) -> str:
        if value not in allowed:
            raise invalid(f"Invalid {name}: must be one of {', '.join(allowed)}", name)
        return str(value)

    return read


def array(one: Check) -> Check:
    def read(value: Any, name: str) -> list[Any]:
        if not isinstance(value, dict) or not all(place.isdigit() for place in value):
            raise invalid(f"Invalid array: {name}", name)
        return [one(value[place], f"{name}[{place}]") for place in sorted(value, key=int)]

    return read


texts = array(text())


def mapping(*required: str, **fields: Check) -> Check:
    def read(value: Any, name: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise invalid(f"Invalid object: {name}", name)
        clean = read_all(fields, value, lambda inner: f"{name}[{inner}]")
        for inner in required:
            if inner not in clean:
                raise missing(f"{name}[{inner}]")
        return clean

    return read


def within_limits(pairs: dict[str, str]) -> dict[str, str]:
    if len(pairs) > 50:
        raise invalid("Metadata can have at most 50 keys.", "metadata")
    return pairs


def metadata(value: Any, name: str) -> dict[str, str]:
    if value == "":
        return {}
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise invalid(f"Invalid metadata: {name} must be pairs of strings", name)
    for key, each in value.items():
        if len(key) > 40:
            raise invalid(f"Metadata keys can be at most 40 characters long: {key}", name)
        if len(each) > 500:
            raise invalid(f"Metadata values can be at most 500 characters long: {key}", name)
    return within_limits(dict(value))


def moment(value: Any, name: str) -> dict[str, int]:
    """A time, or a range of times, as lists are filtered by."""
    if isinstance(value, str):
        exactly = integer(value, name)
        return {"gte": exactly, "lte": exactly}
    range_: dict[str, int] = mapping(gt=integer, gte=integer, lt=integer, lte=integer)(value, name)
    return range_


def currency(value: Any, name: str) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z]{3}", value):
        raise invalid(f"Invalid currency: {value}", name)
    return value.lower()


def read_all(fields: dict[str, Check], raw: dict[str, Any], full_name: Callable[[str], str] = str) -> dict[str, Any]:
    clean = {}
    for inner, value in raw.items():
        name = full_name(inner)
        if inner not in fields:
            message = f"Received unknown parameter: {name} (or one that the sandbox does not model)"
            raise invalid(message, name, "parameter_unknown")
        clean[inner] = fields[inner](value, name)
    return clean


@dataclass(frozen=True)
class Params:
    accepts: dict[str, Check]
    requires: tuple[str, ...] = ()
    allowed_types_since: str | None = None
    together: Callable[[dict[str, Any]], None] | None = None

    def read(self, raw: dict[str, Any], version: str) -> dict[str, Any]:
        accepts = {"expand": texts, **self.accepts}
        if self.allowed_types_since:
            refuse_type_list_of_other_version(raw, version, self.allowed_types_since)
            accepts |= {OLD_TYPES: texts, NEW_TYPES: texts}
        clean = read_all(accepts, raw)
        for name in self.requires:
            if name not in clean:
                raise missing(name)
        if self.together:
            self.together(clean)
        return clean


def refuse_type_list_of_other_version(raw: dict[str, Any], version: str, since: str) -> None:
    """The old name is gone since endive; the new one came at a different time to each endpoint."""
    if OLD_TYPES in raw and version[:10] >= OLD_TYPES_END:
        message = (
            f"`{OLD_TYPES}` is no longer supported as of API version 2026-09-30.endive. Use `{NEW_TYPES}` instead."
        )
        raise invalid(message, OLD_TYPES, "payment_method_types_no_longer_supported")
    if NEW_TYPES in raw and version[:10] < since:
        message = f"Received unknown parameter: {NEW_TYPES}"
        raise invalid(message, NEW_TYPES, "parameter_unknown")
    if NEW_TYPES in raw and OLD_TYPES in raw:
        raise invalid(f"You may pass only one of {OLD_TYPES} and {NEW_TYPES}.", NEW_TYPES)
