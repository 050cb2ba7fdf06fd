"""Which points no other one beats, and the area that they dominate; both coordinates are better when higher."""

from collections.abc import Sequence

from lalora.errors import LaloraError

Point = tuple[float, float]


def pareto_front(points: Sequence[Point]) -> list[int]:
    """Returns the places of the points that no other one beats, from left to right.

    One beats another that it equals or exceeds in both coordinates and is not the same as.
    """
    kept = [
        place
        for place, (x, y) in enumerate(points)
        if not any(a >= x and b >= y and (a, b) != (x, y) for a, b in points)
    ]
    return sorted(kept, key=lambda place: points[place])


def hypervolume(points: Sequence[Point], reference: Point) -> float:
    """Returns the area between a front and a reference corner; points not above that in both coordinates add nothing.

    Raises:
        LaloraError: a number is not finite.
    """
    if not all(abs(value) < float("inf") for point in [*points, reference] for value in point):
        raise LaloraError("the hypervolume of a front needs finite scores: a run of it diverged or was not measured")
    above = [point for point in points if point[0] > reference[0] and point[1] > reference[1]]
    area, left = 0.0, reference[0]
    for x, y in (above[place] for place in pareto_front(above)):
        area += (x - left) * (y - reference[1])
        left = x
    return area
