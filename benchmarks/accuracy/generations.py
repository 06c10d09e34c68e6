"""Students that label for the next ones: born-again networks (Furlanello et al., ICML 2018)."""

from collections.abc import Sequence
from pathlib import Path

import torch
from stores import FULL
from study import Study
from torch import Tensor, nn

from fkd import LabelConfig, TeacherChoice, label_images
from fkd.evaluation import evaluate
from fkd.sources import dataset_root, list_images, val_folder
from fkd.students import load_student


def labelled_by(study: Study, teacher: Path, name: str) -> Path:
    """Label the crops that students come to by the student of a run, once; return the store."""
    path = study.store(name)
    config = LabelConfig(
        study.images,
        TeacherChoice(str(teacher / "last.pt")),
        path,
        num_crops=study.plan.used_rounded,
        views=study.plan.views,
        scheme=FULL,
        workers=study.workers,
    )
    label_images(config)
    return path


class Together(nn.Module):
    """Networks that answer as one: the logarithm of the mean of their probabilities."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map pixels [B, 3, S, S] to log-probabilities [B, C]."""
        said = torch.stack([member(pixels).softmax(dim=1) for member in self.members])
        mean: Tensor = said.mean(dim=0).log()
        return mean


def top1_together(study: Study, runs: Sequence[Path]) -> float:
    """Return the top-1 of the students of several runs together, on `val`."""
    loaded = [load_student(run / "last.pt") for run in runs]
    val = val_folder(dataset_root(study.images))
    assert val is not None
    together = Together([model.eval() for _, model in loaded])
    return float(evaluate(together, loaded[0][0], list_images(val), 128, study.workers).top1)
