"""Whatever a file holds, it gives arrays or an error: no code runs, and claims take no memory."""

import contextlib
import io
import pickle
import random
import struct
import zipfile

import numpy as np
import pytest
import torch

from fkd.exchanging.stand_ins import Malformed, Unsafe, arrays_of
from fkd.exchanging.torch_files import read_arrays
from fkd.exchanging.unpickling import Machine

ARRAYS = [np.arange(12, dtype=np.float32).reshape(3, 4), np.ones(3, bool), np.arange(3)]
NAME = b"cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"


def saved(objects, **how):
    file = io.BytesIO()
    torch.save(objects, file, **how)
    return file.getvalue()


FORMS = {
    "arrays": saved(ARRAYS),
    "tensors": saved([torch.from_numpy(array) for array in ARRAYS]),
    "protocol 4": saved(ARRAYS, pickle_protocol=4),
    "legacy": saved(ARRAYS, _use_new_zipfile_serialization=False),
    "legacy tensors": saved(
        [torch.from_numpy(array) for array in ARRAYS], _use_new_zipfile_serialization=False
    ),
    "strides": saved([torch.from_numpy(ARRAYS[0].T.copy()).T, *ARRAYS[1:]]),
    "columns first": saved([np.asfortranarray(ARRAYS[0]), *ARRAYS[1:]]),
}


@pytest.mark.parametrize("form", FORMS)
def test_arrays_and_tensors_are_read_as_they_were(form):
    for found, wanted in zip(read_arrays(FORMS[form]), ARRAYS, strict=True):
        assert found.dtype == wanted.dtype
        assert np.array_equal(found, wanted)


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_was_changed_gives_arrays_or_one_error(form):
    rng = random.Random(0)
    for _ in range(150):
        content = bytearray(FORMS[form])
        for _ in range(rng.choice((1, 1, 3))):
            content[rng.randrange(len(content))] = rng.randrange(256)
        content = bytes(content[: rng.choice((len(content), rng.randrange(len(content))))])
        with contextlib.suppress(Malformed):
            assert all(array.nbytes <= len(content) for array in read_arrays(content))


def array_state(shape, content=b"abcd"):
    """Return the instructions that give an array a shape, and so many bytes."""
    kind = b"cnumpy\ndtype\nX\x02\x00\x00\x00f4\x89\x88\x87R(K\x03X\x01\x00\x00\x00<tb"
    return b"(K\x01" + shape + kind + b"\x89C" + bytes([len(content)]) + content + b"tb"


HOSTILE = {
    "a place in the memory": b"Nr\xff\xff\xff\xff.",
    "a long text": b"X\xff\xff\xff\xff.",
    "a large array": b"]" + NAME + array_state(b"J\xff\xff\xff\x7f\x85") + b"a.",
    "a negative shape": b"]" + NAME + array_state(b"J\xff\xff\xff\xff\x85") + b"a.",
    "nothing, and a large shape": b"]" + NAME
    + array_state(b"K\x00J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x87", b"") + b"a.",
    "many dimensions": b"]" + NAME + array_state(b"(" + 40 * b"K\x01" + b"t") + b"a.",
    "names of names": b"}" + b"N" + 60 * b"q\x00h\x00\x86" + b"Ns.",
    "text again and again": b"](X\x40\x00\x00\x00" + 64 * b"a" + b"q\x00"
    + 50 * b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R" + b"e.",
    "nothing on the stack": b"R.",
    "a list in itself": b"]q\x00h\x00a.",
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_claims_take_no_memory_and_no_time(what):
    machine = Machine(b"\x80\x02" + HOSTILE[what])
    with pytest.raises(Malformed):
        arrays_of(machine.run(), lambda storage: b"")


def test_a_tensor_is_no_larger_than_its_storage():
    wide = torch.zeros(1).expand(2**30)
    with pytest.raises(Malformed, match="larger than what it is of"):
        read_arrays(saved([wide]))


def test_an_archive_that_is_compressed_is_refused():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(10**6))
    with pytest.raises(Malformed, match="what torch does not write"):
        read_arrays(file.getvalue())


@pytest.mark.parametrize(
    "name", ["posix\nsystem", "builtins\neval", "torch\nload", "numpy\nload", "torch.hub\nload"]
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_that_names_anything_else_is_unsafe(name, protocol):
    module, function = name.split("\n")
    look_up = b"c" + name.encode() + b"\n"
    if protocol == 4:
        texts = [b"\x8c" + bytes([len(t)]) + t.encode() for t in (module, function)]
        look_up = b"".join(texts) + b"\x93"
    with pytest.raises(Unsafe, match="which no label needs"):
        Machine(bytes([0x80, protocol]) + look_up + b")R.").run()


def test_other_pickles_are_no_labels():
    for content in (b"", b"PK", b"\x80", pickle.dumps(ARRAYS), struct.pack("<q", 1) * 9):
        with pytest.raises(Malformed):
            read_arrays(content)
