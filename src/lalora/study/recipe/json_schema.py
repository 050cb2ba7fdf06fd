"""The shape of a recipe as JSON Schema, for editors."""

from typing import Any

from pydantic import BaseModel, Field, create_model

from lalora.methods import METHODS
from lalora.study.recipe.chosen import all_options, options_model
from lalora.study.recipe.recipe import Document
from lalora.study.recipe.settings import RunSettings, StudySettings

_METHODS = "Several methods in one run, each with its options; their penalties add. In the place of `method`."


def recipe_schema() -> dict[str, Any]:
    """Describe every key of a recipe once, in JSON Schema, draft 2020-12."""
    of_study, of_run = (_properties(kind) for kind in (StudySettings, RunSettings))
    of_run = {
        "method": {"type": "string", "description": f"How to fine-tune: {', '.join(METHODS)}."},
        **of_run,
        **_options(),
    }
    of_run = {key: value for key, value in of_run.items() if key != "seed"}
    choices = {key: _or_several(value) for key, value in of_run.items()}
    schema = Document.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "A lalora study"
    schema["$defs"] = {**schema.get("$defs", {}), **StudySettings.model_json_schema().get("$defs", {})}
    schema["required"] = ["grid"]  # what a recipe extends may have the base
    fields = schema["properties"]
    fields["base"] |= {"properties": {**of_study, **of_run, "methods": _several(False)}, "additionalProperties": False}
    fields["grid"]["items"] = {
        "type": "object",
        "properties": {**choices, "methods": _several(True)},
        "additionalProperties": False,
    }
    return schema


def _properties(kind: type[BaseModel]) -> dict[str, Any]:
    properties: dict[str, Any] = kind.model_json_schema()["properties"]
    return properties


def _options() -> dict[str, Any]:
    """Describe the options of all methods by name."""
    found: dict[str, Any] = {}
    for name, options in all_options().items():
        kinds = [
            create_model(name, **{name: (option.annotation, Field(option.default, description=option.doc))})  # type: ignore[call-overload]
            for option in options
        ]
        described = [_properties(kind)[name] for kind in kinds]
        found[name] = described[0] if len(described) == 1 else {"anyOf": described, "description": options[0].doc}
    return found


def _several(with_lists: bool) -> dict[str, Any]:
    """Describe a list of methods, each by its name or with its options."""
    each = {}
    for name, kind in METHODS.items():
        options = _properties(options_model(kind))
        if with_lists:
            options = {key: _or_several(value) for key, value in options.items()}
        each[name] = {"type": ["object", "null"], "properties": options, "additionalProperties": False}
    one = {"type": "object", "properties": each, "additionalProperties": False, "minProperties": 1, "maxProperties": 1}
    return {"type": "array", "items": {"anyOf": [{"enum": list(METHODS)}, one]}, "description": _METHODS}


def _or_several(setting: dict[str, Any]) -> dict[str, Any]:
    described = {"description": setting["description"]}
    return {"anyOf": [setting, {"type": "array", "items": setting}]} | described
