"""A setting that varies among runs of plain LoRA, with those that follow it as α follows the rank."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lalora.report.settings import in_json, varied
from lalora.results.schema import Run


@dataclass(frozen=True)
class Varying:
    """A setting by its `key`; `following` has the value, in JSON, of each that follows it by the setting's own."""

    key: str
    following: Mapping[str, Mapping[str, str]]

    def following_in(self, run: Run) -> list[str]:
        """Returns the settings that follow in a run; another run may have one of them free."""
        value = in_json(run.settings.get(self.key))
        return [key for key, at in self.following.items() if _is(run, key, at.get(value))]

    def rest(self, run: Run) -> str:
        """Returns all that stays the same while the setting varies and the seeds change, as one text."""
        left = {"seed", self.key, *self.following_in(run)}
        return in_json({key: value for key, value in sorted(run.settings.items()) if key not in left})

    def name(self, run: Run) -> str:
        """Returns the label of a run without the setting and what follows it."""
        keys = "|".join(map(re.escape, [self.key, *self.following_in(run)]))
        return re.sub(rf" (?:{keys})=\S+", "", run.label)


def varying(runs: Sequence[Run]) -> Varying | None:
    """Returns the one setting in which runs vary, None where there is none or several."""
    keys = varied(runs)
    if len(keys) != 1:
        return None
    (key,) = keys
    others = [other for other in runs[0].settings if other not in ("seed", key) and _number_of_values(runs, other) > 1]
    # `varied` named one setting alone: all others that differ are determined by it.
    following = {other: {in_json(run.settings.get(key)): in_json(run.settings.get(other)) for run in runs}
                 for other in others}  # fmt: skip
    return Varying(key, following)


def _number_of_values(runs: Sequence[Run], key: str) -> int:
    return len({in_json(run.settings.get(key)) for run in runs})


def _is(run: Run, key: str, value: str | None) -> bool:
    return key in run.settings and in_json(run.settings[key]) == value
