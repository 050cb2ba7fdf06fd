"""Which metric of a task is its accuracy."""

from typing import Any

ACCURACIES = ("acc_norm", "acc", "exact_match", "acc_bytes", "acc_mutual_info")
"""Metrics from 0 to 1 that are reported, the preferred one first."""
_OF_KIND = {
    "multiple_choice": ACCURACIES,
    "generate_until": ("exact_match",),
    "loglikelihood": ("acc",),
    "loglikelihood_rolling": (),
}


def accuracy_of(task: Any) -> str | None:
    """Choose the metric that is reported of a task.

    Args:
        task: of the harness.

    Returns:
        Its name with that of a filter, the most forgiving of several; None where it has no accuracy.
    """
    # A function of the task's own may score whatever it names.
    possible = _OF_KIND[task.OUTPUT_TYPE] if task.config.process_results is None else ACCURACIES
    name = next((one for one in possible if one in task.aggregation()), None)
    if name is None:
        return None
    filters = [one["name"] for one in task.config.filter_list or []]
    flexible = [one for one in filters if "flexible" in one]
    return f"{name},{[*flexible, *filters, 'none'][0]}"
