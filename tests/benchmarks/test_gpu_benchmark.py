"""`scripts/gpu` is ready for the hour when a GPU is there: its rehearsal runs every check on the CPU."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.processes import fkd_environment

from fkd.examples.scenes import Scenes
from fkd.sources import list_images

ROOT = Path(__file__).parents[2]
PHASES = ["right", "label speed", "train speed", "loss", "worth"]


@pytest.mark.whole
def test_the_rehearsal_runs_every_check_and_says_what_it_is(tmp_path):
    done = subprocess.run(
        [ROOT / "scripts" / "gpu", "--tiny", "--device", "cpu", "--out", tmp_path / "out"],
        env=fkd_environment() | {"PYTHON": sys.executable}, cwd=tmp_path, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out" / "gpu.json").read_text())
    checks = report["checks"]
    assert {name: check["trouble"] for name, check in checks.items() if check["trouble"]} == {}
    assert list(dict.fromkeys(name.split(":")[0] for name in sorted(checks))) == sorted(PHASES)
    assert all(check["rows"] for check in checks.values())
    named = {name: {row["what"]: row["figures"] for row in c["rows"]} for name, c in checks.items()}
    for name in ("label speed: resnet50, compiled", "train speed: resnet50, compiled"):
        fed = {what: figures for what, figures in named[name].items() if " renders" in what}
        assert len(fed) == 2
        for what, figures in fed.items():
            assert figures["held back by"]
            assert figures["device: network"] != "0%"
            assert (figures["device: rendering"] != "0%") == ("device renders" in what)
    wrong = [row for check in checks.values() for row in check["rows"] if row["ok"] is False]
    assert wrong == []
    page = (tmp_path / "out" / "gpu.md").read_text()
    assert "Nothing here was measured on a GPU" in page
    assert all(f"### {name.split(': ', 1)[1]}" in page for name in checks)


def test_few_photos_are_of_all_classes(tmp_path, monkeypatch):
    """A run that is no rehearsal labels few photos first; the classes of more must be theirs."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from gpu_phases.findings import Setting

    few = Scenes(train_per_class=10, val_per_class=0, short_side=(40, 40), aspect=(1.0, 1.0))
    monkeypatch.setattr(Setting, "photo_scenes", lambda self: few)
    setting = Setting(tmp_path, "cpu", False, time.time() + 100)
    some, more = (list_images(setting.photos(count)) for count in (20, 250))
    assert some.classes == more.classes
    assert len(some.classes) == 10
    assert [len(listed) for listed in (some, more)] == [20, 250]
    files = {Path(more.name(n)).resolve() for n in range(250)}
    assert len(files) == 100


def test_what_is_timed_waits_for_compilers_while_there_is_time(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from gpu_phases.findings import ENOUGH_TO_TIME, Setting

    for number, (seconds, compiling) in enumerate([(0.3, True), (-1, True), (60, False)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / ("x.compiling" if compiling else "x.seconds")).touch()
        began = time.time()
        Setting(folder, "cpu", False, began + ENOUGH_TO_TIME + seconds).compiled()
        assert time.time() - began >= (0.3 if seconds == 0.3 else 0)
        assert time.time() - began < 30


def found(rows, trouble="", version=1):
    rows = [{"what": f"row {n}", "figures": {"n": n}, "ok": True} for n in range(rows)]
    said = {"question": "?", "rows": rows, "seconds": 1.0, "trouble": trouble}
    return {**said, "version": version, "stale": False}


TOO_LONG, NO_TIME, BROKE = "the process took too long", "no time was left", "ValueError: no luck"


@pytest.mark.parametrize(
    ("earlier", "later", "kept"),
    [
        (None, found(2), "later"),
        (found(2), None, "earlier"),
        (found(2), found(1), "later"),
        (found(2), found(0, NO_TIME), "earlier"),
        (found(2), found(1, TOO_LONG), "earlier"),
        (found(2), found(1, BROKE), "later"),
        (found(2, TOO_LONG), found(1, TOO_LONG), "earlier"),
        (found(1, TOO_LONG), found(2, TOO_LONG), "later"),
        (found(2, BROKE), found(3), "later"),
        (None, found(0, NO_TIME), "neither"),
    ],
)
def test_a_run_keeps_what_earlier_ones_found_and_it_did_not(
    earlier, later, kept, tmp_path, monkeypatch
):
    """Each check with the date of its own run, on paper too."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from gpu_phases import page, record
    from gpu_phases.findings import Check

    checks = [Check("right", "pixels", 1, lambda _: iter(())), Check("loss", "time", 1, found)]
    heads = {"earlier": "2026-01-01", "later": "2026-02-02"}
    command = ["python", "benchmarks/gpu.py", "--images", "/home/me/photos"]
    for date, entry in zip(heads.values(), (earlier, later), strict=True):
        head = {"cuda": True, "device": "a GPU", "command": record.plain(command), "date": date}
        report = record.known(tmp_path / "gpu.json", checks) or record.blank(head, checks)
        report = record.add(report, head, {} if entry is None else {"right: pixels": entry})
        page.write(report, tmp_path)
    stored = json.loads((tmp_path / "gpu.json").read_text())
    pixels, text = stored["checks"]["right: pixels"], (tmp_path / "gpu.md").read_text()
    assert stored["about"]["date"] == heads["later"]
    assert "| date | 2026-02-02 |" in text
    assert "/home" not in text
    assert "--images photos" in text
    assert "**loss: time.**" in text.split("## Not run yet")[1]
    assert "## What a CPU could tell" in text
    if kept == "neither":
        assert pixels["trouble"] == "not run yet"
        assert record.missing(report) == ["right: pixels", "loss: time"]
        return
    entry = {"earlier": earlier, "later": later}[kept]
    assert (pixels["rows"], pixels["trouble"]) == (entry["rows"], entry["trouble"])
    assert pixels["about"]["date"] == heads[kept]
    assert ("1 s, 2026-01-01." in text) == (kept == "earlier")
    assert ("right: pixels" in record.missing(report)) == bool(entry["trouble"])


@pytest.mark.parametrize(
    ("later", "replaced"),
    [(None, False), (found(2, TOO_LONG, 2), True), (found(0, TOO_LONG, 2), False),
     (found(1, "", 2), True)],
)  # fmt: skip
def test_what_was_found_of_earlier_code_is_shown_as_such_and_runs_again(
    later, replaced, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from gpu_phases import page, record
    from gpu_phases.findings import Check

    about = {"cuda": True, "device": "a GPU", "command": "python benchmarks/gpu.py"}
    old, new = ([Check("right", "pixels", 1, lambda _: iter(()), version=v)] for v in (1, 2))
    earlier = found(3)
    del earlier["version"], earlier["stale"]  # as those who knew no versions wrote it
    page.write(record.add(record.blank(about, old), about, {"right: pixels": found(3)}), tmp_path)
    stored = json.loads((tmp_path / "gpu.json").read_text())
    stored["checks"]["right: pixels"] = earlier
    (tmp_path / "gpu.json").write_text(json.dumps(stored))

    report = record.known(tmp_path / "gpu.json", new)
    assert report["checks"]["right: pixels"]["stale"]
    assert record.missing(report) == ["right: pixels"]
    report = record.add(report, about, {} if later is None else {"right: pixels": later})
    kept = report["checks"]["right: pixels"]
    assert len(kept["rows"]) == (len(later["rows"]) if replaced else 3)
    assert kept["stale"] != replaced
    assert (page.STALE in page.page(report)) != replaced
    left = [] if replaced and not later["trouble"] else ["right: pixels"]
    assert record.missing(report) == left
    if replaced:
        again = record.add(report, about, {"right: pixels": found(5) | {"stale": True}})
        assert again["checks"]["right: pixels"] == kept


@pytest.mark.parametrize(
    "text",
    ['{"about"', "[]", '{"about": {"command": "x"}, "checks": {"right: pixels": {}}}'],
)
def test_a_damaged_file_of_findings_is_refused_and_kept(text, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from gpu_phases import record
    from gpu_phases.findings import Check

    (tmp_path / "gpu.json").write_text(text)
    with pytest.raises(ValueError, match=r"gpu\.json is damaged .*restore it, or move it away"):
        record.known(tmp_path / "gpu.json", [Check("right", "pixels", 1, lambda _: iter(()))])
    assert (tmp_path / "gpu.json").read_text() == text


def test_what_runs_beside_others_has_ended_before_anything_is_timed(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from gpu_phases.findings import Check
    from gpu_phases.lanes import parts

    kinds = {"r": ("right", False), "b": ("right", True), "t": ("label speed", False)}
    checks = [
        Check(phase, str(n), 1, found, beside=beside)
        for n, (phase, beside) in enumerate(kinds[kind] for kind in "rtbrbttrb")
    ]
    assert parts(checks, range(9)) == [[0, 1, 2, 3, 4], [5, 6, 7, 8]]
    assert parts(checks, [2, 5]) == [[2], [5]]
    assert parts(checks, [1, 0, 5]) == [[1, 0, 5]]


@pytest.mark.whole
def test_a_check_that_hangs_or_dies_is_named_and_the_others_run(tmp_path, monkeypatch):
    """One check sleeps for ever, one ends its process, one fails, and one comes after them.

    The last two are in a second lane, which begins when the second has ended.
    """
    (tmp_path / "script.py").write_text(
        f"import sys\nsys.path[:0] = [{str(ROOT / 'benchmarks')!r}]\n"
        "import os, time\n"
        "from pathlib import Path\n"
        "from gpu_phases.findings import Check, Finding, Setting\n"
        "from gpu_phases import runner\n"
        "def hang(setting):\n    yield Finding('begun')\n    time.sleep(1000)\n"
        "def die(setting):\n    yield Finding('alive')\n    os._exit(3)\n"
        "def fail(setting):\n    yield Finding('one')\n    raise ValueError('no luck')\n"
        "def pass_(setting):\n    yield Finding('passed', {'n': 1}, True)\n"
        "checks = [Check('right', f.__name__, -4, f, beside=f in (fail, pass_))\n"
        "    for f in (hang, die, fail, pass_)]\n"
        "if sys.argv[1:2] == ['--checks']:\n"
        "    runner.run_checks(checks, Path(sys.argv[2]), Path(sys.argv[3]))\n"
    )
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.syspath_prepend(str(tmp_path))
    from gpu_phases.findings import Setting
    from gpu_phases.lanes import carried_out
    from script import checks

    setting = Setting(tmp_path, "cpu", False, time.time() + 200)
    outcomes = {
        check.what: ([row["what"] for row in rows], trouble)
        for check, (rows, _, trouble) in carried_out(
            tmp_path / "script.py", checks, range(4), setting
        )
    }
    found, troubles = ({name: said[n] for name, said in outcomes.items()} for n in (0, 1))
    assert found == {"hang": ["begun"], "die": ["alive"], "fail": ["one"], "pass_": ["passed"]}
    assert "took too long" in troubles["hang"]
    assert "ended by itself" in troubles["die"]
    assert troubles["fail"] == "ValueError: no luck"
    assert troubles["pass_"] == ""
