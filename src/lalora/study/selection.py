"""Which setting of a method to take, from what each learned and kept on validation rows (paper, App. E).

Learning and keeping are scores that are better when higher: accuracies, or losses and KL with their sign turned.
"""

from collections.abc import Sequence

from lalora.errors import LaloraError

ALPHA = 0.7
"""Weight of learning in the paper's score."""

Point = tuple[float, float]


def learning_prioritised(learning: Sequence[float], keeping: Sequence[float], alpha: float = ALPHA) -> list[float]:
    """Compute S_B = αL' + (1 − α)F', each score first brought to 0 … 1 within the method's own grid.

    Args:
        learning: L of each setting.
        keeping: F of each setting, in the same order.
        alpha: α, 0 to 1.

    Returns:
        S_B of each setting; a score that is the same for all counts as 0.
    """
    both = zip(_normalised(learning), _normalised(keeping), strict=True)
    return [alpha * learned + (1 - alpha) * kept for learned, kept in both]


def stability(keeping: Sequence[float]) -> int:
    """Choose the setting that keeps most.

    Args:
        keeping: F of each setting.

    Returns:
        Its place; the first of equals.
    """
    return max(range(len(keeping)), key=keeping.__getitem__)


def plasticity(learning: Sequence[float], keeping: Sequence[float], alpha: float = ALPHA) -> int:
    """Choose the setting of the highest S_B.

    Args:
        learning: L of each setting.
        keeping: F of each setting.
        alpha: α of S_B.

    Returns:
        Its place; the first of equals.
    """
    return stability(learning_prioritised(learning, keeping, alpha))


def best_above(floor: float, learning: Sequence[float], keeping: Sequence[float]) -> int | None:
    """Choose the setting that learns most among those that keep enough.

    Args:
        floor: Least F.
        learning: L of each setting.
        keeping: F of each setting.

    Returns:
        Its place, the first of equals; None where none keeps enough.
    """
    enough = [place for place, kept in enumerate(keeping) if kept >= floor]
    return max(enough, key=learning.__getitem__, default=None)


def front(points: Sequence[Point]) -> list[Point]:
    """Find the points that no other one beats in both scores.

    Args:
        points: (learning, keeping) each.

    Returns:
        Those of the Pareto front, by growing learning, without repetitions.
    """
    found: list[Point] = []
    for point in sorted(set(points), reverse=True):
        if not found or point[1] > found[-1][1]:
            found.append(point)
    return found[::-1]


def hypervolume(points: Sequence[Point], reference: Point) -> float:
    """Measure the area that a trade-off front dominates.

    Args:
        points: (learning, keeping) each.
        reference: The corner that the area begins at; points not above it in both scores add nothing.

    Returns:
        The area, in the product of the two units.

    Raises:
        LaloraError: If a number is not finite.
    """
    if not all(abs(value) < float("inf") for point in [*points, reference] for value in point):
        raise LaloraError("the hypervolume of a front needs finite scores: a run of it diverged or was not measured")
    area, left = 0.0, reference[0]
    for learned, kept in front([point for point in points if point[0] > reference[0] and point[1] > reference[1]]):
        area += (learned - left) * (kept - reference[1])
        left = learned
    return area


def _normalised(scores: Sequence[float]) -> list[float]:
    low, high = min(scores), max(scores)
    return [(score - low) / (high - low) if high > low else 0.0 for score in scores]
