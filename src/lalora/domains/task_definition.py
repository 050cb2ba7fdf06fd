"""What has to be known of a task of the harness before its data are looked at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lalora.errors import LaloraError


@dataclass(frozen=True)
class TaskDefinition:
    """A task of the harness that may be a domain.

    Attributes:
        content: what its YAML says, or the file it inherits everything from.
        learned: the split whose rows may be learned or fitted on; None where there is only the other one.
        scored: the split that the harness scores.
        hub: the id of its data set on the Hugging Face hub; None where they are elsewhere.
        files: its data on this machine, by split; empty where they are elsewhere.
    """

    content: Mapping[str, Any]
    learned: str | None
    scored: str
    hub: str | None
    files: Mapping[str, Sequence[Path]]


def splits_of(task: Mapping[str, Any], where: str) -> tuple[str | None, str]:
    """Choose the splits of a task that are learned and scored.

    Args:
        task: what its YAML says.
        where: its place, for messages.

    Returns:
        The split that is learned from, if it is another one than the scored one; and the one that the harness scores.

    Raises:
        LaloraError: nothing of it is scored.
    """
    training, validation, test = (task.get(f"{one}_split") for one in ("training", "validation", "test"))
    scored = test or validation
    if not scored:
        raise LaloraError(f"{where}: has neither a test_split nor a validation_split, and so nothing that is scored")
    learned = training or validation
    return (None if learned == scored else learned), scored
