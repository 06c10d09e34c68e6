"""From an address to obstore's store of it, with patience for a network that fails now and then."""

import os
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from fkd.config import Url
from fkd.errors import StoreError, first_line

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig


@dataclass(frozen=True)
class Patience:
    """How long a request may be silent, in seconds, and how often it is made again."""

    silent: float = 30
    retries: int = 8
    longest: float = 180


PATIENCE = Patience()


def connect(url: Url, patience: Patience) -> "ObjectStore":
    """Return obstore's store of an address; raises `StoreError` where that cannot be.

    obstore reads credentials and endpoints from the environment (AWS_…, GOOGLE_…).
    """
    try:
        from obstore.store import from_url
    except ImportError as error:
        raise StoreError(
            f"{url} is read by obstore, which is not installed; install fkd with "
            '"pip install fkd[remote]"'
        ) from error
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    plain = os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true", "yes")
    web = web_address(url) if url.startswith("hf:") else str(url)
    # A client's options are not joined with the environment's: HTTP without TLS is allowed here.
    client: ClientConfig = {
        "allow_http": web.startswith("http:") or endpoint.startswith("http:") or plain,
        "connect_timeout": timedelta(seconds=min(10.0, patience.silent)),
        "read_timeout": timedelta(seconds=patience.silent),
        "timeout": timedelta(seconds=patience.longest),
    }
    if url.startswith("hf:") and (token := os.environ.get("HF_TOKEN")):
        client["default_headers"] = {"Authorization": f"Bearer {token}"}
    retry: RetryConfig = {
        "max_retries": patience.retries,
        "backoff": {
            "init_backoff": timedelta(milliseconds=100),
            "max_backoff": timedelta(seconds=10),
            "base": 2,
        },
        "retry_timeout": timedelta(seconds=patience.longest),
    }
    try:
        store: ObjectStore = from_url(web, client_options=client, retry_config=retry)
    except Exception as error:
        raise StoreError(f"{url} is no address of a store ({first_line(error)})") from error
    return store


def web_address(url: Url) -> str:
    """Return the web address of hf://datasets/ORG/NAME[@REVISION][/PATH].

    HF_ENDPOINT is the hub's. Raises `StoreError` for another form.
    """
    form = re.fullmatch(r"hf://datasets/([^/@]+/[^/@]+)(?:@([^/]+))?(?:/(.*))?", url)
    if form is None:
        raise StoreError(f"{url} is no data set of the hub; write hf://datasets/ORG/NAME/PATH")
    name, revision, path = form.groups()
    hub = os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"
    return f"{hub}/datasets/{name}/resolve/{revision or 'main'}/{path or ''}".rstrip("/")
