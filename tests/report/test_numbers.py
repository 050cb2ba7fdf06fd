import pytest

from lalora.report import numbers


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (numbers.nats(0.18234), "0.182"),
        (numbers.nats(-0.0001), "0.000"),
        (numbers.change(0.0214), "+0.021"),
        (numbers.change(-0.0214), "\N{MINUS SIGN}0.021"),
        (numbers.change(0.0001), "0.000"),
        (numbers.percent(0.966), "97%"),
        (numbers.percent(-0.12), "\N{MINUS SIGN}12%"),
        (numbers.percent(-0.001), "0%"),
        (numbers.accuracy(0.516), "51.6%"),
        (numbers.accuracy(0.0), "0.0%"),
        (numbers.seconds(5.523), "5.52"),
        (numbers.seconds(0.0934), "0.093"),
        (numbers.factor(1.006), "1.01\N{MULTIPLICATION SIGN}"),
        (numbers.count(2752512), "2,752,512"),
        (numbers.scientific(0.0), "0"),
        (numbers.scientific(0.402), "0.402"),
        (numbers.scientific(7.24e-5), "7.24\N{MULTIPLICATION SIGN}10⁻⁵"),
        (numbers.scientific(7.61e-22), "7.61\N{MULTIPLICATION SIGN}10⁻²²"),
    ],
)
def test_written_as(written: str, expected: str) -> None:
    assert written == expected


@pytest.mark.parametrize(
    "write",
    [
        numbers.nats,
        numbers.change,
        numbers.percent,
        numbers.accuracy,
        numbers.seconds,
        numbers.factor,
        numbers.scientific,
    ],
)
def test_not_measured_is_an_en_dash(write) -> None:
    assert write(None) == "\N{EN DASH}"
