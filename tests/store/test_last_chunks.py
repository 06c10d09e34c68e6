"""The last block has fewer images than its shards have room for, and is read like others."""

import numpy as np
from helpers.stores import make_store

from fkd.config import Scheme, VectorScheme
from fkd.format.records import TargetRecord


def test_a_last_block_without_some_of_its_chunks_is_whole(tmp_path):
    wide = TargetRecord("wide", "", "auto", VectorScheme("int8"), (2**20,))  # an image a chunk
    store, blocks = make_store(
        tmp_path / "s.zarr", n=3, m=4, block=2, scheme=Scheme("none"), targets=(wide,)
    )
    read = store.read(range(3), range(4))
    assert np.array_equal(read.kept["vector.wide"][2], blocks[1].kept["vector.wide"][0])


def test_crops_that_there_are_not_have_no_chunks(tmp_path):
    # 17 crops in chunks of 8 are 24, of which the last 4 of a dense field are no crop's.
    some = TargetRecord("some", "", "auto", VectorScheme("f16"), (3,))
    store, blocks = make_store(
        tmp_path / "s.zarr", n=2, m=17, block=2, targets=(some,), chunk_crops=8
    )
    read = store.read(range(2), range(17))
    assert np.array_equal(read.kept["vector.some"], blocks[0].kept["vector.some"])
