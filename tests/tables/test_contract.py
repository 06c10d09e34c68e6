"""Tables keep what every source promises."""

import json

import pytest
from helpers.folders import CLASSES
from helpers.sources import ContainerContract, files_of

pyarrow = pytest.importorskip("pyarrow")
from pyarrow import ipc, parquet  # noqa: E402


def table_of(root):
    """Return the images as Hugging Face keeps them: bytes, paths that are the keys, and class numbers."""
    files = files_of(root)
    image = pyarrow.array([{"bytes": content, "path": key} for key, content in files])
    label = pyarrow.array([CLASSES.index(key.split("/")[0]) for key, _ in files], pyarrow.int64())
    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(CLASSES), "_type": "ClassLabel"},
    }
    table = pyarrow.table({"image": image, "label": label})
    return table.replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )


class TestParquet(ContainerContract):
    """A clone of a data set of the Hub: shards of two splits in a folder `data`."""

    def make(self, root, where):
        table = table_of(root)
        (where / "data").mkdir()
        for shard in range(2):
            part = table.slice(shard * 9, 9)
            parquet.write_table(
                part, where / f"data/train-0000{shard}-of-00002.parquet", row_group_size=4
            )
        parquet.write_table(table.slice(0, 3), where / "data/test-00000-of-00001.parquet")
        return where


class TestUncompressedParquet(ContainerContract):
    def make(self, root, where):
        parquet.write_table(table_of(root), where / "x.parquet", compression="none")
        return where / "x.parquet"


class TestParquetWithoutClasses(ContainerContract):
    labelled = False

    def make(self, root, where):
        parquet.write_table(
            table_of(root).select(["image"]), where / "x.parquet", compression="zstd"
        )
        return where / "x.parquet"


class TestSavedDataset(ContainerContract):
    def make(self, root, where):
        table = table_of(root)
        with ipc.new_stream(str(where / "data-00000-of-00001.arrow"), table.schema) as stream:
            stream.write_table(table, max_chunksize=5)
        state = {
            "_data_files": [{"filename": "data-00000-of-00001.arrow"}],
            "_indices_data_files": None,
        }
        (where / "state.json").write_text(json.dumps(state))
        (where / "dataset_info.json").write_text("{}")
        return where
