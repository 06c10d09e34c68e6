"""The loop on the page for people who write their own: it runs, goes on after a stop, and shares work."""

import os
import re
from pathlib import Path

import pytest
import torch
from helpers.processes import SERVER, fkd_environment, meeting

PAGE = Path(__file__).parents[2] / "docs" / "trainers" / "own-loop.md"
SMALL = {
    '"labels.zarr", crops_per_image=4, batch_size=512, epochs=300': '"labels.zarr", '
    'crops_per_image=2, batch_size=12, epochs=6, scheme="topk3", device="cpu"',
    "from torchvision.models import resnet50\n": "",
    "model = resnet50(num_classes=len(loader.classes))": "model = torch.nn.Sequential("
    "torch.nn.Conv2d(3, 4, 5, 4), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), "
    "torch.nn.Linear(4 * 49, len(loader.classes)))",
    "SAVE_EVERY = 1000": "SAVE_EVERY = 4",
    "draws = torch": "stop_at(loader.step); draws = torch",
}


def script():
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), flags=re.S)
    for long, short in SMALL.items():
        assert code.count(long) == 1, long
        code = code.replace(long, short)
    return code


def run(folder, stop_before=None):
    """Run the script in a folder, and stop it at a step."""

    def stop_at(step):
        if step == stop_before:
            raise KeyboardInterrupt

    names = {"__name__": "train", "stop_at": stop_at}
    before = Path.cwd()
    os.chdir(folder)
    try:
        exec(compile(script(), "train.py", "exec"), names)
    finally:
        os.chdir(before)
    return names


def run_as_rank(folder, environment):
    os.environ.update(environment)
    torch.set_num_threads(1)
    names = run(folder)
    torch.save(names["model"].state_dict(), f"{folder}/rank{environment['RANK']}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture
def beside(shared_store, tmp_path):
    """Return a maker of folders in which the store is `labels.zarr`."""

    def make(name):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "labels.zarr").symlink_to(shared_store.path)
        return folder

    return make


def test_a_stopped_loop_ends_where_one_that_ran_through_does(beside, capsys):
    whole, stopped = beside("whole"), beside("stopped")
    names = run(whole)
    assert names["loader"].step == names["loader"].total_steps == 12
    assert names["schedule"].last_epoch == 6
    assert capsys.readouterr().out.count("epoch ") == 6
    with pytest.raises(KeyboardInterrupt):
        run(stopped, stop_before=7)
    assert torch.load(stopped / "checkpoint.pt")["loader"]["step"] == 4
    again = run(stopped)
    for part in ("model", "average"):
        states = [each[part].state_dict() for each in (names, again)]
        assert all(torch.equal(*pair) for pair in zip(*(s.values() for s in states), strict=True))
    assert torch.load(stopped / "student.pt").keys() == names["model"].state_dict().keys()


def test_two_processes_share_the_loop(beside):
    folder = beside("shared")
    keys, environments = meeting(2)
    processes = [
        SERVER.Process(target=run_as_rank, args=(folder, fkd_environment() | environment))
        for environment in environments
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0, 0]
    del keys
    one, other = (torch.load(folder / f"rank{rank}.pt") for rank in (0, 1))
    learned = [name for name in one if name.endswith(("weight", "bias"))]
    assert learned
    assert all(torch.equal(one[name], other[name]) for name in learned)
    assert torch.load(folder / "checkpoint.pt")["loader"]["step"] == 12
