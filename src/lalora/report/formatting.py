"""How numbers are written; what was not measured is an en dash."""

MISSING = "–"


def nats(value: float | None) -> str:
    """Returns a loss or a KL in nats per token: 0.182."""
    return MISSING if value is None else _tidy(f"{value:.3f}")


def change(value: float | None) -> str:
    """Returns a difference of losses in nats per token: +0.021."""
    return MISSING if value is None else _tidy(f"{value:+.3f}")


def percent(value: float | None) -> str:
    """Returns a share, rounded to whole percent: 97%."""
    return MISSING if value is None else _tidy(f"{100 * value:.0f}") + "%"


def accuracy(value: float | None) -> str:
    """Returns an accuracy, or another share that small differences matter in, in percent: 51.6%."""
    return MISSING if value is None else f"{100 * value:.1f}%"


def points(value: float | None) -> str:
    """Returns a difference of accuracies in percentage points: +4.0."""
    return MISSING if value is None else _tidy(f"{100 * value:+.1f}")


def seconds(value: float | None) -> str:
    """Returns a duration in seconds with two or three digits: 5.52, 0.093."""
    if value is None:
        return MISSING
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def gibibytes(value: float | None) -> str:
    """Returns a number of bytes in GiB of 2³⁰ bytes: 28.44."""
    return MISSING if value is None else f"{value / 2**30:.2f}"


def factor(value: float | None) -> str:
    """Returns a ratio: 1.01×."""
    return MISSING if value is None else f"{value:.2f}×"


def count(value: int) -> str:
    """Returns a number of weights: 2,752,512."""
    return f"{value:,}"


def scientific(value: float | None) -> str:
    """Returns a number whose size alone matters: 7.24×10⁻⁵; zero is 0."""
    if value is None:
        return MISSING
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.2e}".split("e")
    if -3 <= int(exponent) <= 3:
        return _tidy(f"{value:.3g}")
    return _tidy(f"{mantissa}×10") + str(int(exponent)).translate(_RAISED)


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _tidy(text: str) -> str:
    """Returns a true minus sign, and no sign on a number that rounds to zero."""
    if text[0] in "+-" and not text.strip("+-0."):
        text = text[1:]
    return text.replace("-", "−")
