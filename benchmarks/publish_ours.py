"""One publish in a process of its own, as benchmarks/publish.py measures it.

usage: publish_ours ENDPOINT BUCKET ORDER.json    with KEY_FILE in the environment

It does what the task update_repositories does, with what that task imports. The order is a list of what each
distribution gets: its suites, and the packages by their keys. Its last line says how many seconds each part
took.
"""

from __future__ import annotations

import json
import os
import sys
import time
from functools import partial
from pathlib import Path

AT_ONCE = 8


def main(endpoint: str, bucket_name: str, order: str) -> None:
    """Publish what the file ``order`` lists, and print the seconds of each part as JSON."""
    started = time.perf_counter()
    import boto3
    from botocore.config import Config

    from hhvm_packaging.apt.signing import Signer
    from hhvm_packaging.apt.suite import Suite
    from hhvm_packaging.publishing import exposure  # ruff: ignore[unused-import]  # what the task imports
    from hhvm_packaging.store.buckets import Bucket
    from hhvm_packaging.store.concurrently import run_all
    from hhvm_packaging.workers.job import Artifact
    from testing.publisher import POOL, publish

    imported = time.perf_counter()
    s3 = boto3.client(
        "s3",
        endpoint_url=endpoint,
        config=Config(s3={"addressing_style": "path"}, response_checksum_validation="when_required"),
    )
    bucket = Bucket(s3, bucket_name)
    orders = [
        (one["suites"], {key: Artifact(**artifact) for key, artifact in one["packages"].items()})
        for one in json.loads(Path(order).read_text())
    ]
    connected = time.perf_counter()
    with Signer(Path(os.environ["KEY_FILE"]).read_text()) as signer:
        key_ready = time.perf_counter()

        def publish_all(suites: list[str], packages: dict[str, Artifact]) -> None:
            for name in suites:
                # The bucket is scratch, too: the keys are others.
                suite = Suite(bucket, bucket, "debian", name, at_once=AT_ONCE, locks=Path(order).parent)
                publish(suite, packages, signer, pool=POOL)

        run_all((partial(publish_all, *one) for one in orders), at_once=AT_ONCE)
        published = time.perf_counter()
    seconds = {
        "imports": imported - started,
        "client": connected - imported,
        "key": key_ready - connected,
        "publish": published - key_ready,
    }
    print(json.dumps(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
