"""What a user says of a task of lm-evaluation-harness: its name, or its own YAML file."""

from typing import Final

from pydantic import BaseModel, ConfigDict, Field

PREFIX: Final = "task:"
TASK_FILES: Final = (".yaml", ".yml")
"""How the names of files of tasks end."""


class HarnessTask(BaseModel):
    """A task of lm-evaluation-harness that is a domain."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    task: str = Field(
        min_length=1,
        max_length=4096,
        description="The name of a task that comes with lm-eval, or the path of a task's own YAML file.",
    )

    @property
    def is_file(self) -> bool:
        """Whether it is a YAML file, and no name."""
        return self.task.endswith(TASK_FILES)


def task_at(place: str) -> HarnessTask | None:
    """Read a place as a task, as it is written in one word.

    Args:
        place: of a domain.

    Returns:
        The task of `task:NAME`, `task:FILE.yaml` or `FILE.yaml`; None for every other place.
    """
    task = place.removeprefix(PREFIX)
    return HarnessTask(task=task) if task and (task != place or place.endswith(TASK_FILES)) else None
