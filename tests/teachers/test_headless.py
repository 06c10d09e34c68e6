"""Self-supervised teachers: backbones of timm without a head, and heads of many prototypes."""

import pytest
import torch
from helpers.folders import vector_config

from fkd import LabelStore, Scheme, TeacherChoice, label_images
from fkd.config import Target
from fkd.errors import ModelError
from fkd.teachers import load_teachers, open_source

CPU = torch.device("cpu")

PROTOTYPES = """
import torch
from torch import nn
class Prototypes(nn.Module):
    '''Cosines to 4096 prototypes, as heads of DINO and SwAV return them.'''
    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        directions = torch.randn(192, 4096, generator=generator)
        self.prototypes = nn.Parameter(nn.functional.normalize(directions, dim=0))
    def forward(self, x):
        features = nn.functional.avg_pool2d(x, 4).flatten(1)
        return nn.functional.normalize(features, dim=1) @ self.prototypes
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """State dicts of a tiny ViT of timm, without a head and with one of five classes."""
    timm = pytest.importorskip("timm")
    root, files = tmp_path_factory.mktemp("backbones"), {}
    for outputs in (0, 5):
        torch.manual_seed(1)
        model = timm.create_model("test_vit", num_classes=outputs)
        files[outputs] = root / f"{outputs}.pth", model.eval()
        torch.save(model.state_dict(), files[outputs][0])
    return files


def test_a_backbone_in_a_file_says_its_features(weights):
    file, model = weights[0]
    source = open_source(TeacherChoice("timm:test_vit", str(file)), 3, CPU)
    pixels = torch.rand(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(source.model(pixels), model(pixels))
    assert source.num_outputs == 64
    file, _ = weights[5]
    assert open_source(TeacherChoice("timm:test_vit", str(file)), 3, CPU).num_outputs == 5


def test_its_features_are_kept_with_stages_by_their_names(weights, shared_folder):
    teacher = TeacherChoice("timm:test_vit", str(weights[0][0]))
    config = vector_config(
        shared_folder, "vit.zarr", teacher=teacher, scheme="int8", num_crops=1,
        targets=(Target("blocks.2", pool="cls"),),
    )  # fmt: skip
    kept = label_images(config).spec.vectors
    assert {name: vectors.shape for name, vectors in kept.items()} == {
        "output": (64,),
        "blocks-2": (64,),
    }
    labels = vector_config(shared_folder, "no.zarr", teacher=teacher)
    with pytest.raises(ModelError, match=r"3 classes, .* 64 outputs.*--compress int8"):
        label_images(labels)


def test_a_self_supervised_architecture_has_no_head_of_its_own(weights):
    """Its recorded configuration has no classes, so the folder's are not given to it."""
    choice = TeacherChoice("timm:vit_small_patch14_dinov2", "none", size=28)
    source = open_source(choice, 3, CPU)
    assert source.num_outputs == 384
    target = (Target("top"),)
    with pytest.raises(ModelError, match=r"has no layer top; it has features, blocks\.0, b"):
        load_teachers([choice], None, CPU, targets=target, labels=False)


def test_what_prototypes_say_is_a_soft_label_at_their_temperature(
    shared_folder, tmp_path, monkeypatch, capsys
):
    (tmp_path / "prototypes.py").write_text(PROTOTYPES)
    monkeypatch.syspath_prepend(str(tmp_path))
    teacher = TeacherChoice("prototypes:Prototypes", size=32)
    config = vector_config(
        shared_folder, "prototypes.zarr", teacher=teacher, scheme="topk20", unlabelled=True,
        temperature=0.04, num_crops=2,
    )  # fmt: skip
    store = label_images(config)
    assert "warning" not in capsys.readouterr().err
    assert store.spec.num_classes == 4096
    assert store.spec.scheme == Scheme("topk", 20)
    assert 0.02 < store.fidelity().kept_shares[0] < 1
    flat = LabelStore.open(store.path).spec
    assert (flat.temperature, flat.unlabelled) == (0.04, True)
    label_images(vector_config(
        shared_folder, "flat.zarr", teacher=teacher, scheme="topk20", unlabelled=True, num_crops=1,
    ))  # fmt: skip
    assert "choose a lower --temperature" in capsys.readouterr().err
