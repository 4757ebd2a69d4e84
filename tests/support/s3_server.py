"""An S3 service of the tests' own, in a thread of the test's process; `environment` is what its clients need."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import boto3
from moto.server import ThreadedMotoServer

REGION = "us-east-1"


@attrs.frozen
class S3Server:
    """A running one. `client` is boto's: another client than ours."""

    url: str
    client: Any
    _server: ThreadedMotoServer

    def pause(self) -> None:
        """Be away, keeping what there is."""
        self._server.stop()

    def resume(self) -> None:
        """Be there again, at the same address."""
        self._server._port = int(self.url.rpartition(":")[2])
        self._server.start()

    @property
    def environment(self) -> dict[str, str]:
        """AWS's variables."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
        }

    def keys(self, bucket: str) -> list[str]:
        """What lies in a bucket."""
        return [found["Key"] for found in self.client.list_objects_v2(Bucket=bucket).get("Contents", [])]


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """A service for as long as the block lasts."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        session = boto3.session.Session()
        client = session.client(
            "s3", endpoint_url=url, aws_access_key_id="test", aws_secret_access_key="test", region_name=REGION
        )
        yield S3Server(url, client, server)
        client.close()
    finally:
        server.stop()
