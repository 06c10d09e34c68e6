"""Teachers of transformers: tiny random ones, saved in folders as `save_pretrained` writes them."""

import json
import shutil
import sys

import pytest
import torch
from helpers.folders import vector_config
from helpers.processes import refused

from fkd import CardConfig, Engine, LabelStore, TeacherChoice, label_images, store_card
from fkd.config import Target
from fkd.errors import ModelError
from fkd.teachers import load_teachers, open_source
from fkd.views import normalize

transformers = pytest.importorskip("transformers")

CPU = torch.device("cpu")
VIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32}
VIT |= {"intermediate_size": 32, "patch_size": 8}
TEXT = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
TEXT |= {"vocab_size": 20, "projection_size": 16}
NAMES = ("triangle", "circle", "square")  # not in the order of folders
VIEWS = torch.randint(
    0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


def save(root, name, model, processor=True):
    model.eval().save_pretrained(root / name)
    if processor:
        transformers.ViTImageProcessor(
            size={"height": 32, "width": 32},
            resample=3,
            image_mean=[0.4, 0.5, 0.6],
            image_std=[0.3] * 3,
        ).save_pretrained(root / name)
    return model


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folders of models, and the models by the names of their folders."""
    root, t = tmp_path_factory.mktemp("hub"), transformers
    t.logging.disable_progress_bar()
    torch.manual_seed(0)
    named = {"id2label": dict(enumerate(NAMES)), "label2id": {n: i for i, n in enumerate(NAMES)}}
    dino = {key: value for key, value in VIT.items() if key != "intermediate_size"}
    clip = t.CLIPConfig(text_config=TEXT, vision_config=VIT, projection_dim=12)
    siglip = t.SiglipConfig(text_config=TEXT, vision_config=VIT)
    models = {
        "classes": t.ViTForImageClassification(t.ViTConfig(**VIT, **named)),
        "vit": t.ViTModel(t.ViTConfig(**VIT)),
        "dino": t.Dinov2WithRegistersModel(t.Dinov2WithRegistersConfig(**dino)),
        "siglip-vision": t.SiglipVisionModel(t.SiglipVisionConfig(**VIT)),
        "siglip": t.SiglipModel(siglip),
        "clip": t.CLIPModel(clip),
        "clip-vision": t.CLIPVisionModelWithProjection(
            t.CLIPVisionConfig(**VIT, projection_dim=12)
        ),
        "resnet": t.ResNetModel(
            t.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])
        ),
    }
    for name, model in models.items():
        save(root, name, model)
    return root, models


def opened(saved, name, **settings):
    return open_source(TeacherChoice(f"hf:{saved[0] / name}", **settings), None, CPU)


@torch.inference_mode()
def said(source, views=VIEWS):
    seen = source.preprocessing
    return source.model(normalize(views, seen.mean, seen.std))


def test_a_head_of_classes_is_asked_and_names_them(saved):
    choice = TeacherChoice(f"hf:{saved[0] / 'classes'}")
    teachers = load_teachers([choice], sorted(NAMES), CPU, Engine())
    (teacher,) = teachers.teachers
    seen = teacher.preprocessing
    assert (seen.size, seen.mean, seen.interpolation) == (32, (0.4, 0.5, 0.6), "bicubic")
    with torch.inference_mode():
        logits = saved[1]["classes"](normalize(VIEWS, seen.mean, seen.std)).logits
    expected = logits.softmax(1)[:, [NAMES.index(name) for name in sorted(NAMES)]]
    assert torch.allclose(teacher.probs(VIEWS, 3, 1.0), expected, atol=1e-5)
    assert teacher.made_for == 32


@pytest.mark.parametrize(
    ("name", "length"),
    [("vit", 16), ("dino", 16), ("siglip-vision", 16), ("clip-vision", 12), ("resnet", 16)],
)
def test_without_a_head_it_says_its_embedding(saved, name, length):
    source = opened(saved, name)
    pixels = normalize(VIEWS, source.preprocessing.mean, source.preprocessing.std)
    with torch.inference_mode():
        answer = saved[1][name](pixel_values=pixels)
    expected = answer.image_embeds if name == "clip-vision" else answer.pooler_output.flatten(1)
    assert torch.allclose(said(source), expected, atol=1e-5)
    assert source.num_outputs == length
    assert source.weights_hash == opened(saved, name).weights_hash


@pytest.mark.parametrize(("name", "length"), [("clip", 12), ("siglip", 16)])
def test_of_images_and_texts_it_is_what_texts_are_compared_with(saved, name, length):
    source = opened(saved, name)
    pixels = normalize(VIEWS, source.preprocessing.mean, source.preprocessing.std)
    with torch.inference_mode():
        expected = saved[1][name].get_image_features(pixel_values=pixels).pooler_output
    assert torch.allclose(said(source), expected, atol=1e-5)
    assert source.num_outputs == length


def test_a_pooler_without_weights_is_not_asked(saved, tmp_path):
    """Self-supervised checkpoints have none, and a random one would be another in every run."""
    shutil.copytree(saved[0] / "classes", tmp_path / "backbone")
    file = tmp_path / "backbone/config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"architectures": ["ViTModel"]}))
    source = open_source(TeacherChoice(f"hf:{tmp_path / 'backbone'}"), None, CPU)
    pixels = normalize(VIEWS, source.preprocessing.mean, source.preprocessing.std)
    with torch.inference_mode():
        hidden = saved[1]["classes"].vit(pixel_values=pixels).last_hidden_state
    assert torch.allclose(said(source), hidden[:, 0], atol=1e-5)
    smaller = json.loads(file.read_text()) | {"num_hidden_layers": 3}
    file.write_text(json.dumps(smaller))
    with pytest.raises(ModelError, match=r"its weights have no layers\.2.* more are missing"):
        open_source(TeacherChoice(f"hf:{tmp_path / 'backbone'}"), None, CPU)


def test_a_masked_autoencoder_sees_all_of_a_view(tmp_path):
    t, decoder = transformers, {"decoder_hidden_size": 16, "decoder_num_attention_heads": 2}
    decoder |= {"decoder_intermediate_size": 16, "decoder_num_hidden_layers": 1}
    save(tmp_path, "mae", t.ViTMAEForPreTraining(t.ViTMAEConfig(**VIT, **decoder)).half())
    source = open_source(TeacherChoice(f"hf:{tmp_path / 'mae'}"), None, CPU)
    first = said(source)
    assert first.dtype == torch.float32
    assert torch.allclose(first, said(source), atol=1e-5)


def test_another_size_and_random_weights(saved):
    for name, length in (("vit", 16), ("clip", 12)):
        larger = opened(saved, name, size=48)
        assert said(larger, torch.zeros(2, 3, 48, 48, dtype=torch.uint8)).shape == (2, length)
    one, other = (opened(saved, "dino", weights="none") for _ in range(2))
    assert one.weights_hash == other.weights_hash != opened(saved, "dino").weights_hash


def test_what_is_no_vision_model_is_refused_in_a_line(saved, tmp_path, shared_folder, monkeypatch):
    t = transformers
    save(tmp_path, "text", t.BertModel(t.BertConfig(**TEXT)), processor=False)

    def line(name, *more):
        out = ("--out", tmp_path / "a.zarr", "--compress", "int8")
        return refused("label", shared_folder, "--teacher", f"hf:{name}", *out, *more, alone=False)

    assert "takes no images; give a vision model" in line(tmp_path / "text")
    assert "is no folder with a config.json" in line(tmp_path / "nothing")
    assert "is no folder with a config.json" in line(shared_folder)
    weights = ("--teacher-weights", saved[0] / "vit/model.safetensors")
    assert "brings its own weights" in line(saved[0] / "vit", *weights)
    (tmp_path / "text/model.safetensors").write_bytes(b"no weights")
    assert "cannot be read" in line(tmp_path / "text")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "could not be downloaded from its hub" in line("no-such-group/no-such-model")
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert "needs transformers; install it with `pip install transformers`" in line(
        saved[0] / "vit"
    )


def test_logits_that_are_kept_as_a_vector_are_named(saved, shared_folder, capsys):
    teacher, words = (
        TeacherChoice(f"hf:{saved[0] / 'classes'}"),
        "is a classifier, and its 3 logits",
    )
    few = {"teacher": teacher, "num_crops": 1}
    label_images(vector_config(shared_folder, "logits.zarr", scheme="int8", **few))
    assert words in capsys.readouterr().err
    inner = {"scheme": "none", "targets": (Target("features"),)}
    label_images(vector_config(shared_folder, "inner.zarr", **inner, **few))
    assert words not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["hf:no-such-group/no-such-model", "timm:resnet18"])
def test_a_hub_that_does_not_answer_is_told_of_once(name, monkeypatch, capfd, tmp_path):
    """Its client says so of each attempt, in two lines, with pauses that are left out here."""
    pytest.importorskip("timm")
    nowhere, constants = "http://127.0.0.1:9", "huggingface_hub.constants"
    monkeypatch.setattr(f"{constants}.ENDPOINT", nowhere)
    monkeypatch.setattr(
        f"{constants}.HUGGINGFACE_CO_URL_TEMPLATE",
        nowhere + "/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.setattr(f"{constants}.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(f"{constants}.HF_HUB_OFFLINE", False)
    pauses = []
    monkeypatch.setattr("time.sleep", pauses.append)
    with pytest.raises(ModelError, match="could not be downloaded from "):
        open_source(TeacherChoice(name), None, CPU)
    assert len(pauses) > 1
    assert capfd.readouterr().err == (
        f"the hub of teacher {name} does not answer yet, and is asked again\n"
    )


def test_layers_have_their_own_names_and_cards_name_no_place(saved, shared_folder, capsys):
    teacher = TeacherChoice(f"hf:{saved[0] / 'vit'}")
    config = vector_config(
        shared_folder, "hub.zarr", teacher=teacher, scheme="int8", num_crops=2,
        targets=(Target("layers.1", pool="cls", name="token"),),
    )  # fmt: skip
    store = label_images(config)
    said = capsys.readouterr().err
    assert "Loading weights" not in said
    assert "classifier" not in said
    assert {name: kept.shape for name, kept in store.spec.vectors.items()} == {
        "output": (16,),
        "token": (16,),
    }
    assert LabelStore.open(store.path).digest() == store.digest()
    card = store_card(CardConfig(store.path))
    assert str(saved[0]) not in card
    assert "| vit |" in card
