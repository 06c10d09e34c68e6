"""The heart: label → store → view gives the very same pixels and the very same label."""

import numpy as np
import pytest
import torch
import torchvision
from helpers.folders import label_config
from PIL import Image
from torchvision.transforms.v2 import functional

from fkd import LabelStore, Scheme, TeacherChoice, label_images
from fkd.labels import quantize
from fkd.loader import Schedule, student_batches
from fkd.sources import list_images
from fkd.views import RenderPool

SIZE = 32


def noise(rng, height, width):
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture
def every_kind(tmp_path):
    """Images of every mode and format that people have, from 1×1 to larger than the crop."""
    rng = np.random.default_rng(0)
    one, two = tmp_path / "data" / "one", tmp_path / "data" / "two"
    one.mkdir(parents=True)
    two.mkdir()
    noise(rng, 60, 80).save(one / "rgb.jpg")
    noise(rng, 61, 47).convert("L").save(one / "grey.jpg")
    noise(rng, 50, 70).convert("CMYK").save(one / "cmyk.jpg")
    noise(rng, 33, 44).convert("P").save(one / "palette.png")
    noise(rng, 64, 64).save(two / "rgb.png")
    noise(rng, 40, 90).convert("RGBA").save(two / "alpha.png")
    noise(rng, 90, 40).save(two / "photo.webp")
    noise(rng, 1, 1).save(two / "dot.png")
    noise(rng, 3, 500).save(two / "strip.png")
    noise(rng, 900, 1200).save(two / "large.jpg")
    return tmp_path / "data"


def teacher_file(tmp_path):
    torch.manual_seed(1)
    model = torchvision.models.resnet18(num_classes=2)
    torch.save(model.state_dict(), tmp_path / "teacher.pt")
    return model.eval(), str(tmp_path / "teacher.pt")


def rendered_by_others(path, box, flip, interpolation):
    """Decode with Pillow, crop and resize with torchvision."""
    pixels = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)
    mode = torchvision.transforms.InterpolationMode(interpolation)
    top, left, height, width = (int(edge) for edge in box)
    view = functional.resized_crop(
        pixels, top, left, height, width, [SIZE, SIZE], interpolation=mode, antialias=True
    )
    return view.flip(-1) if flip else view


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("scheme", [Scheme("full"), Scheme("topk", 2)], ids=str)
def test_student_sees_what_the_teacher_labelled(every_kind, tmp_path, interpolation, scheme):
    model, weights = teacher_file(tmp_path)
    choice = TeacherChoice("resnet18", weights, size=SIZE, interpolation=interpolation)
    out = tmp_path / "labels.zarr"
    label_images(
        label_config(every_kind, out, teacher=choice, scheme=scheme, num_crops=5, batch_size=7)
    )
    store, images = LabelStore.open(out), list_images(every_kind)
    whole = store.read_block(0)
    # 10 images, 2 crops a visit, 4 passes: they take crops (0 1) (2 3) (4 0) and so on.
    schedule = Schedule(10, 5, crops_per_image=2, batch_size=8, epochs=8, seed=3)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (choice_mean(), choice_std()))
    seen, stream = set(), visits(schedule)
    with RenderPool(2) as pool:
        for batch in student_batches(pool, store, images, schedule):
            probs = model((batch.views.float() / 255 - mean) / std).softmax(1)
            again = {name: v.numpy() for name, v in quantize(probs.detach(), scheme).items()}
            for row in range(8):
                image, crop = next(stream)
                assert batch.decoded[row // 2] == batch.image_index[row] == image
                assert batch.crop_index[row] == crop
                assert batch.targets[row] == images.targets[image]
                box, flip = whole.box[image, crop], whole.flip[image, crop]
                expected = rendered_by_others(images.name(image), box, flip, interpolation)
                distance = (batch.views[row].int() - expected.int()).abs().max()
                assert distance == 0, images.paths[image]
                for name, values in batch.kept.items():
                    stored = whole.kept[name][image, crop]
                    assert np.array_equal(values[row].numpy(), stored)
                    # The teacher's floats may differ in the last bits between batches.
                    gap = np.abs(again[name][row].astype(float) - stored.astype(float)).max()
                    assert gap <= (2e-2 if name == "log_prob" else 1 if name == "code" else 0)
                seen.add((image, crop))
    assert len(seen) == 50


def visits(schedule):
    """Yield (image, crop) in the order in which the schedule's steps take them."""
    for parts in schedule.batches():
        for pass_index, positions in parts:
            for image in positions:
                for crop in schedule.crop_slots(pass_index):
                    yield int(image), int(crop)


def choice_mean():
    return (0.485, 0.456, 0.406)


def choice_std():
    return (0.229, 0.224, 0.225)


def test_labels_do_not_depend_on_the_batch_or_the_workers(every_kind, tmp_path):
    _, weights = teacher_file(tmp_path)
    choice = TeacherChoice("resnet18", weights, size=SIZE)
    blocks = []
    for name, changes in {
        "a": {"batch_size": 3, "workers": 1},
        "b": {"batch_size": 64, "workers": 4, "block_images": 3},
    }.items():
        config = label_config(every_kind, tmp_path / name, teacher=choice, num_crops=9, **changes)
        store = label_images(config)
        blocks.append([store.read_block(n) for n in range(store.spec.num_blocks)])
    for field in ("box", "flip", "size"):
        one, many = (np.concatenate([getattr(b, field) for b in side]) for side in blocks)
        assert np.array_equal(one, many)
    one, many = (np.concatenate([b.kept["code"] for b in side]).astype(int) for side in blocks)
    assert np.abs(one - many).max() <= 1
