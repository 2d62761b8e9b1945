"""Reports of real registrations in a real browser: what it loads, says, shows, and how it can be used."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest

from Testing.report.browser import A4_WIDTH, Page
from Testing.report.conftest import Written

NUMBERS = """Array.from(document.querySelectorAll('[data-metric]'), cell =>
    ({path: JSON.parse(cell.dataset.metric), digits: +cell.dataset.digits, text: cell.textContent}))"""
CUT = """Array.from(document.querySelectorAll('body *')).filter(part => part.closest('.scroll') === null &&
    part.closest('.skip, svg, nav') === null && part.getBoundingClientRect().right > innerWidth + 1)
    .map(part => part.tagName + ' ' + part.className)"""
# Contrast of each text with what is behind it (WCAG 2.2, relative luminance), where it is below 4.5.
FAINT = """(() => {
  const parts = color => color.match(/[\\d.]+/g).map(Number);
  const light = color => { const [r, g, b] = parts(color).map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126*r + 0.7152*g + 0.0722*b; };
  const opaque = color => parts(color).length < 4 || parts(color)[3] > 0;
  const behind = part => { for (; part; part = part.parentElement) {
      const color = getComputedStyle(part).backgroundColor; if (opaque(color)) return color; }
    return 'rgb(255,255,255)'; };
  return Array.from(document.querySelectorAll('body *')).filter(part => part.checkVisibility() &&
      Array.from(part.childNodes).some(node => node.nodeType === 3 && node.textContent.trim())).map(part => {
    const style = getComputedStyle(part);
    const ink = part instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [light(ink), light(behind(part))].sort((x, y) => y - x);
    return {what: part.tagName + ': ' + part.textContent.slice(0, 30), contrast: (a + 0.05) / (b + 0.05)};
  }).filter(found => found.contrast < 4.5);
})()"""
# By how many pixels each table is wider than its place.
WIDE = "Array.from(document.querySelectorAll('.scroll'), s => s.scrollWidth - s.clientWidth)"


def test_opens_without_a_complaint_or_a_request_and_shows_all_pictures(page: Page, written: Written) -> None:
    page.requests.clear()
    page.complaints.clear()
    page.open(written.report)
    assert page.complaints == []
    asked = {url.split(":", 1)[0] for url in page.requests}
    assert asked <= {"file", "data"}
    assert [url for url in page.requests if url.startswith("file")] == [written.report.resolve().as_uri()]
    pictures = page.run("Array.from(document.images, image => [image.naturalWidth, image.complete, image.alt])")
    assert len(pictures) >= 3 * 8 + 3
    for width, complete, alternative in pictures:
        assert width > 50
        assert complete
        assert len(alternative) > 20
    assert page.run("document.scripts.length") == 0
    assert written.report.stat().st_size < 6e6


def test_shows_the_numbers_of_the_metrics_file(page: Page, written: Written) -> None:
    page.open(written.report)
    shown = page.run(NUMBERS)
    paths = {tuple(cell["path"]) for cell in shown}
    (structure,) = written.metrics["dice"]
    assert {("dice", structure, "before"), ("hd95_mm", structure, "after"), ("jacobian", "sdlogj")} <= paths
    if "tre_mm" in written.metrics:
        assert {("tre_mm", when, key) for when in ("before", "after") for key in ("mean", "max")} <= paths
    for cell in shown:
        value = written.metrics
        for key in cell["path"]:
            value = value[key]
        expected = "not defined" if value is None else f"{value:.{cell['digits']}f}"
        assert cell["text"] == expected, cell["path"]


def test_verdict_and_provenance_are_those_of_the_metrics(page: Page, written: Written) -> None:
    page.open(written.report)
    text = re.sub(r"\s+", " ", page.run("document.body.innerText"))
    assert written.metrics["provenance"]["torch"] in text
    assert written.metrics["device"] in text
    for warning in written.metrics["warnings"]:
        assert warning in text
    if written.metrics["model"]:
        assert written.metrics["model"] in text
        assert written.metrics["provenance"]["model_sha256"] in text
    verdict = written.metrics.get("verdict")
    assert page.run("document.querySelectorAll('.verdict').length") == (1 if verdict else 0)
    if verdict:
        assert page.run(f"document.querySelector('.verdict').classList.contains('{verdict['level']}')")
        for reason in verdict["reasons"]:
            assert re.sub(r"\s+", " ", reason["text"]) in text


def test_names_no_file(written: Written) -> None:
    source = re.sub(r"base64,[^']*", "", written.report.read_text(encoding="utf-8"))
    for name in (".nii", ".nrrd", "/tmp", "SampleCase", "chaos", "totalsegmentator"):
        assert name not in source


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 1100, A4_WIDTH, 390])
def test_reads_at_every_width_and_in_the_dark(page: Page, lung: Written, width: int, dark: bool) -> None:
    page.open(lung.report, width, dark=dark)
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    if width >= 1100:  # a window beside another one
        assert max(page.run(WIDE)) <= 1  # no table scrolls
    assert page.run(CUT) == []
    assert page.run(FAINT) == []


def test_structure_is_told_to_those_who_do_not_see_it(page: Page, written: Written) -> None:
    page.open(written.report)
    levels = page.run("Array.from(document.querySelectorAll('h1,h2,h3,h4'), h => +h.tagName[1])")
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert page.run("document.documentElement.lang") == "en"
    assert page.run("document.querySelectorAll('th:not([scope])').length") == 0
    assert page.run("document.querySelectorAll('table:not(:has(caption))').length") == 0
    assert page.run("document.querySelectorAll('svg:not([aria-hidden]):not([role=img][aria-label])').length") == 0
    identities = page.run("Array.from(document.querySelectorAll('[id]'), part => part.id)")
    assert len(identities) == len(set(identities))
    targets = page.run("Array.from(document.querySelectorAll('a[href^=\"#\"]'), a => a.hash.slice(1))")
    assert set(targets) <= set(identities)


def test_can_be_used_with_the_keyboard_alone(page: Page, lung: Written) -> None:
    page.open(lung.report)
    page.press("Tab")
    assert page.run("document.activeElement.className") == "skip"
    page.press("Enter")
    assert page.run("document.activeElement.id") == "main"
    page.run("document.querySelector('#axial-1-4 a').focus()")
    page.press("Enter")
    box = "(b => [b.width, b.height])(document.querySelector(':target').getBoundingClientRect())"
    assert page.run(box) == page.run("[innerWidth, innerHeight]")
    steps = page.run("Array.from(document.querySelectorAll(':target nav a'), a => a.textContent)")
    assert steps[:3] == ["Fixed", "Before", "After"]
    for _ in range(4):  # the picture, and the third link below it
        page.press("Tab")
    assert page.run("document.activeElement.textContent") == "After"
    page.press("Enter")
    assert page.run("document.querySelector(':target').id") == "axial-1-3"
    page.run("Array.from(document.querySelectorAll(':target nav a')).at(-1).focus()")
    page.press("Enter")
    assert page.run("document.querySelectorAll('.picture:target').length") == 0


def test_prints_on_a4(page: Page, lung: Written, tmp_path: Path) -> None:
    page.open(lung.report, dark=True)
    page.pdf(tmp_path / "report.pdf")
    content = (tmp_path / "report.pdf").read_bytes()
    boxes = {tuple(float(n) for n in box.split()) for box in re.findall(rb"/MediaBox \[([^\]]*)\]", content)}
    assert len(boxes) == 1
    assert boxes.pop()[2:] == pytest.approx((595, 842), abs=1.5)
    assert 3 <= len(re.findall(rb"/Type /Page\b", content)) <= 6
    page.show(A4_WIDTH - 91, dark=True, medium="print")  # between the margins of 12 mm
    assert max(page.run(WIDE)) <= 1  # nothing to scroll on paper
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    whole = "main figure, main tr, .row, .verdict, .tiles div"
    rules = page.run(f"Array.from(document.querySelectorAll('{whole}'), p => getComputedStyle(p).breakInside)")
    assert set(rules) == {"avoid"}
    tallest = page.run("Math.max(...Array.from(document.querySelectorAll('.row'), p => p.offsetHeight))")
    assert tallest < 1020  # CSS pixels between the margins of A4: what may not break must fit
    page.show(1280)


def test_policy_forbids_scripts_and_the_network(page: Page, lung: Written, tmp_path: Path) -> None:
    source = lung.report.read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', source)
    assert policy is not None
    assert policy.group(1).startswith("default-src 'none';")
    assert "unsafe" not in policy.group(1)
    tampered = tmp_path / "tampered.html"
    extra = "<script>document.title = 'ran'</script><img src='http://127.0.0.1:9/x.png'>"
    tampered.write_text(source.replace("</main>", extra + "</main>"), encoding="utf-8")
    page.open(tampered)
    assert page.run("document.title") == "Registration report"
    assert len(page.complaints) >= 2
    assert all("Content Security Policy" in complaint for complaint in page.complaints)
    page.complaints.clear()


def test_numbers_file_and_report_agree_on_the_stage_times(lung: Written, page: Page) -> None:
    page.open(lung.report)
    stages = page.run(
        "Array.from(document.querySelectorAll('[data-metric^=\\'[\"seconds\"\\']'), c => c.dataset.metric)"
    )
    assert {json.loads(path)[1] for path in stages} == set(lung.metrics["seconds"])
