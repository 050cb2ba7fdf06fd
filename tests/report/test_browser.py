"""The page in a real browser: what no look at its text can tell."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drawn_once import page_with_pictures
from made_up_study import found
from made_up_study import page as without_pictures

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (Debian: apt-get install chromium)"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Any, tmp_path: Path, results: dict[str, Any]) -> Iterator[Any]:
    """Opens the page of a study from disk; afterwards fails on any console message or request that left the page."""
    wrong: list[str] = []
    pages = []

    def request(asked: Any) -> None:
        if not asked.url.startswith(("file://", "data:")):
            wrong.append(f"request to {asked.url}")

    def visited(
        study: dict[str, Any] = results, width: int = 1600, scheme: str = "light", pictures: bool = True
    ) -> Any:
        drawn = page_with_pictures(study) if pictures else without_pictures(study).encode()
        (tmp_path / "report.html").write_bytes(drawn)
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.on("console", lambda message: wrong.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", request)
        page.goto((tmp_path / "report.html").as_uri())
        pages.append(page)
        return page

    yield visited
    for page in pages:
        page.close()
    assert wrong == []


def test_a_point_tells_its_run_and_numbers(visit: Any) -> None:
    page = visit()
    page.locator("#tradeoff .run-1 .point.end").hover()
    tip = page.locator("#tip").inner_text()
    for text in ("LaLoRA λ=1", "lalora-strength-1-seed-0", "step 60", "0.872", "+0.031", "0.071"):
        assert text in tip
    page.mouse.move(5, 5)
    assert page.locator("#tip").is_hidden()


def test_points_are_reached_with_the_keyboard(visit: Any) -> None:
    page = visit()
    page.locator("#tradeoff .run-0 .point.end").focus()
    page.keyboard.press("ArrowLeft")
    assert "lora-seed-0 · step 50" in page.locator("#tip").inner_text()
    page.locator("#panels svg.walk").nth(3).focus()
    page.keyboard.press("ArrowLeft")
    assert "step 50" in page.locator("#tip").inner_text()


def test_forgetting_can_be_measured_in_three_ways(visit: Any) -> None:
    page = visit()
    places = []
    for name in ("KL, source", "Source loss", "KL, held-out"):
        page.get_by_text(name, exact=True).first.click()
        places.append(page.locator("#tradeoff .run-2 .point.end .mark").get_attribute("transform"))
    assert len(set(places)) == 3


def test_a_run_can_be_hidden(visit: Any) -> None:
    page = visit()
    button = page.locator("[data-legend-run='0']").first
    button.click()
    assert page.locator("#tradeoff .run-0, #panels .run-0").count() == 0
    assert button.get_attribute("aria-pressed") == "false"
    button.click()
    assert page.locator("#tradeoff .run-0 .point").count() == 7


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 400, 768, 1024, 1600])
def test_nothing_overflows_and_no_label_touches_another(visit: Any, width: int, scheme: str) -> None:
    page = visit(width=width, scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for name in ("Source loss", "KL, held-out", "Accuracy", "KL, source"):
        page.get_by_text(name, exact=True).first.click()
        assert page.evaluate(OVERLAPS) == []


@pytest.mark.parametrize(("width", "scheme"), [(400, "light"), (400, "dark"), (1600, "light"), (1600, "dark")])
def test_seeds_accuracies_and_maps_fit(visit: Any, seeded: dict[str, Any], width: int, scheme: str) -> None:
    page = visit(seeded, width=width, scheme=scheme)
    assert page.locator("#panels figure").count() == 8
    assert page.locator("table.heat").count() == 3
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for name in ("Source loss", "Accuracy", "KL, source"):
        page.get_by_text(name, exact=True).first.click()
        assert page.evaluate(OVERLAPS) == []


def test_a_label_is_told_once_with_its_range(visit: Any, seeded: dict[str, Any]) -> None:
    for seed, kl in enumerate((0.1, 0.2, 0.6)):
        seeded["runs"][seed]["final"]["source_kl"] = kl
    page = visit(seeded, pictures=False)
    assert page.locator("#tradeoff .run-0 .point.end").count() == 1
    assert page.locator("#tradeoff .run-0 .point.seed").count() == 3
    page.locator("#tradeoff .run-0 .point.end").focus()
    tip = page.locator("#tip").inner_text()
    assert "mean of 3 seeds (± one standard deviation)" in tip
    assert "0.300 ± 0.265" in tip
    page.locator("#panels svg.walk").nth(3).focus()
    page.keyboard.press("ArrowRight")
    tip = page.locator("#tip").inner_text()
    assert tip.count("LoRA\n") == 1
    assert "0.300 ± 0.265" in tip


def test_a_legend_shows_a_label_once_and_hides_all_its_seeds(visit: Any, seeded: dict[str, Any]) -> None:
    page = visit(seeded)
    legend = page.locator("[data-legend=path] button")
    assert legend.count() == 10
    assert page.locator("#panels .run-3 .band").count() == 8
    legend.nth(1).click()
    assert page.locator("#tradeoff .run-3, #panels .run-3").count() == 0


def test_fronts_and_published_points(visit: Any, seeded: dict[str, Any]) -> None:
    page = visit(seeded)
    assert page.locator("#tradeoff .front:not(.pareto)").count() == 2
    assert page.locator("#tradeoff .published").count() == 0
    page.get_by_text("Accuracy", exact=True).first.click()
    assert page.locator("#tradeoff .run-0 .published .far").count() == 1  # far beyond what was run here
    assert page.locator("#tradeoff .published").count() == 3
    page.locator("#tradeoff .run-0 .published").focus()
    tip = page.locator("#tip").inner_text()
    for text in ("as published (± one standard deviation)", "51.5% ± 0.9%", "24.0% ± 0.7%"):
        assert text in tip


def test_a_published_setting_that_was_not_run_is_grey_and_leads_nowhere(visit: Any, seeded: dict[str, Any]) -> None:
    page = visit(seeded)
    page.get_by_text("Accuracy", exact=True).first.click()
    mark = page.locator("#tradeoff .notrun .published")
    assert mark.count() == 1
    assert page.locator("#tradeoff text", has_text="Never run").count() == 1
    mark.focus()
    tip = page.locator("#tip").inner_text()
    assert "as published, not run here" in tip
    assert "90.0%" in tip
    page.keyboard.press("Enter")
    mark.click()
    assert page.locator("details[open]").count() == 0


def test_every_seed_is_joined_to_its_mean_in_every_view(visit: Any, seeded: dict[str, Any]) -> None:
    page = visit(seeded)
    for name in ("KL, source", "Source loss", "KL, held-out", "Accuracy"):
        page.get_by_text(name, exact=True).first.click()
        assert page.locator("#tradeoff .spoke").count() == 30
        assert page.locator("#tradeoff .run-3 .spoke").count() == 3
        end = page.locator("#tradeoff .run-3 .point.end .mark").get_attribute("transform")
        seeds = page.locator("#tradeoff .run-3 .point.seed .mark").evaluate_all(PLACES)
        joined = page.locator("#tradeoff .run-3 .spoke").evaluate_all(ENDS)
        x, y = (float(number) for number in end[len("translate(") : -1].split())
        assert [line[:2] for line in joined] == [pytest.approx(place, abs=0.06) for place in seeds]
        assert [line[2:] for line in joined] == [pytest.approx([x, y], abs=0.06)] * 3


PLACES = "(marks) => marks.map((m) => m.getAttribute('transform').match(/-?[0-9.]+/g).map(Number))"
ENDS = "(lines) => lines.map((l) => l.getAttribute('d').match(/-?[0-9.]+/g).map(Number))"


def test_each_seed_has_a_picture_of_its_own(visit: Any, seeded: dict[str, Any]) -> None:
    page = visit(seeded)
    picture = page.locator("section[aria-labelledby=h-each-seed] svg.picture")
    for seed in (0, 1, 2):
        assert picture.get_by_text(f"seed {seed}", exact=True).count() == 1


@pytest.mark.parametrize("width", [400, 1600])
def test_a_mark_leads_to_its_settings(visit: Any, seeded: dict[str, Any], width: int) -> None:
    page = visit(seeded, width=width)
    details = page.locator("#settings-0")
    assert details.get_attribute("open") is None
    page.locator("#tradeoff .run-0 .point.end").click()
    assert details.get_attribute("open") == ""
    page.wait_for_function("document.getElementById('settings-0').getBoundingClientRect().top < innerHeight")
    page.locator("#tradeoff .run-3 .point.end").focus()
    page.keyboard.press("Enter")
    assert page.locator("#settings-3").get_attribute("open") == ""
    assert page.evaluate("document.activeElement.parentElement.id") == "settings-3"


def test_a_finger_reads_first_and_opens_then(visit: Any, seeded: dict[str, Any]) -> None:
    page = visit(seeded, width=400)
    tap = """() => {
        const r = document.querySelector('#tradeoff .run-0 .point.end').getBoundingClientRect();
        const at = { clientX: r.x + r.width / 2, clientY: r.y + r.height / 2, pointerType: 'touch', bubbles: true };
        document.querySelector('#tradeoff svg').dispatchEvent(new PointerEvent('click', at));
        return document.getElementById('settings-0').open;
    }"""
    assert page.evaluate(tap) is False
    assert "mean of 3 seeds" in page.locator("#tip").inner_text()
    assert page.evaluate(tap) is True


OVERLAPS = """() => [...document.querySelectorAll('.plot svg')].flatMap((svg) => {
    const texts = [...svg.querySelectorAll('text')].map((t) => [t.textContent, t.getBoundingClientRect()]);
    const frame = svg.getBoundingClientRect();
    const apart = (a, b) => a.right <= b.left || b.right <= a.left || a.bottom <= b.top + 3 || b.bottom <= a.top + 3;
    const touching = ([a, p], i) => texts.slice(i + 1).filter(([, q]) => !apart(p, q)).map(([b]) => a + ' | ' + b);
    const sticksOut = ([, p]) => p.left < frame.left - 2 || p.right > frame.right + 8;
    return [...texts.flatMap(touching), ...texts.filter(sticksOut).map(([a]) => a + ' sticks out')];
})"""


@pytest.mark.parametrize("width", [400, 1600])
def test_many_runs_keep_the_plots_readable(visit: Any, results: dict[str, Any], width: int) -> None:
    template = results["runs"]
    results["runs"] = [
        {**run, "seed": seed, "method": method, "label": f"{method} {run['strength']}", "name": f"{method}-{seed}-{i}"}
        for method in ("lora", "lalora", "l2", "migu", "milora", "corda", "ewc")
        for seed in (0, 1)
        for i, run in enumerate(template)
    ]
    page = visit(results, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(OVERLAPS) == []


def test_the_dark_page_is_dark(visit: Any) -> None:
    shade = "getComputedStyle(document.body).backgroundColor"
    assert visit(scheme="light").evaluate(shade) == "rgb(246, 247, 248)"
    assert visit(scheme="dark").evaluate(shade) == "rgb(16, 18, 22)"


def test_plots_follow_the_width_of_the_window(visit: Any) -> None:
    page = visit(width=1600)
    page.set_viewport_size({"width": 400, "height": 900})
    page.wait_for_function("document.querySelector('#tradeoff svg').width.baseVal.value < 400")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_scaled_adapters_are_thin_lines_to_the_end_of_their_run(visit: Any) -> None:
    page = visit()
    assert page.locator("#tradeoff .run-1 .scaled").get_attribute("d").count("L") == 2
    page.locator("input[value=heldout_kl]").check()
    assert page.locator("#tradeoff .scaled").count() == 3


def test_softened_adapters_are_dotted_lines(visit: Any) -> None:
    page = visit()
    assert page.locator("#tradeoff .run-1 .softened").get_attribute("d").count("L") == 2
    page.locator("input[value=heldout_kl]").check()
    assert page.locator("#tradeoff .softened").count() == 3


def test_rivals_after_training_are_marked_lines_from_the_end_of_their_run(visit: Any) -> None:
    page = visit()
    assert page.locator("#tradeoff .run-1 .rival-1 .after").get_attribute("d").count("L") == 2
    assert page.locator("#tradeoff .run-1 .rival-1 .mark title").first.text_content() == "LaLoRA λ=1, RegMean λ = 0.25"
    page.locator("input[value=heldout_kl]").check()
    assert page.locator("#tradeoff .after").count() == 6


@pytest.mark.parametrize("runs", [[], [{"name": "bare", "method": "lalora", "label": "Bare"}]])
def test_a_page_with_nothing_to_plot(visit: Any, runs: list[dict[str, Any]]) -> None:
    page = visit({"format": 1, "name": "little", "base": {}, "runs": runs})
    assert "Nothing was measured" in page.locator("#tradeoff").inner_text()


def test_names_that_look_like_code_stay_text(visit: Any, results: dict[str, Any]) -> None:
    bad = "</script><script>console.log('ran')</script><img src=x onerror=console.log('ran')>"
    for run in results["runs"]:
        run |= {"label": bad, "name": bad}
    page = visit(results)
    page.locator("#tradeoff .run-1 .point.end").hover()
    assert bad in page.locator("#tip").inner_text()


def test_prints_on_light_paper(visit: Any) -> None:
    page = visit(scheme="dark")
    assert page.pdf().startswith(b"%PDF")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


@pytest.fixture
def crowded(results: dict[str, Any]) -> dict[str, Any]:
    """Plain LoRA and fourteen settings of LaLoRA, the last of which learned next to nothing, measured at one step."""
    plain, template, _ = results["runs"]
    gains = [0.70 + 0.002 * k for k in range(13)] + [0.01]
    runs = []
    for k, gain in enumerate(gains):
        final = {
            **template["final"],
            "target_loss": results["base"]["target_loss"] - gain,
            "source_kl": 0.05 + 0.01 * k,
        }
        told = {"label": f"LaLoRA λ={k}", "name": f"lalora-{k}", "strength": k}
        runs.append({**template, **told, "curve": [], "final": {**final, "forecast": 1e-5 * 2**k}})
    return {**results, "runs": [{**plain, "curve": []}, *runs]}


def test_many_settings_are_ends_and_a_front_without_their_ways(visit: Any, crowded: dict[str, Any]) -> None:
    crowded["runs"][3]["curve"] = crowded["runs"][0]["curve"] = [dict(crowded["base"], step=0)]
    page = visit(crowded, pictures=False)
    way = page.locator("#tradeoff .run-3 > g > .way")
    assert way.is_hidden()
    page.locator("#tradeoff .run-3 .point.end").focus()
    assert way.is_visible()
    assert page.locator("#tradeoff .pareto").count() == 1
    # A far end is a triangle at the edge, told with its place; the base model too.
    assert page.locator("#tradeoff .far").count() == 1
    assert page.locator("#tradeoff .run-14 .far").count() == 1
    told = page.locator("#tradeoff .beyond").inner_text()
    for text in ("base model (0.000, 0.000)", "LaLoRA λ=13 (0.010, 0.180)", "1.5 interquartile ranges"):
        assert text in told
    # Of names that would touch, plain LoRA's and the headline's are there.
    names = page.locator("#tradeoff text.name").all_text_contents()
    assert "LoRA" in names
    assert page.locator(".versus b").inner_text() in names
    # A name a method in the legend hides all its settings.
    legend = page.locator("[data-legend=path] button")
    assert legend.all_inner_texts() == ["LoRA", "LaLoRA, 14 settings"]
    legend.nth(1).click()
    assert page.locator("#tradeoff .point.end").count() == 1
    assert legend.nth(1).get_attribute("aria-pressed") == "false"


def test_one_step_has_one_tick_and_decades_are_logarithmic(visit: Any, crowded: dict[str, Any]) -> None:
    page = visit(crowded, pictures=False)
    ticks = page.locator("#stepwise text:not(.title)").all_text_contents()
    assert ticks.count("60") == 1
    assert not [text for text in ticks if "60." in text or text in ("59", "61")]
    assert "predicted: ½ΔᵀΛΔ, nats per token, log scale →" in page.locator("#predicted text.title").all_text_contents()
    assert page.locator("#predicted text", has_text="10⁻⁴").count() == 1


def test_what_is_hidden_is_hidden_in_pictures_too_which_are_dark_in_the_dark(
    visit: Any, seeded: dict[str, Any]
) -> None:
    page = visit(seeded, scheme="dark")
    marks = page.locator("section[aria-labelledby=h-each-seed] .picture [data-run='3'] use").first
    assert marks.is_visible()
    colours = [look.dark for look in found(seeded).looks]
    fill = page.evaluate("(node) => getComputedStyle(node).fill", marks.element_handle())
    channels = [int(number) for number in fill[4:-1].split(", ")]
    assert max(abs(one - other) for one, other in zip(channels, bytes.fromhex(colours[3][1:]), strict=True)) <= 3
    page.locator("[data-legend=path] button").nth(1).click()
    assert marks.is_hidden()
    assert page.locator("section[aria-labelledby=h-each-seed] .picture [data-run='0'] use").first.is_visible()
