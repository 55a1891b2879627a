"""The page of a run: what stands on it, what never does, and that the same run gives the same bytes."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.reports.page_run import ANSWERED, ASKED, MODELS, made_run
from tests.support import wardround
from wardround.errors import JournalError
from wardround.journal import Journal
from wardround.reports.page import run_page, write_page

HOSTILE = {
    "<script>alert(1)</script>": ("biomedical", 0.6),
    'x" onmouseover="alert(1)': ("general", 0.9),
    "<img src=x onerror=alert(1)>": ("other", 0.5),
    "[click](javascript:alert(1)) $\\frac$ & \x1b[31mred\x1b[0m \u202etxt": ("baseline", 0.4),
}
TWO = {"a": ("other", 0.9), "b": ("other", 0.1)}
SMALL = {"mednli": (12, {"closed-book": (0.0, None)})}


class _Seen(HTMLParser):
    """The tags, attributes and words of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def page_of(folder: Path) -> str:
    with Journal.open(folder) as journal:
        return run_page(journal)


def seen(page: str) -> _Seen:
    parser = _Seen()
    parser.feed(page)
    return parser


def headings(page: str) -> list[str]:
    return re.findall(r"<h2[^>]*>([^<]+)</h2>", page)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_run(tmp_path_factory.mktemp("page") / "run")


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return page_of(run)


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    first, second, *_ = HOSTILE
    folder = made_run(
        tmp_path_factory.mktemp("hostile") / "run",
        models=HOSTILE,
        pairs=[(first, second)],
        labels={"mednli": "<b>task</b>", "longhealth_t1": "$t$_1", "bm25": "<arm onload=x>"},
    )
    return page_of(folder)


def test_the_verdict_comes_first_and_every_part_has_its_place(page: str) -> None:
    assert headings(page) == [
        "What the run shows",
        "Pairs of models",
        "Every model on every task",
        "Level 1 against Level 2",
        "Accuracy against speed and cost",
        "Arms: what the models were shown",
        "Questions that the documents cannot answer",
        "Answers that could not be read, and failures",
        "Method and provenance",
    ]


def test_the_contents_lead_to_parts_that_are_there(page: str) -> None:
    found = seen(page)
    links = {value for name, value in found.attributes if name == "href"}
    assert links
    assert {link for link in links if not link.startswith("#") or link[1:] not in found.ids} == set()


def test_the_pair_of_the_study_has_its_sentence_with_every_task(page: str) -> None:
    line = re.search(r"<li>(bio-8b against plain-8b: [^<]+)</li>", page)
    assert line is not None
    with_counts = {"no": 0, "one": 1, "two": 2, "three": 3, "four": 4}
    said = sum(with_counts[word] for word in re.findall(r"on (\w+) (?:other )?tasks?", line[1]))
    named = sum(task in line[1] for task in ("mednli", "longhealth_t1", "longhealth_t2", "longhealth_t3"))
    assert said + named == 4


def test_every_figure_names_itself_and_has_its_numbers_in_a_table_behind_it(page: str) -> None:
    figures = re.findall(r"<figure>(.*?)</figure>(.{0,60})", page, re.S)
    assert len(figures) >= 7
    for figure, after in figures:
        for svg in re.findall(r"<svg.*?</svg>", figure, re.S):
            assert re.search(r"<title>[^<]+</title><desc>[^<]+</desc>", svg)
        assert 'role="img"' in figure
        assert "<details>" in after or "Arms" in figure or "longhealth_t1" in figure


def test_the_heat_map_shows_the_values_of_the_report(page: str, run: Path) -> None:
    printed = wardround("report", run, cwd=run.parent).stdout
    values = re.findall(r"^(\S+) +mednli +closed-book +\d+ +accuracy +([\d.]+)", printed, re.M)
    assert len(values) == len(MODELS)
    for model, value in values:
        assert re.search(rf"{model}: mednli {value}[*°]*", page), (model, value)


def test_the_hit_rates_of_arms_stand_beside_their_accuracy(page: str) -> None:
    table = page[page.index("Every arm of every task that was asked in several") :]
    row = re.search(r"<th scope=\"row\">longhealth_t1</th><td>bm25</td><td>bio-8b</td>(.*?)</tr>", table)
    assert row is not None
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", row[1])
    number, right, _, hit, right_given_hit, *quadrants = cells[:9]
    assert sum(int(one) for one in quadrants) == int(number)
    grounded, lucky, ignored, _ = (int(one) for one in quadrants)
    assert float(right) == pytest.approx(100 * (grounded + lucky) / int(number), abs=0.05)
    assert float(hit) == pytest.approx(100 * (grounded + ignored) / int(number), abs=0.05)
    assert float(right_given_hit) == pytest.approx(100 * grounded / (grounded + ignored), abs=0.05)


def test_made_up_answers_are_told_from_abstentions_and_unreadable_ones(page: str) -> None:
    table = page[page.index("What was answered where there is no answer") :]
    rows = re.findall(r'<th scope="row">longhealth_t3</th><td>full</td>(.*?)</tr>', table)
    assert len(rows) == len(MODELS)
    for row in rows:
        shares = [float(one) for one in re.findall(r'<td class="number">([\d.]+)</td>', row)[1:]]
        assert sum(shares) == pytest.approx(100, abs=0.3)


def test_failures_are_counted_by_kind(page: str, run: Path) -> None:
    with Journal.open(run) as journal:
        kinds = dict(journal.read("SELECT kind, count(*) FROM failures GROUP BY kind"))
    named = ", ".join(f"{kind.replace('_', ' ')} {number}" for kind, number in sorted(kinds.items()))
    assert f"Without a reply: {named}." in page
    assert f"{kinds['timeout']} timeout" in page


def test_baselines_of_the_embedded_server_have_no_speed_and_no_cost(page: str) -> None:
    table = page[page.index("Accuracy, speed and price over the tasks") :]
    table = table[: table.index("</table>")]
    assert re.findall(r'<th scope="row">([^<]+)</th>', table) == ["bio-8b", "plain-8b", "hosted"]


def test_method_tells_versions_seed_hashes_guard_and_limits(page: str) -> None:
    method = page[page.index('id="method"') :]
    for words in (
        "0.1.0",
        "3.11.7",
        "ab" * 32,
        "seed sent to the servers</th><td>4<",
        "loopback",
        "10,000 resamples",
        "max tokens 64, temperature 0.0",
    ):
        assert words in method, words


def test_the_password_of_an_address_is_not_on_the_page(page: str) -> None:
    assert "a-password" not in page
    assert "http://127.0.0.1:8000/v1" in page


def test_no_text_of_a_prompt_or_an_answer_is_on_the_page(page: str, run: Path) -> None:
    assert ASKED not in page
    assert ANSWERED not in page
    with Journal.open(run) as journal:
        samples = [sample for (sample,) in journal.read("SELECT sample FROM samples")]
    assert [sample for sample in samples if f">{sample}<" in page] == []


def test_the_page_asks_no_network_and_runs_nothing(page: str) -> None:
    found = seen(page)
    assert found.tags & {"script", "link", "iframe", "object", "img", "form", "base", "image", "use"} == set()
    assert [name for name, _ in found.attributes if name.startswith("on") or name in ("src", "xlink:href")] == []
    assert "default-src 'none'" in page
    assert "@import" not in page
    assert re.findall(r"url\((?!#)", page) == []


def test_no_identifier_stands_twice(page: str) -> None:
    ids = seen(page).ids
    assert len(ids) == len(set(ids))


def test_a_hostile_name_is_text(hostile_page: str) -> None:
    found = seen(hostile_page)
    assert found.tags & {"script", "img", "b", "arm"} == set()
    assert [name for name, _ in found.attributes if name.startswith("on")] == []
    words = " ".join(found.words)
    for name in ("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<b>task</b>", "<arm onload=x>", "$t$_1"):
        assert name in words, name
    assert "[click](javascript:alert(1))" in words


def test_control_characters_are_shown_and_sent_nowhere(hostile_page: str) -> None:
    assert set(re.findall(r"[^\n\t\x20-\U0010ffff]|[\u202a-\u202e\x7f-\x9f]", hostile_page)) == set()
    assert "\ufffd[31mred" in hostile_page


def test_the_same_run_gives_the_same_bytes_in_another_process(page: str, run: Path, tmp_path: Path) -> None:
    other = tmp_path / "page.html"
    code = (
        "import sys; from pathlib import Path; from wardround.journal import Journal;"
        "from wardround.reports.page import write_page;"
        "journal = Journal.open(Path(sys.argv[1])); write_page(journal, Path(sys.argv[2]))"
    )
    environment = {"PYTHONHASHSEED": "77", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    subprocess.run([sys.executable, "-c", code, str(run), str(other)], env=environment, check=True, timeout=120)
    assert other.read_bytes() == page.encode()


def test_the_command_writes_beside_the_run_where_no_file_is_named(run: Path, page: str, tmp_path: Path) -> None:
    done = wardround("report", run, "--html", cwd=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, str(run / "report.html"))
    assert (run / "report.html").read_text(encoding="utf-8") == page


def test_the_command_writes_the_file_that_is_named(run: Path, tmp_path: Path) -> None:
    done = wardround("report", run, "--html", "mine.html", "--profile", "strict", cwd=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "mine.html")
    assert (tmp_path / "mine.html").stat().st_size > 10_000


def test_a_file_that_cannot_be_written_is_one_line(run: Path, tmp_path: Path) -> None:
    with Journal.open(run) as journal, pytest.raises(JournalError, match="cannot be written"):
        write_page(journal, tmp_path / "none" / "page.html")


def test_a_run_of_one_model_without_arms_says_what_it_cannot_show(tmp_path: Path) -> None:
    page = page_of(made_run(tmp_path / "run", models={"alone": ("other", 0.8)}, tasks=SMALL, pairs=[]))
    assert headings(page) == [
        "What the run shows",
        "Every model on every task",
        "Level 1 against Level 2",
        "Accuracy against speed and cost",
        "Answers that could not be read, and failures",
        "Method and provenance",
    ]
    assert "Nothing was compared" in page
    assert "The study has tasks of Level 1 alone." in page


def test_a_run_of_baselines_alone_says_that_their_speed_is_no_models(tmp_path: Path) -> None:
    models = {"one": ("baseline", 0.9), "other": ("baseline", 0.2)}
    page = page_of(made_run(tmp_path / "run", models=models, tasks=SMALL, pairs=[("one", "other")]))
    assert "Only baselines of the embedded server were asked" in page
    assert "one against other" in page


def test_a_run_without_an_answer_has_a_page(tmp_path: Path) -> None:
    folder = made_run(tmp_path / "run", models={"a": ("biomedical", 0.5), "b": ("general", 0.5)}, tasks=SMALL)
    with Journal.open(folder) as journal, journal.transaction():
        for table in ("scores", "replies", "failures"):
            journal.write(f"DELETE FROM {table} WHERE ? IS NOT NULL", [(1,)])
    page = page_of(folder)
    assert "Incomplete: 24 samples without a reply (24 not asked)" in page
    assert "No model has answered all tasks that are compared here." in page


def test_invented_samples_are_said_to_say_nothing_about_models(tmp_path: Path) -> None:
    folder = made_run(tmp_path / "run", models=TWO, tasks=SMALL, pairs=[])
    with Journal.open(folder) as journal:
        journal.put_manifest({"tasks": {"mednli": {"invented": True}}})
    assert "All samples are invented" in page_of(folder)


def test_arms_of_many_models_are_a_heat_map_with_the_hit_rate_on_top(tmp_path: Path) -> None:
    models = {f"model-{place}": ("other", 0.1 * place) for place in range(8)}
    arms = {"longhealth:longhealth_t1": (5, {"closed-book": (0.0, 0.0), "bm25": (0.0, 1.0)})}
    page = page_of(made_run(tmp_path / "run", models=models, tasks=arms, pairs=[]))
    figure = page[page.index("longhealth_t1: accuracy in each arm</h3>") :]
    assert "hit rate of the evidence: closed-book 0.0, bm25 100.0; model-0: " in figure[: figure.index("</figure>")]


def test_many_models_and_long_names_stay_within_their_figures(tmp_path: Path) -> None:
    models = {f"a-model-of-a-family-with-a-long-name-{place}-" + "x" * 150: ("other", 0.5) for place in range(3)}
    page = page_of(made_run(tmp_path / "run", models=models, tasks=SMALL, pairs=[]))
    for svg in re.findall(r"<svg.*?</svg>", page, re.S):
        drawn = re.findall(r"<text[^>]*>(?:<title>[^<]*</title>)?([^<]*)</text>", svg)
        assert max(map(len, drawn), default=0) < 60
