"""The shape of a recipe as JSON Schema, for editors."""

from typing import Any

from lalora.study.recipe import Document
from lalora.study.settings import RunSettings, StudySettings


def recipe_schema() -> dict[str, Any]:
    """Describe every key of a recipe once.

    Returns:
        JSON Schema, draft 2020-12.
    """
    of_study, of_run = (kind.model_json_schema()["properties"] for kind in (StudySettings, RunSettings))
    of_run = {key: value for key, value in of_run.items() if key != "seed"}
    choices = {key: _or_several(value) for key, value in of_run.items()}
    schema = Document.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "A lalora study"
    schema["required"] = ["grid"]  # what a recipe extends may have the base
    fields = schema["properties"]
    fields["base"] |= {"properties": {**of_study, **of_run}, "additionalProperties": False}
    fields["grid"]["items"] = {"type": "object", "properties": choices, "additionalProperties": False}
    return schema


def _or_several(setting: dict[str, Any]) -> dict[str, Any]:
    described = {"description": setting["description"]}
    return {"anyOf": [setting, {"type": "array", "items": setting}]} | described
