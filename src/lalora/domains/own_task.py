"""A task's own YAML file, which may be somebody else's: read as data, and nothing of it runs."""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from lalora.complaint import complaint
from lalora.domains.metrics import ACCURACIES
from lalora.domains.task_definition import TaskDefinition, splits_of
from lalora.errors import LaloraError, one_line, short
from lalora.files import read_small
from lalora.hub import is_id
from lalora.marked_yaml import Marked, parse
from lalora.text import kind_of

_LARGEST = 1 << 18
_DEEPEST = 8
_RUN_CODE = {
    "class", "custom_dataset", "process_docs", "process_results", "use_prompt", "unsafe_code",
    "doc_to_image", "doc_to_audio",
}  # fmt: skip
"""Keys whose values are Python code, run some, or read other files that may."""
_WITHOUT_EFFECT = {
    "tag", "group", "group_alias", "task_alias", "fewshot_split", "fewshot_config", "fewshot_delimiter", "num_fewshot",
    "repeats", "should_decontaminate", "doc_to_decontamination_query", "metadata",
}  # fmt: skip
"""Keys that neither words nor scores a row without examples in the prompt."""
_READ = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".json", ".parquet")

Text = Annotated[str, Field(max_length=_LARGEST)]
Setting = bool | int | float | str | list[str]
_STEPS = (
    "regex", "multi_choice_regex", "take_first", "take_first_k", "majority_vote", "remove_whitespace", "lowercase",
    "uppercase", "map",
)  # fmt: skip
"""Filters of the harness that take no function."""


def _without_code(step: dict[str, Any]) -> dict[str, Any]:
    if step.get("function") not in _STEPS:
        raise ValueError(f"its function has to be one of {', '.join(_STEPS)}")
    return step


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Filter(_Strict):
    name: Text
    filter: list[Annotated[dict[str, Setting | dict[str, str] | None], AfterValidator(_without_code)]]


class _Metric(BaseModel):
    model_config = ConfigDict(strict=True)

    metric: Text
    hf_evaluate: bool = False
    ignore_case: bool | None = None
    ignore_punctuation: bool | None = None
    ignore_numbers: bool | None = None
    regexes_to_ignore: list[str] | None = None


class _Data(_Strict):
    data_files: Text | list[Text] | dict[str, Text | list[Text]] | None = None
    trust_remote_code: bool = False


class _Generation(BaseModel):
    model_config = ConfigDict(strict=True)

    until: Text | list[Text] | None = None


class _Task(_Strict):
    task: Text = Field(min_length=1)
    dataset_path: Text
    dataset_name: Text | None = None
    dataset_kwargs: _Data = Field(default_factory=_Data)
    training_split: Text | None = None
    validation_split: Text | None = None
    test_split: Text | None = None
    output_type: Literal["multiple_choice", "generate_until", "loglikelihood", "loglikelihood_rolling"] = (
        "generate_until"
    )
    doc_to_text: Text | int = ""
    doc_to_target: Text | int | list[Text]
    doc_to_choice: Text | list[Text] | dict[str, Text] | None = None
    description: Text = ""
    target_delimiter: Text = " "
    gen_prefix: Text | None = None
    metric_list: list[_Metric] = Field(default_factory=list)
    filter_list: list[_Filter] | None = None
    generation_kwargs: _Generation = Field(default_factory=_Generation)


def read_own_task(path: Path) -> TaskDefinition:
    """Read a task's YAML file and those that it includes.

    Args:
        path: the file.

    Returns:
        What it says.

    Raises:
        LaloraError: it cannot be read, holds what could run code, or is no task whose rows can be worded.
    """
    written, places = _read(path, ())
    for key, value in written.items():
        if key in _RUN_CODE and value not in (None, False):
            raise LaloraError(f"{places[key]}: '{key}' {_NOT_OF_OTHERS}")
    try:
        task = _Task.model_validate({key: value for key, value in written.items() if key not in _RUN_CODE})
    except ValidationError as error:
        first = error.errors()[0]
        where = places.get(str(first["loc"][0]), str(path)) if first["loc"] else str(path)
        raise LaloraError(f"{where}: {complaint(first)}") from error
    return _checked(task, path, places)


_NOT_OF_OTHERS = "runs Python code, which lalora lets only tasks do that come with lm-eval: leave it out"


def _read(path: Path, above: tuple[Path, ...]) -> tuple[dict[str, Any], dict[str, str]]:
    resolved = path.expanduser().resolve()
    if resolved in above or len(above) > _DEEPEST:
        raise LaloraError(f"{path}: includes itself, or more than {_DEEPEST} files that include one another")
    marks = _parsed(path, resolved)
    own = marks.value
    if not isinstance(own, dict) or not all(isinstance(key, str) for key in own):
        raise LaloraError(f"{path}: a task is a mapping with keys such as task, dataset_path and doc_to_text")
    if isinstance(own.get("task"), list) or ("group" in own and "task" not in own):
        raise LaloraError(f"{path}: is a group of tasks: give each of its tasks as a domain of its own")
    places = {key: marks.place((key,)) for key in own}
    included = own.pop("include", [])
    found: dict[str, Any] = {}
    where: dict[str, str] = {}
    for one in included if isinstance(included, list) else [included]:
        if not isinstance(one, str):
            raise LaloraError(f"{places['include']}: 'include' is {short(repr(one))}, and no path")
        inner, inner_places = _read(resolved.parent / one, (*above, resolved))
        found |= inner
        where |= inner_places
    for key in _WITHOUT_EFFECT:
        own.pop(key, None)
    if isinstance(own.get("dataset_kwargs"), dict):
        own["dataset_kwargs"] = _found(own["dataset_kwargs"], path, places["dataset_kwargs"])
    return found | own, where | places


def _parsed(path: Path, resolved: Path) -> Marked:
    try:
        text = read_small(resolved, _LARGEST)
    except (OSError, ValueError) as error:
        raise LaloraError(f"{path}: cannot be read as a task: {one_line(error)}") from error
    try:
        for token in yaml.scan(text):
            if isinstance(token, yaml.TagToken):
                raise LaloraError(f"{path}, line {token.start_mark.line + 1}: '{''.join(filter(None, token.value))}' "
                                  f"{_NOT_OF_OTHERS}")  # fmt: skip
    except yaml.YAMLError:
        pass  # said by `parse`
    return parse(text, str(path), "a task")


def _found(given: dict[str, Any], path: Path, place: str) -> dict[str, Any]:
    # As the harness reads them, from the working folder; or from beside the file that names them.
    def located(one: Any) -> Any:
        if isinstance(one, list):
            return [located(each) for each in one]
        if not isinstance(one, str) or not one:
            return one
        if "://" in one or "::" in one:
            raise LaloraError(f"{place}: data_files '{short(one)}' is no file here: fetch it, or give a hub id")
        near = [Path(one).expanduser(), path.expanduser().parent / one]
        there = next((file for file in near if file.is_file()), None)
        if there is None:
            raise LaloraError(f"{place}: there is no data file '{short(one)}', from here or beside {path.name}")
        if kind_of(there) not in _READ:
            raise LaloraError(f"{place}: data_files '{short(one)}' has to be one of {', '.join(_READ)}")
        return str(there.resolve())

    files = given.get("data_files")
    if isinstance(files, dict):
        return {**given, "data_files": {split: located(one) for split, one in files.items()}}
    return {**given, "data_files": located(files)} if files is not None else given


def _checked(task: _Task, path: Path, places: dict[str, str]) -> TaskDefinition:
    at = {key: places.get(key, str(path)) for key in _Task.model_fields}
    if task.dataset_kwargs.trust_remote_code:
        raise LaloraError(f"{at['dataset_kwargs']}: 'trust_remote_code' {_NOT_OF_OTHERS}")
    for metric in task.metric_list:
        if metric.hf_evaluate:
            raise LaloraError(f"{at['metric_list']}: 'hf_evaluate' {_NOT_OF_OTHERS}")
    files = task.dataset_kwargs.data_files
    local = task.dataset_path in ("json", "parquet")
    if local and not files:
        raise LaloraError(f"{at['dataset_path']}: dataset_path: {task.dataset_path} needs data_files in dataset_kwargs")
    if not local and files:
        raise LaloraError(f"{at['dataset_kwargs']}: data_files go with dataset_path: json or parquet")
    if not local and (not is_id(task.dataset_path) or Path(task.dataset_path).exists()):
        raise LaloraError(
            f"{at['dataset_path']}: dataset_path is '{short(task.dataset_path)}': it can be json or parquet, with "
            "data_files, or an id on the Hugging Face hub, user/name"
        )
    learned, scored = splits_of(task.model_dump(), str(path))
    by_split = files if isinstance(files, dict) else {"train": files} if files else {}
    listed = {name: [Path(f) for f in (one if isinstance(one, list) else [one])] for name, one in by_split.items()}
    for key in ("training_split", "validation_split", "test_split"):
        split = getattr(task, key)
        if local and split is not None and split not in listed:
            raise LaloraError(f"{at[key]}: {key} is '{short(split)}', and data_files have {', '.join(listed)}")
    return TaskDefinition(_definition(task), learned, scored, None if local else task.dataset_path, listed)


def _definition(task: _Task) -> dict[str, Any]:
    # Metrics and settings of generation that lalora reports or sets itself are left out, and their code with them.
    found = task.model_dump(exclude={"metric_list", "generation_kwargs", "dataset_kwargs", "filter_list"})
    told = [metric for metric in task.metric_list if metric.metric in ACCURACIES]
    exact = {"ignore_case", "ignore_punctuation", "ignore_numbers", "regexes_to_ignore"}
    if told:
        found["metric_list"] = [
            {
                "metric": one.metric, "aggregation": "mean", "higher_is_better": True,
                **(one.model_dump(include=exact, exclude_none=True) if one.metric == "exact_match" else {}),
            }
            for one in told
        ]  # fmt: skip
    if task.filter_list:
        found["filter_list"] = [one.model_dump() for one in task.filter_list]
    if task.output_type == "generate_until" and task.generation_kwargs.until is not None:
        found["generation_kwargs"] = {"until": task.generation_kwargs.until}
    return {key: value for key, value in found.items() if value is not None}
