"""Configs: YAML from a file or by a shipped name, with overrides, checked by a pydantic model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import AliasChoices, BaseModel, ValidationError

from vqa.errors import InputError
from vqa.utils import plain_yaml

Settings = TypeVar("Settings", bound=BaseModel)


def load_config(
    model_class: type[Settings], path_or_name: str, overrides: Sequence[str] = ()
) -> Settings:
    """Read a config into `model_class`, whose own `extra="forbid"` refuses unknown keys.

    `path_or_name` is a path to a YAML file or the name of a config that ships. An
    override is `key=value`, or `outer.inner=value` for what is nested; `key=` means null. Raises
    InputError, in one line, for whatever is wrong: the file, the key and what to set.
    """
    path = find_config(path_or_name)
    data = _read(path)
    overridden = {_apply(data, override, model_class) for override in overrides}
    try:
        return model_class.model_validate(data)
    except ValidationError as error:
        problems = dict.fromkeys(_problems(error, model_class, path, overridden))
        raise InputError("; ".join(problems)) from error


def find_config(path_or_name: str) -> Path:
    """Return the file of a config: the file of that path, else the shipped config of that name."""
    path = Path(path_or_name)
    if path.is_file():
        return path
    if path.suffix in (".yaml", ".yml") or len(path.parts) != 1:
        what = "is a directory" if path.is_dir() else "no such file"
        raise InputError(
            f"{path_or_name}: {what}; give a YAML file or one of {', '.join(shipped_names())}"
        )
    shipped = shipped_directory() / f"{path_or_name}.yaml"
    if not shipped.is_file():
        hint = _hint(path_or_name, shipped_names())
        raise InputError(
            f"{path_or_name}: no config of that name{hint} (or give the path of a YAML file)"
        )
    return shipped


def shipped_names() -> list[str]:
    """List the names of the configs that ship."""
    return sorted(path.stem for path in shipped_directory().glob("*.yaml"))


def shipped_directory() -> Path:
    """Return the directory of shipped configs: in the package, or beside it in a checkout."""
    inside = Path(__file__).parents[1] / "configs"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "configs"


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InputError(f"{path} cannot be read: {why}") from error
    data = plain_yaml.parse_document(text, str(path))
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise InputError(f"{path}: keys with values are expected, as in `output: runs/mine`")
    return data


def _apply(data: dict[str, Any], override: str, model_class: type[BaseModel]) -> str:
    """Set one `key=value` in `data` in place of its aliases, and return the key."""
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not all(key.split(".")):
        raise InputError(f"{override}: an override is key=value, such as output=runs/mine")
    *outer, last = key.split(".")
    inside = data
    for depth, name in enumerate(outer):
        if inside.get(name) is None:
            inside[name] = {}
        inside = inside[name]
        if not isinstance(inside, dict):
            raise InputError(f"{override}: {'.'.join(outer[: depth + 1])} has no keys of its own")
    for alias in _aliases(model_class, outer, last):
        inside.pop(alias, None)
    inside[last] = plain_yaml.parse_value(text.strip(), override)
    return key


def _problems(
    error: ValidationError, model_class: type[BaseModel], path: Path, overridden: set[str]
) -> Iterator[str]:
    """Yield one sentence for each problem; what the file says is named with the file."""
    for problem in error.errors(include_url=False):
        *outer, last = [str(part) for part in problem["loc"]] or [""]
        key = ".".join([*outer, last])
        where = f"{key}: " if _is_overridden(key, overridden) else f"{path}: {key}: "
        match problem["type"]:
            case "extra_forbidden":
                prefix = "".join(f"{name}." for name in outer)
                yield f"{where}unknown key{_hint(last, _keys_at(model_class, outer), prefix)}"
            case "missing":
                yield f"{where}missing; set it in the file or give {key}=VALUE"
            case "value_error" | "assertion_error":  # the model's own words
                yield f"{where if key else f'{path}: '}{problem['ctx']['error']}"
            case "path_type":
                yield f"{where}should be a path, not {_short(problem['input'])}"
            case _:
                message = str(problem["msg"]).removeprefix("Input ")
                yield f"{where}{message}, not {_short(problem['input'])}"


def _is_overridden(key: str, overridden: set[str]) -> bool:
    """Return whether an override has set `key`, what it lies in, or what lies in it."""
    return any(
        f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")
        for other in overridden
    )


def _short(value: Any) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _keys_at(model_class: type[BaseModel], location: Sequence[str]) -> list[str]:
    """List the keys allowed where `location` leads, through nested models, mappings and lists."""
    return [name for model in _models_at(model_class, location) for name in model.model_fields]


def _aliases(model_class: type[BaseModel], location: Sequence[str], key: str) -> set[str]:
    """List the other names of the setting `key` where `location` leads."""
    for model in _models_at(model_class, location):
        for name, field in model.model_fields.items():
            if isinstance(field.validation_alias, AliasChoices):
                names = {name, *map(str, field.validation_alias.choices)}
                if key in names:
                    return names - {key}
    return set()


def _models_at(model_class: type[BaseModel], location: Sequence[str]) -> list[type[BaseModel]]:
    """List the models where `location` leads, through nested models, mappings and lists."""
    annotation: Any = model_class
    for name in location:
        for model in _models(annotation):
            if name in model.model_fields:
                annotation = model.model_fields[name].annotation
                break
    return _models(annotation)


def _models(annotation: Any) -> list[type[BaseModel]]:
    """List the pydantic models in an annotation, such as `dict[str, Model] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models(inner)]


def _hint(word: str, allowed: Sequence[str], prefix: str = "") -> str:
    near = get_close_matches(word, allowed, n=1)
    if near:
        return f"; did you mean {prefix}{near[0]}?"
    return f"; there are {', '.join(prefix + name for name in allowed)}" if allowed else ""
