"""Lines that are cut from receipts, and a reader of ONNX: small ones that are made here."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

FOLDER = Path(__file__).parents[2] / "benchmarks" / "accuracy"


@pytest.fixture
def receipts(monkeypatch, tmp_path):
    """The module, whose folder is no package, with its models below `tmp_path`."""
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setenv("RECEIPTS_MODELS", str(tmp_path))
    import receipts

    yield receipts
    sys.modules.pop("receipts", None)


def scanned(folder, count):
    """Make receipts of 60 × 40 px, each with a bright line of its own, two that are none, and a text."""
    for part in ("img", "box"):
        (folder / part).mkdir(parents=True)
    for number in range(count):
        pixels = np.zeros((60, 40, 3), np.uint8)
        pixels[10:22, 5:35] = 40 + 10 * number
        Image.fromarray(pixels).save(folder / "img" / f"{number:03d}.jpg", quality=95)
        rows = [
            f"5,10,35,10,35,22,5,22,NO.{number},  A",
            "5,30,35,30,35,40,5,40, ",
            "5,30,35,30,35,31,5,31,X",
        ]
        (folder / "box" / f"{number:03d}.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_each_tenth_receipt_is_of_val_and_lines_have_their_texts(receipts, tmp_path):
    receipts.prepare(scanned(tmp_path / "data", 11), tmp_path / "out")
    listed = {
        split: (tmp_path / "out" / split / "labels.txt").read_text().splitlines()
        for split in ("train", "val")
    }
    assert listed["val"] == ["009-00.jpg\tNO.9, A"]
    assert [line[:3] for line in listed["train"]] == [f"{n:03d}" for n in (*range(9), 10)]
    for split, lines in listed.items():
        for line in lines:
            pixels = np.asarray(Image.open(tmp_path / "out" / split / line.split("\t")[0]))
            assert pixels.shape == (12, 30, 3)
            assert np.abs(pixels.astype(int) - (40 + 10 * int(line[:3]))).max() < 8
    charset = (tmp_path / "out" / "charset.txt").read_text()
    assert charset == "blank\n" + "\n".join(sorted(" ,.012345678ANO")) + "\n"


def test_outputs_have_the_names_of_characters_and_small_letters_those_of_capitals(
    receipts, tmp_path
):
    folder = tmp_path / receipts.MODELS
    folder.mkdir(parents=True)
    (folder / receipts.TEACHERS["tiny"][1]).write_bytes("\u3000\r\na\r\nA\r\nb\r\nc\r\n".encode())
    names = receipts.output_names("tiny", ["blank", " ", "A", "c"])
    assert names == ["blank", "\u3000", "A", "A", "b", "c", " "]


def test_a_reader_sees_blue_first_and_says_each_frame(receipts, tmp_path):
    path = tmp_path / receipts.MODELS / receipts.TEACHERS["tiny"][0]
    path.parent.mkdir(parents=True)
    pooled(path)
    views = torch.randn(3, 3, 48, 64)
    said = receipts.tiny()(views)
    columns = views.reshape(3, 3, 48, 8, 8).mean((2, 4))  # [views, R G B, frames]
    torch.testing.assert_close(said, columns.flip(1).transpose(1, 2).softmax(2), atol=1e-5, rtol=0)


def pooled(path):
    """Write a graph whose classes are its channels: their means over the height and 8 px, softmax."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("AveragePool", ["x"], ["p"], kernel_shape=[48, 8], strides=[48, 8]),
        helper.make_node("Squeeze", ["p", "axes"], ["s"]),
        helper.make_node("Transpose", ["s"], ["t"], perm=[0, 2, 1]),
        helper.make_node("Softmax", ["t"], ["y"], axis=2),
    ]
    graph = helper.make_graph(
        nodes,
        "reader",
        [helper.make_tensor_value_info("x", floats, ["n", 3, 48, "w"])],
        [helper.make_tensor_value_info("y", floats, ["n", "t", 3])],
        [onnx.numpy_helper.from_array(np.array([2]), "axes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
