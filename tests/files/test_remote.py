"""Files of a bucket: what is read, in how many requests, and what becomes of servers that fail."""

import contextlib
import os
import pickle
import socket
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from helpers.processes import SERVER

from fkd.config import Url
from fkd.errors import ConfigError, StoreError
from fkd.files import Patience, Pieces, Remote, files_at

PATIENT = Patience(silent=2, retries=3, longest=20)
PLACE = Url("s3://labels/x.zarr")
PIECE = 4096


@pytest.fixture
def objects(bucket):
    """Some objects in the bucket, by key."""
    made = {"zarr.json": b"{}", "slot/c/0/0/0": os.urandom(50_000), "slot/c/1/0/0": os.urandom(100)}
    for key, content in made.items():
        path = bucket.root / "x.zarr" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return made


@pytest.fixture
def files(objects, tmp_path):
    return opened(tmp_path)


def opened(tmp_path, bound=2**20):
    return Remote(PLACE, Pieces(tmp_path / "pieces", bound, PIECE), patience=PATIENT)


def test_objects_are_read_and_listed(files, objects):
    assert sorted(files.keys()) == sorted(objects)
    for key, content in objects.items():
        assert files.size(key) == len(content)
        assert files.read(key, 3, 40) == content[3:40]
        assert files.read(key, -7) == content[-7:]
        assert files.read(key) == content
    assert files.below("slot").below("c").read("1/0/0") == objects["slot/c/1/0/0"]
    for ask in (files.size, files.read):
        with pytest.raises(FileNotFoundError):
            ask("slot/c/2/0/0")


def test_a_range_costs_its_pieces_and_comes_once(files, objects, bucket, tmp_path):
    big = "slot/c/0/0/0"
    assert files.read(big, 5000, 5010) == objects[big][5000:5010]
    assert bucket.bytes_sent(big) == PIECE
    assert files.read(big, 4100, 8190) == objects[big][4100:8190]
    assert bucket.bytes_sent(big) == PIECE
    assert (
        opened(tmp_path).read(big, 4096, 4097) == objects[big][4096:4097]
    )  # as another process does
    assert bucket.bytes_sent(big) == PIECE
    assert not files.is_near(big)
    assert files.read(big) == objects[big]
    assert bucket.bytes_sent(big) == 50_000
    assert files.is_near(big)
    files.forget([big])
    assert not files.is_near(big)


def test_what_is_brought_is_near(files, objects, bucket):
    files.bring([(key, 0, None) for key in [*objects, "not/there"]])
    assert all(files.is_near(key) for key in objects)
    assert bucket.count(method="GET") == 1 + len(objects)  # the list, and one for each object
    bucket.requests.clear()
    assert {key: files.read(key) for key in objects} == objects
    assert not bucket.requests


@pytest.mark.parametrize("fault", ["cut", "503"])
def test_a_request_that_fails_is_made_again(files, objects, bucket, fault):
    bucket.fault = lambda method, path, number: fault if number in (1, 2, 4) else None
    assert files.read("slot/c/0/0/0") == objects["slot/c/0/0/0"]


def test_a_server_that_stays_silent_is_given_up_in_its_time(monkeypatch):
    """A list that was cut is asked for again; not after a wait of the whole patience."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        settings = {"ENDPOINT_URL": f"http://127.0.0.1:{server.getsockname()[1]}", "REGION": "x"}
        for name, value in (settings | {"SKIP_SIGNATURE": "true"}).items():
            monkeypatch.setenv(f"AWS_{name}", value)
        files = Remote(PLACE, None, patience=Patience(silent=5, retries=0, longest=0.3))
        with pytest.raises(OSError, match=r"did not answer in time|the connection failed"):
            files.size("zarr.json")
        server.accept()[0].close()
        with pytest.raises(BlockingIOError):  # nobody came a second time
            server.accept()


def test_a_server_that_is_silent_is_asked_again(bucket, objects, tmp_path):
    files = Remote(PLACE, None, patience=Patience(silent=0.3, retries=3, longest=20))
    bucket.slow = 1
    bucket.fault = lambda method, path, number: "slow" if number == 1 else None
    assert files.read("slot/c/1/0/0") == objects["slot/c/1/0/0"]


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("503", "the server says 503"),
        ("cut", "connection failed"),
        ("403", "access denied; set AWS_"),
    ],
)
def test_a_server_that_keeps_failing_is_named(files, bucket, fault, says):
    files.size("slot/c/0/0/0")
    bucket.fault = lambda *_: fault
    with pytest.raises(OSError, match=says) as error:
        files.read("slot/c/0/0/0")
    assert str(error.value).startswith("s3://labels/x.zarr/slot/c/0/0/0")


def test_an_object_that_changes_is_an_error(files, bucket):
    files.size("slot/c/1/0/0")
    (bucket.root / "x.zarr/slot/c/1/0/0").write_bytes(b"others" * 20)
    with pytest.raises(OSError, match="slot/c/1/0/0 has changed since"):
        files.read("slot/c/1/0/0")


def test_a_bucket_without_lists_is_read_by_asking_for_each(files, objects, bucket):
    bucket.fault = lambda method, path, number: "403" if "list-type" in path else None
    assert files.read("slot/c/1/0/0") == objects["slot/c/1/0/0"]
    assert files.size("zarr.json") == 2
    with pytest.raises(OSError, match="does not list"):
        list(files.keys())


def test_what_is_denied_where_nothing_is_listed_is_not_there(files, bucket):
    bucket.fault = lambda method, path, number: (
        "403" if "list-type" in path or "segment" in path else None
    )
    assert files.size("zarr.json") == 2
    with pytest.raises(FileNotFoundError):
        files.read("segment-1/zarr.json")


def test_a_zip_in_a_bucket_is_read_by_ranges(bucket, tmp_path):
    content = {f"a/{n}": os.urandom(300_000) for n in range(8)}
    with zipfile.ZipFile(bucket.root / "labels.zip", "w") as archive:
        for name, each in content.items():
            archive.writestr(name, each)
    files = files_at(Url("s3://labels/labels.zip"))
    assert files.read("a/3", 1000, 1200) == content["a/3"][1000:1200]
    assert not files.is_near("a/3")
    assert bucket.bytes_sent("labels.zip") < 2**20
    files.bring([("a/5", 0, None), ("a/3", 5, 9)])
    bucket.requests.clear()
    assert files.read("a/5") == content["a/5"]
    assert not bucket.requests
    assert pickle.loads(pickle.dumps(files)).read("a/7") == content["a/7"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_hub_sends_readers_on_and_its_signature_is_never_told(tmp_path, monkeypatch, ranges):
    content = {f"a/{n}": os.urandom(9000) for n in range(3)}
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name, each in content.items():
            archive.writestr(name, each)
    with hub((tmp_path / "x.zip").read_bytes(), ranges=ranges) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("HF_TOKEN", "hf_hush")
        monkeypatch.setenv("FKD_CACHE", str(tmp_path / "cache"))
        files = files_at(Url("hf://datasets/org/set@v1/x.zip"))
        assert {key: files.read(key) for key in files.keys()} == content  # noqa: SIM118
        assert server.tokens == {"/datasets/org/set/resolve/v1/x.zip": "Bearer hf_hush"}
        server.fails = True
        again = Remote(Url("hf://datasets/org/set@v1"), None, patience=Patience(1, 1, 3))
        with pytest.raises(OSError, match=r"set@v1/x\.zip: the server says 503") as told:
            again.read("x.zip")
        assert "hush" not in str(told.value)
    assert not any(b"hush" in path.read_bytes() for path in (tmp_path / "cache").rglob("*/*/[0-9]"))


@contextlib.contextmanager
def hub(content, *, ranges):
    """Serve one file as a hub does: from another place, whose address is signed."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hub) as server:
        server.content, server.ranges, server.tokens, server.fails = content, ranges, {}, False
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()


class _Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        server, content = self.server, self.server.content
        if not self.path.startswith("/cdn/"):
            server.tokens[self.path] = self.headers["Authorization"]
            self.send_response(302)
            self.send_header("Location", "/cdn/x?Signature=hush")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        span = self.headers["Range"] if server.ranges else None
        start, stop = 0, len(content)
        if span:
            first, last = span.removeprefix("bytes=").split("-")
            start, stop = int(first), min(int(last) + 1, stop)
        self.send_response(503 if server.fails else 206 if span else 200)
        self.send_header("ETag", '"one"')
        self.send_header("Content-Length", str(stop - start))
        if span:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[start:stop])

    do_HEAD = do_GET


def test_a_forked_process_reads_too(bucket, objects, tmp_path):
    run = SERVER.Process(target=_fork_and_read, args=(bucket.environment(), tmp_path, objects))
    run.start()  # not from here: a process with many threads is not to be forked
    run.join(60)
    assert run.exitcode == 0


def _fork_and_read(environment, tmp_path, objects):
    os.environ.update(environment)
    files = opened(tmp_path)
    assert files.read("zarr.json") == b"{}"  # obstore's threads are of this process now
    child = os.fork()
    if not child:
        try:
            same = files.read("slot/c/1/0/0") == objects["slot/c/1/0/0"]
            again = opened(tmp_path).read("slot/c/0/0/0") == objects["slot/c/0/0/0"]
        finally:
            os._exit(0 if same and again else 3)
    _, status = os.waitpid(child, 0)
    assert status == 0


def test_addresses_with_secrets_are_refused():
    for text in (
        "s3://user:hush@labels/x.zarr",
        "https://host/x.zarr.zip?X-Amz-Signature=hush",
        "https://host/x.zip#hush",
    ):
        with pytest.raises(ConfigError, match="leave them out") as refused:
            Url(text)
        assert "hush" not in str(refused.value)
    with pytest.raises(ConfigError, match="no address that fkd reads"):
        Url("ftp://host/x.zarr")
    with pytest.raises(StoreError, match="hf://datasets/ORG/NAME"):
        files_at(Url("hf://models/x")).size("zarr.json")


def test_hub_addresses(monkeypatch):
    from fkd.files.address import web_address

    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    hub = "https://huggingface.co/datasets/org/set/resolve"
    assert web_address(Url("hf://datasets/org/set/a/b.zip")) == f"{hub}/main/a/b.zip"
    assert web_address(Url("hf://datasets/org/set@v1/b.zip")) == f"{hub}/v1/b.zip"
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9/")
    address = web_address(Url("hf://datasets/org/set"))
    assert address == "http://127.0.0.1:9/datasets/org/set/resolve/main"
