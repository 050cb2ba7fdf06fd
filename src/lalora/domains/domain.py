"""What has to be known of a domain: where its data come from and which harness task scores it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lalora.domains.own_rows import OwnRows

Role = Literal["source", "target", "held-out"]


@dataclass(frozen=True)
class Domain:
    """What has to be known of a domain besides its rows.

    Attributes:
        name: the name by which recipes call it.
        role: knowledge to keep (`source`), the skill to learn (`target`), or text no method sees (`held-out`).
        task: the task of lm-evaluation-harness that scores it; `None` for plain text.
        task_file: that task's YAML file below the harness's folder of tasks.
        metric: the metric of that task which is reported, with its filter where it has several.
        hub: the id of the data set on the Hugging Face hub.
        config: the data set's configuration there.
        columns: the columns that are needed and the type of their values, as on the hub.
        label: the column that holds the answer; rows where it is empty, as where it was kept secret, are left out.
        identity: the columns that say whether two rows ask the same.
        family: the columns whose values related rows share; a family never falls on both sides of a split.
        scored: the names of the split that is scored, the preferred one first.
        share: the part of the families that goes to training where the data has one split only.
        embedded: where the embedded data keep it; `None` where it does not hold it.
        note: what a reader of the embedded results has to be told.
        rows: what a user says of its rows, where that is more than their place.
        own: whether it is a user's own, whose rows are of any kind that `text.row` knows.
        definition: of any other task of the harness what its YAML says, for rows as the task has processed them.
    """

    name: str
    role: Role
    task: str | None
    task_file: str | None
    metric: str | None
    hub: str
    config: str | None
    columns: Mapping[str, type]
    label: str | None
    identity: tuple[str, ...]
    family: tuple[str, ...]
    scored: tuple[str, ...]
    share: float
    embedded: str | None
    note: str | None = None
    rows: OwnRows | None = None
    own: bool = False
    definition: Mapping[str, Any] | None = None
