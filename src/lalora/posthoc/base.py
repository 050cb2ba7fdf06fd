"""What a way to change an adapter after its training can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from lalora.errors import LaloraError
from lalora.posthoc.trained import Fit, Trained


class Rival(ABC):
    """A way to change a trained adapter without training it: one knob, from the adapter towards the base.

    Attributes:
        name: Its name in recipes.
        label: Its name for readers.
        citation: Where it comes from.
        needs: What it takes besides the adapter, in a few words.
        knob: The sign of its knob.
        meaning: What the knob is.
        grid: Values of the knob to begin with, the one nearest to the adapter first.
        adapter: Value of the knob that leaves the adapter as it is.
        most: Largest value of the knob; None where there is no limit.
        fits: Curvatures that it is made of.
        passes: What it does with each row of text.
        rewinds: Whether it needs adapters that were kept while training.
        full_rank: Whether its result is no adapter of the same rank.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    citation: ClassVar[str]
    needs: ClassVar[str]
    knob: ClassVar[str]
    meaning: ClassVar[str]
    grid: ClassVar[tuple[float, ...]]
    adapter: ClassVar[float] = 0.0
    most: ClassVar[float | None] = None
    fits: ClassVar[tuple[Fit, ...]] = ()
    passes: ClassVar[str] = "–"
    rewinds: ClassVar[bool] = False
    full_rank: ClassVar[bool] = False

    def __init__(self, trained: Trained) -> None:
        """Take a trained adapter.

        Args:
            trained: The adapter, with the text that curvatures are fitted on.
        """
        self.trained = trained

    def prepare(self) -> None:  # ruff: ignore[empty-method-without-abstract-decorator]
        """Do once what serves every value of the knob.

        Raises:
            LaloraError: If the model cannot be changed so.
        """

    @abstractmethod
    def at(self, knob: float) -> AbstractContextManager[None]:
        """Hold the model at a value of the knob, after `prepare`; at the end it is as it was.

        Args:
            knob: What `meaning` says; `check` tells which values there are.

        Returns:
            A context in which the model is changed.
        """

    @classmethod
    def names(cls) -> dict[str, Any]:
        """Tell a reader of results what it is called.

        Returns:
            The fields of `lalora.results.schema.RivalNames`.
        """
        return {"label": cls.label, "knob": cls.knob, "adapter": cls.adapter}

    @classmethod
    def check(cls, knob: float) -> None:
        """Refuse a value that the knob cannot have.

        Args:
            knob: The value.

        Raises:
            LaloraError: If it is out of range.
        """
        if not 0 <= knob <= (float("inf") if cls.most is None else cls.most) or knob == float("inf"):
            upper = "0 or more, and finite" if cls.most is None else f"from 0 to {cls.most:g}"
            raise LaloraError(f"{cls.name}: {cls.knob} is {cls.meaning}, {upper}, not {knob!r}")
