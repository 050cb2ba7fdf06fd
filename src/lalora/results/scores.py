"""Which setting of a method to take, from what each learned and kept on validation rows (paper, App. E).

Learning L and keeping F are better when higher: accuracies, or losses and KL with their sign turned.
"""

from collections.abc import Sequence

ALPHA = 0.7
"""Weight of learning in the paper's score."""


def score(learning: Sequence[float], keeping: Sequence[float], alpha: float = ALPHA) -> list[float]:
    """Returns S_B = αL' + (1 − α)F' of each setting, L and F brought to 0 … 1; one that is the same for all is 0."""
    both = zip(_normalised(learning), _normalised(keeping), strict=True)
    return [alpha * learned + (1 - alpha) * kept for learned, kept in both]


def stability(keeping: Sequence[float]) -> int:
    """Returns the place of the setting that keeps most, the first of equals."""
    return max(range(len(keeping)), key=keeping.__getitem__)


def best_above(floor: float, learning: Sequence[float], keeping: Sequence[float]) -> int | None:
    """Returns the place of the setting that learns most among those that keep so much, None where none does."""
    enough = [place for place, kept in enumerate(keeping) if kept >= floor]
    return max(enough, key=learning.__getitem__, default=None)


def _normalised(scores: Sequence[float]) -> list[float]:
    low, high = min(scores), max(scores)
    return [(score - low) / (high - low) if high > low else 0.0 for score in scores]
