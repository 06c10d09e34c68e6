"""`fkd train --log`: the same metrics in every tracker, once each, and no run that ends of one."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from helpers.processes import Forked, losses, refused, trained

import fkd
from fkd import FkdError, TrainConfig
from fkd.errors import Stopped
from fkd.runs import in_background, read_metrics, tracking
from fkd.runs.in_background import InBackground
from fkd.runs.run import Run
from fkd.runs.tracker import TrackedRun
from fkd.runs.tracking import Trackers, require_trackers, tracked

STOP_AT = 22
BLOCK = 32_768  # of the file of wandb, which is a log of LevelDB


def stop_on_the_way():
    """Ask the process to stop after a step, as a machine does that goes away."""
    log_step = Run.log_step

    def log_and_stop(self, step, **more):
        log_step(self, step, **more)
        if step == STOP_AT:
            os.kill(os.getpid(), signal.SIGTERM)

    Run.log_step = log_and_stop


def surroundings(tmp_path):
    """Return an environment in which no tracker knows a network."""
    return {
        "WANDB_MODE": "offline",
        "WANDB_CONFIG_DIR": str(tmp_path / "config"),
        "WANDB_CACHE_DIR": str(tmp_path / "cache"),
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_TRACKING_URI": f"file:{tmp_path / 'mlruns'}",
    }


def records(path):
    """Yield the records of a .wandb file; wandb has no public reader of it."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, parts = path.read_bytes(), 7, b""
    while at + 7 <= len(content):
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        parts += content[at + 7 : at + 7 + length]
        if kind in (1, 4):  # whole, or the last of its parts
            yield Record.FromString(parts)
            parts = b""
        at += 7 + length
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK


def rows(records):
    """Return the rows of a history: numbers by name."""
    return [
        {
            item.key or "/".join(item.nested_key): json.loads(item.value_json)
            for item in r.history.item
        }
        for r in records
        if r.WhichOneof("record_type") == "history"
    ]


@pytest.fixture(scope="module")
def followed(shared_store, tmp_path_factory):
    """A run that two trackers follow; it was stopped, and went on from the checkpoint before the last."""
    pytest.importorskip("wandb")
    mlflow = pytest.importorskip("mlflow")
    cwd = tmp_path_factory.mktemp("tracked")
    run, env = cwd / "my-run", surroundings(cwd)
    log = ["--log", "wandb", "--log", "mlflow", "--seed", 3]
    (first,) = trained(shared_store, run, cwd, 1, *log, env=env, prepare=stop_on_the_way)
    assert first.code == 0, first.err
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        client = mlflow.MlflowClient()
        known = json.loads((run / "mlflow.json").read_text())["run"]
        status = client.get_run(known).info.status
        (run / "last.pt").unlink()
        second = Forked(["train", "--resume", "--out", run], cwd, env=env).finish()
        assert second.code == 0, second.err
        yield run, client, status, first.err + second.err


def counted(points):
    """Count points of (name, step, value); speeds are of one process's clock, so they count without."""
    timed = ("views_per_s", "images_per_s", "data_wait")
    return Counter(
        (name, step, None if name.endswith(timed) else value) for name, step, value in points
    )


def written(run):
    """Return what metrics.jsonl has, by the names that trackers know."""
    return counted(
        (f"{line['kind']}/{name}", line["step"], value)
        for line in read_metrics(run)
        for name, value in line.items()
        if name not in ("kind", "step")
    )


def test_wandb_has_each_metric_once_at_its_step(followed):
    run, *_ = followed
    first, second = ([*records(file)] for file in sorted(run.glob("wandb/offline-run-*/*.wandb")))
    begun, went_on = (next(r.run for r in file if r.HasField("run")) for file in (first, second))
    assert {begun.run_id, went_on.run_id} == {json.loads((run / "wandb.json").read_text())["run"]}
    assert (begun.project, begun.display_name) == ("fkd", "my-run")
    config = {update.key: json.loads(update.value_json) for update in begun.config.update}
    assert (config["seed"], config["student"]) == (3, "tiny_student:make")
    assert [row["step"] for row in rows(first)] == [10, 15, 20]  # 20 is done again, from 15
    assert {row["step"] for row in rows(second)} == {30}
    points = [
        (name, row["step"], value)
        for row in [*rows(first), *rows(second)]
        for name, value in row.items()
        if "/" in name
    ]
    assert counted(points) == written(run)
    axes = {r.metric.glob_name: r.metric.step_metric for r in first if r.HasField("metric")}
    assert axes.items() >= {("train/*", "step"), ("eval/*", "step")}


def test_mlflow_has_each_metric_once_at_its_step(followed):
    run, client, status, _ = followed
    (found,) = client.search_runs([client.get_experiment_by_name("fkd").experiment_id])
    assert (found.info.run_name, status, found.info.status) == ("my-run", "KILLED", "FINISHED")
    assert (found.data.params["seed"], found.data.params["scheme"]) == ("3", "topk3")
    points = [
        (name, point.step, point.value)
        for name in found.data.metrics
        for point in client.get_metric_history(found.info.run_id, name)
    ]
    assert counted(points) == written(run)


def test_a_tracked_run_says_where_and_learns_the_same(followed, shared_store, tmp_path):
    run, _, _, said = followed
    assert said.count("metrics go to wandb: `wandb sync my-run/wandb/offline-run-") == 2
    assert said.count("metrics go to mlflow: file:") == 2
    assert not [line for line in said.splitlines() if line.startswith(("wandb", "warning: wandb"))]
    assert "warning: mlflow" not in said
    (plain,) = trained(shared_store, tmp_path / "run", tmp_path, 1, "--seed", 3, "--log", "none")
    assert plain.code == 0, plain.err
    assert losses(tmp_path / "run") == losses(run)
    assert not {"wandb", "wandb.json", "tensorboard"} & set(os.listdir(tmp_path / "run"))
    asks = ["train", "--resume", "--out", tmp_path / "run", "--log", "wandb"]
    late, again = (Forked(asks, tmp_path, env=surroundings(tmp_path)).finish() for _ in range(2))
    assert (late.code, again.code) == (0, 0), late.err
    assert "is finished: 30 of 30 steps" in late.err
    (file,) = (tmp_path / "run").glob("wandb/offline-run-*/*.wandb")  # `again` has sent nothing
    assert [row["step"] for row in rows(records(file))] == [10, 15, 20, 30]
    assert "metrics go to" not in again.err


class Kept:
    """A service that keeps steps."""

    where = "here"

    def __init__(self, run_id, got):
        self.run_id, self.got = run_id or "new", got

    def log(self, line):
        self.got.append((line["step"], line["kind"]))

    def close(self, outcome):
        self.got.append((self.run_id, outcome))


def test_a_service_gets_what_was_before_and_nothing_twice(tmp_path):
    def line(step, kind="train"):
        return {"kind": kind, "step": step, "epoch": 1, "loss": 1.0}

    def process(before, lines):
        """Let a process go on after the lines `before`."""
        written = "".join(json.dumps(each) + "\n" for each in before)
        (tmp_path / "metrics.jsonl").write_text(written)
        got, opened = [], []
        tracker = InBackground("kept", tmp_path, lambda run: opened.append(run) or Kept(run, got))
        for each in lines:
            tracker.log(each)
        tracker.close("stopped")
        return opened, got

    early = [line(10), line(15, "eval")]
    opened, got = process(
        early, [line(20), line(20, "eval")]
    )  # it was asked for when the run went on
    assert opened == [None]
    assert got == [(10, "train"), (15, "eval"), (20, "train"), (20, "eval"), ("new", "stopped")]
    opened, got = process(early, [line(20), line(20, "eval"), line(30)])
    assert (opened, got) == (["new"], [(30, "train"), ("new", "stopped")])
    (tmp_path / "kept.json").write_text("{")
    opened, got = process(early, [])
    assert (opened, got[:2]) == ([None], [(10, "train"), (15, "eval")])


def test_a_tracker_that_cannot_write_is_one_warning(shared_store, tmp_path):
    pytest.importorskip("mlflow")
    nobody = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    env = surroundings(tmp_path) | nobody
    (done,) = trained(shared_store, tmp_path / "run", tmp_path, 1, "--log", "mlflow", env=env)
    assert done.code == 0, done.err
    assert [line for line in done.err.splitlines() if "mlflow" in line] == [
        line
        for line in done.err.splitlines()
        if line.startswith("warning: mlflow cannot be written")
    ]
    assert done.err.count("warning: mlflow") == 1
    assert read_metrics(tmp_path / "run")[-1]["step"] == 30
    assert "Traceback" not in done.err


class Faulty:
    """A tracker that fails where it is told to."""

    def __init__(self, where):
        self.where, self.got = where, []
        self.fail("open")

    def fail(self, where):
        if self.where == where:
            raise RuntimeError(f"no {where}\nand more")

    def log(self, line):
        self.fail("log")
        self.got.append(line["step"])

    def close(self, outcome):
        self.fail("close")
        self.got.append(outcome)


@pytest.mark.parametrize("where", ["open", "log", "close"])
def test_one_that_fails_leaves_the_others_alone(where, tmp_path, capsys):
    sound = []
    openers = {
        "bad": lambda run: Faulty(where),
        "good": lambda run: sound.append(Faulty("")) or sound[0],
    }
    trackers = Trackers(openers, TrackedRun(tmp_path, {}))
    for step in (10, 20):
        trackers.log({"kind": "train", "step": step})
    trackers.close("finished")
    assert sound[0].got == [10, 20, "finished"]
    said = f"warning: bad cannot be written to (no {where}); the run goes on without it\n"
    assert capsys.readouterr().err == said


class Stuck:
    """A service that answers nothing until it is let go."""

    run_id, where = "1", "nowhere"

    def __init__(self):
        self.free, self.got = threading.Event(), []

    def log(self, line):
        self.free.wait()
        self.got.append(line["step"])

    def close(self, outcome):
        self.got.append(outcome)


def test_nobody_waits_long_for_a_service_that_does_not_answer(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(in_background, "_PATIENCE", 0.05)
    (tmp_path / "metrics.jsonl").touch()
    stuck = Stuck()
    tracker = InBackground("slow", tmp_path, lambda run_id: stuck)
    tracker.log({"kind": "train", "step": 10})
    tracker.log({"kind": "train", "step": 10})
    tracker.close("finished")
    assert "warning: slow did not take everything in time; --resume" in capsys.readouterr().err
    stuck.free.set()
    tracker._thread.join()
    assert stuck.got == [10, "finished"]


@pytest.mark.parametrize(("outcome", "all_sent"), [("finished", True), ("stopped", False)])
def test_a_finished_run_waits_while_lines_are_taken(outcome, all_sent, tmp_path):
    class Counting:
        """A thread that ends when it was waited for a third time; each time a line was taken."""

        waits = 0

        def join(self, _):
            self.waits += 1
            tracker._looked_at += 1

        def is_alive(self):
            return self.waits < 3

    (tmp_path / "metrics.jsonl").touch()
    tracker = InBackground("slow", tmp_path, lambda run_id: Kept(run_id, []))
    thread, tracker._thread = tracker._thread, Counting()
    tracker.close(outcome)
    assert (tracker._thread.waits == 3) is all_sent
    thread.join()


WRONG_WANDB = {
    "mode": ({"WANDB_MODE": "nonsense"}, "cannot be used (mode: Input should be 'online'"),
    "none": ({}, "wandb is not logged in; run `wandb login`"),
    "broken": ({"PYTHONPATH": "broken"}, "cannot be used (no such symbol); see to its"),
    "old": ({"PYTHONPATH": "old"}, "needs wandb 0.31 or newer, and 0.15.0 is installed"),
}


@pytest.mark.parametrize("case", WRONG_WANDB)
def test_a_wandb_that_cannot_be_used_is_refused(case, tmp_path):
    pytest.importorskip("wandb")
    env, words = WRONG_WANDB[case]
    for name, code in (
        ("broken", "raise AttributeError('no such symbol')"),
        ("old", "class Settings:\n    model_fields = ()\n__version__ = '0.15.0'"),
    ):
        (tmp_path / name / "wandb").mkdir(parents=True)
        (tmp_path / name / "wandb/__init__.py").write_text(code)
    done = asked(tmp_path, env)
    assert words in done
    assert "\n" not in done


def test_a_key_is_known_without_a_network(tmp_path):
    """The server that would say whose key it is does not answer."""
    pytest.importorskip("wandb")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert asked(tmp_path, {"WANDB_API_KEY": "x" * 40, "WANDB_BASE_URL": address}) == "usable"


def asked(tmp_path, env):
    """Return what a process says of wandb, in surroundings that know no key of this machine."""
    code = (
        "from fkd.errors import ConfigError\nfrom fkd.runs import require_trackers\n"
        "try: require_trackers(['wandb']); print('usable')\nexcept ConfigError as error: print(error)"
    )
    known = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    homes = dict.fromkeys(("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR"), str(tmp_path))
    root = str(Path(fkd.__file__).parents[1])
    path = os.pathsep.join(filter(None, [env.get("PYTHONPATH"), root]))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=known | homes | env | {"PYTHONPATH": path},
        capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(None, "finished"), (Stopped("stopped", 15), "stopped"), (FkdError("wrong"), "failed")],
)
def test_trackers_hear_how_a_run_ended(error, outcome, tmp_path, monkeypatch):
    heard = Faulty("")
    monkeypatch.setitem(sys.modules, "tensorboard", sys)  # one that is installed
    monkeypatch.setitem(tracking._OPEN, "tensorboard", lambda run: heard)
    with contextlib.suppress(FkdError), tracked(None, TrackedRun(tmp_path, {})) as trackers:
        trackers.log({"kind": "eval", "step": 3})
        if error is not None:
            raise error
    assert heard.got == [3, outcome]


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_tracker_that_is_not_installed_is_refused(name, shared_store, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    line = refused(
        *("train", shared_store.path, "--compress", "topk3", "--crops-per-image", 2),
        *("--out", tmp_path / "run", "--log", name),
    )
    assert f"--log {name} needs {name}; install it with `pip install {name}`" in line
    assert not (tmp_path / "run").exists()


def test_a_folder_is_no_installed_tracker(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mlflow").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "mlflow", raising=False)
    with pytest.raises(FkdError, match="pip install mlflow"):
        require_trackers(["mlflow"])


def test_what_may_be_asked_for():
    assert TrainConfig(log="wandb").log == ("wandb",)
    assert TrainConfig(log=["mlflow", "wandb", "mlflow"]).settings()["log"] == ("mlflow", "wandb")
    assert TrainConfig(log=()).log == ("none",)
    assert TrainConfig().log is None
    with pytest.raises(FkdError, match="--log 'clearml' is unknown; choose tensorboard, wandb"):
        TrainConfig(log="clearml")
    with pytest.raises(FkdError, match="--log none stands alone"):
        TrainConfig(log=("none", "wandb"))


def test_an_mlflow_that_cannot_write_is_refused_before_training(monkeypatch, tmp_path):
    pytest.importorskip("mlflow")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path}/file/below")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    with pytest.raises(
        FkdError, match=r"--log mlflow cannot write to file://\S+/below \(.*MLFLOW_TRACKING_URI"
    ):
        require_trackers(["mlflow"])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    require_trackers(["mlflow"])  # no server is asked
