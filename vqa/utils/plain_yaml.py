"""YAML with the plain values of YAML 1.2, as people expect them, and errors in one line.

PyYAML follows 1.1, where `1e-4` is a string, `no` is false, `010` is eight and `1:30` is ninety.
ruamel.yaml follows 1.2, but would need as much code here and one more dependency: it makes dates
of texts and numbers of `0x1F`, takes numbers as keys, refuses `<<` as a value, and has no reader of
single plain values.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from vqa.errors import InputError

# kind -> its pattern, and the characters it may begin with
_KINDS = {
    "null": (r"|~|null|Null|NULL", ["", *"~nN"]),
    "bool": (r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    "int": (r"[-+]?[0-9]+(_[0-9]+)*", [*"-+0123456789"]),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        [*"-+.0123456789"],
    ),
}


def parse_document(text: str, where: str) -> Any:
    """Read a YAML document. Raises InputError, beginning with `where` and the line."""
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InputError(f"{where}{line}: {error.problem or error.context}") from error
    except RecursionError as error:
        raise InputError(f"{where}: nested too deeply") from error
    except (KeyError, AttributeError, TypeError) as error:  # of `!!bool x`, `!!int [1]`
        raise InputError(f"{where}: a value that is not of the kind its tag (!!) says") from error
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{where}: {' '.join(str(error).split())}") from error


def parse_value(text: str, where: str) -> Any:
    """Read one value: a list, a mapping or quoted text as in YAML, else a plain value.

    Plain text may hold what a document would cut or refuse (`a: b`, `x # y`, `@home`).
    """
    if text[:1] in ("[", "{", '"', "'"):
        return parse_document(text, where)
    loader = _Loader("")
    try:
        tag = loader.resolve(yaml.ScalarNode, text, (True, False))
        return loader.construct_object(yaml.ScalarNode(tag, text))
    except ValueError as error:  # a number of thousands of digits
        raise InputError(f"{where}: {error}") from error
    finally:
        loader.dispose()


class _Loader(yaml.SafeLoader):
    pass


def _int(loader: _Loader, node: yaml.ScalarNode) -> int:
    return int(node.value)  # SafeLoader reads 010 as eight


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    """Build a mapping with text as keys, each set once: SafeLoader silently takes the last."""
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = key_node.value
        if not isinstance(key, str):
            raise ConstructorError(None, None, "a key must be text", key_node.start_mark)
        if key in mapping:
            raise ConstructorError(None, None, f"{key} is set twice", key_node.start_mark)
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


_Loader.yaml_implicit_resolvers = {}
for _kind, (_pattern, _first) in _KINDS.items():
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_kind}", re.compile(rf"(?:{_pattern})\Z"), _first
    )
_Loader.add_constructor("tag:yaml.org,2002:int", _int)
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
