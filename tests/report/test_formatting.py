import pytest

from lalora.report import formatting


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (formatting.nats(0.18234), "0.182"),
        (formatting.nats(-0.0001), "0.000"),
        (formatting.change(0.0214), "+0.021"),
        (formatting.change(-0.0214), "\N{MINUS SIGN}0.021"),
        (formatting.change(0.0001), "0.000"),
        (formatting.percent(0.966), "97%"),
        (formatting.percent(-0.12), "\N{MINUS SIGN}12%"),
        (formatting.percent(-0.001), "0%"),
        (formatting.accuracy(0.516), "51.6%"),
        (formatting.accuracy(0.0), "0.0%"),
        (formatting.seconds(5.523), "5.52"),
        (formatting.seconds(0.0934), "0.093"),
        (formatting.gibibytes(28.44 * 2**30), "28.44"),
        # The weights of Llama-3.2-3B in bfloat16.
        (formatting.gibibytes(2 * 3_212_749_824), "5.98"),
        (formatting.factor(1.006), "1.01\N{MULTIPLICATION SIGN}"),
        (formatting.count(2752512), "2,752,512"),
        (formatting.scientific(0.0), "0"),
        (formatting.scientific(0.402), "0.402"),
        (formatting.scientific(7.24e-5), "7.24\N{MULTIPLICATION SIGN}10⁻⁵"),
        (formatting.scientific(7.61e-22), "7.61\N{MULTIPLICATION SIGN}10⁻²²"),
    ],
)
def test_written_as(written: str, expected: str) -> None:
    assert written == expected


@pytest.mark.parametrize(
    "write",
    [
        formatting.nats,
        formatting.change,
        formatting.percent,
        formatting.accuracy,
        formatting.seconds,
        formatting.gibibytes,
        formatting.factor,
        formatting.scientific,
    ],
)
def test_not_measured_is_an_en_dash(write) -> None:
    assert write(None) == "\N{EN DASH}"
