"""Stripe's form encoding: `a[b][0]=c` means `{"a": {"b": {"0": "c"}}}`.

Everything stays text and every level a dict: only the endpoint knows whether `0` is a place in a
list or a name in metadata, so `params` decides that.
"""

import re
from typing import Any
from urllib.parse import parse_qsl

from .errors import ApiError

NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
INNER = re.compile(r"\[([^\[\]]*)\]")
MAX_DEPTH = 10


def decode(encoded: str) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for name, value in parse_qsl(encoded, keep_blank_values=True):
        put(params, name, value)
    return params


def put(params: dict[str, Any], name: str, value: str) -> None:
    match = NAME.fullmatch(name)
    if match is None:
        raise ApiError(400, f"Invalid parameter name: {name}", code="parameter_unknown", param=name)
    if "\0" in name + value:
        raise ApiError(400, f"Invalid string: {name}", param=name)
    *path, last = [match[1], *INNER.findall(match[2])]
    if len(path) >= MAX_DEPTH:
        raise ApiError(400, f"Parameter nested too deep: {name}", param=name)
    node = params
    for part in path:
        node = node.setdefault(part or str(len(node)), {})
        if not isinstance(node, dict):
            raise ApiError(400, f"Invalid parameter: {name}", param=name)
    node[last or str(len(node))] = value
