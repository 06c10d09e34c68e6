"""A bucket on this machine: rclone serves a folder, and a proxy before it counts and misbehaves."""

import contextlib
import http.client
import shutil
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

KEY, SECRET = "AKIDOFTHETESTS", "secretOfTheTests"
BUCKET = "labels"


def rclone():
    """Return where rclone is: beside the Python that runs this, or on the path; None where it is not."""
    beside = Path(sys.executable).with_name("rclone")
    return str(beside) if beside.is_file() else shutil.which("rclone")


def has_rclone():
    return rclone() is not None


@dataclass
class Bucket:
    """A served folder: `root` is the bucket's, `requests` what was asked of the proxy.

    `fault(method, path, number)` may return what becomes of the request of that number: "cut" closes the
    connection in the middle of the body, "503" and "403" answer so, "slow" answers after a while.
    """

    root: Path
    port: int = 0
    endpoint: str = ""
    requests: list[tuple[str, str, int]] = field(default_factory=list)  # method, path, bytes sent
    fault: object = None
    slow: float = 0.5

    def environment(self):
        """Return what obstore reads of the environment, to reach this bucket."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }

    def bytes_sent(self, part="", method="GET"):
        """Return the bytes of bodies that were sent of paths with this part."""
        return sum(size for kind, path, size in self.requests if kind == method and part in path)

    def count(self, part="", method=None):
        return sum(part in path and method in (None, kind) for kind, path, _ in self.requests)

    def reset(self):
        self.requests.clear()
        self.fault = None


@contextlib.contextmanager
def served(folder):
    """Serve `folder`, whose own folders are buckets, until the end of the `with` block."""
    (folder / BUCKET).mkdir(parents=True, exist_ok=True)
    port = free_port()
    words = [
        rclone(),
        "serve",
        "s3",
        "--auth-key",
        f"{KEY},{SECRET}",
        "--addr",
        f"127.0.0.1:{port}",
    ]
    words += ["--vfs-read-wait", "0", "--dir-cache-time", "1ms", "--config", "", str(folder)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            await_port(port, server)
            bucket = Bucket(folder / BUCKET, port)
            with proxied(bucket):
                yield bucket
        finally:
            server.kill()


@contextlib.contextmanager
def proxied(bucket):
    """Stand between a bucket, or any server on a port of this machine, and those who read from it."""
    proxy = _Server(("127.0.0.1", 0), _Proxy)
    proxy.bucket = bucket
    bucket.endpoint = f"http://127.0.0.1:{proxy.server_port}"
    thread = threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield bucket
    finally:
        proxy.shutdown()
        proxy.server_close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def await_port(port, server):
    deadline = time.monotonic() + 60
    while True:
        assert server.poll() is None, "rclone ended"
        assert time.monotonic() < deadline
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    bucket: Bucket

    def handle_error(self, request, client_address):
        """A client that goes away is none of a test's business."""


class _Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def _pass(self):
        bucket, path = self.server.bucket, self.path
        row = [self.command, path, 0]
        bucket.requests.append(row)
        number = len(bucket.requests)
        fault = bucket.fault and bucket.fault(self.command, path, number)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if fault in ("503", "403"):
            return self._answer(int(fault), [("Content-Length", "0")], b"")
        if fault == "slow":
            time.sleep(bucket.slow)
        upstream = http.client.HTTPConnection("127.0.0.1", bucket.port, timeout=20)
        upstream.putrequest(self.command, path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            upstream.putheader(name, value)
        upstream.endheaders(body)
        answer = upstream.getresponse()
        content = answer.read()
        kept = [(n, v) for n, v in answer.getheaders() if n.lower() not in _OF_THE_HOP]
        status = answer.status
        if status == 200 and answer.getheader("Content-Range"):
            status = 206  # rclone answers 200 where S3 says that this is a part
        length = answer.getheader("Content-Length", 0) if self.command == "HEAD" else len(content)
        kept.append(("Content-Length", str(length)))
        upstream.close()
        if fault == "cut":
            content = content[: len(content) // 2]
            self.close_connection = True
        row[2] = len(content)
        return self._answer(status, kept, content)

    def _answer(self, status, headers, content):
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass


_OF_THE_HOP = ("content-length", "transfer-encoding", "connection", "keep-alive")
