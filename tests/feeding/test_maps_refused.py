"""What looks at the one label of a crop refuses maps of labels in one line, before anything is read."""

import pytest
from helpers.processes import refused

from fkd import ExportLabelsConfig, StudentLoader, export_labels
from fkd.errors import ConfigError
from fkd.labels import GridLabels


def test_crops_are_not_chosen_by_the_confidence_of_maps(map_store, tmp_path):
    words = ["train", map_store.path, "--student", "lraspp_mobilenet_v3_large"]
    words += ["--compress", "topk3", "--out", tmp_path / "r"]
    for choice in (("--min-confidence", 0.5), ("--max-entropy", 1), ("--calibrate",)):
        assert "holds maps of 8x4 labels; leave them out" in refused(*words, *choice)
    with pytest.raises(ConfigError, match="holds maps of 8x4"):
        StudentLoader(map_store.path, crops_per_image=2, scheme="topk3", max_entropy=1.0)


def test_trainers_of_one_label_a_crop_say_so(map_store):
    loader = StudentLoader(
        map_store.path, crops_per_image=2, batch_size=4, workers=1, epochs=1, scheme="topk3"
    )
    with pytest.raises(
        ConfigError, match="holds maps of 8x4 labels, and this trainer learns from one"
    ):
        loader.require_labels()
    batch = next(iter(loader))
    assert isinstance(batch.labels, GridLabels)
    assert batch.labels.dense().shape == (4, 5, 8, 4)
    loader.close()


def test_files_of_one_label_a_crop_hold_no_maps(map_store, tmp_path):
    with pytest.raises(ConfigError, match="FKD's files hold one label a crop"):
        export_labels(ExportLabelsConfig(map_store.path, tmp_path / "out"))
    assert not (tmp_path / "out").exists()
