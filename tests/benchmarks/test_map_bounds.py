"""What coarse grids leave of masks, and what the map of a whole image tells of its crops."""

import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.masked import make_masked_folder

FOLDER = Path(__file__).parents[2] / "benchmarks" / "accuracy"


@pytest.fixture
def main(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import map_bounds

    yield map_bounds.main
    sys.modules.pop("map_bounds", None)


def test_coarser_cells_leave_less_and_other_views_say_something_else(main, tmp_path):
    camvid = make_masked_folder(tmp_path / "camvid", train=9, val=3)
    (camvid / "cityscapes.txt").write_text("sky\nroad\ncar\n")
    words = [str(camvid), "--teacher", "helpers.masked:teacher", "--size", "32"]
    said = CliRunner().invoke(main, words, catch_exceptions=False).output
    left = [float(miou) for miou in re.findall(r"pixels a cell: mIoU (\d\.\d+)", said)]
    assert len(left) == 4
    assert left == sorted(left, reverse=True)
    assert left[0] > 0.9 > left[-1]
    shares = re.findall(r"^(\d+) .*the same class at ([\d.]+)%", said, flags=re.M)
    assert [count for count, _ in shares] == ["4", "2"]
    of_crops, of_mirrored = (float(share) for _, share in shares)
    assert 50 < of_crops < of_mirrored  # this teacher looks at colours alone
    assert of_mirrored > 99
