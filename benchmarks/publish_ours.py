"""One publish in a process of its own, as benchmarks/publish.py measures it.

usage: publish_ours ENDPOINT BUCKET SUITE ORDER.json    with KEY_FILE in the environment

Says on its last line how many seconds what took.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace


def main(endpoint: str, bucket_name: str, suite: str, order: str) -> None:
    begun = time.perf_counter()
    # As in a process of Airflow's: what it has from its start is never looked through.
    gc.disable()
    # What botocore.session makes is boto3's client without its resources and multi-part transfers.
    import botocore.session
    from botocore.config import Config

    from hhvm_packaging.apt import repository
    from hhvm_packaging.apt.signing import Signer
    from hhvm_packaging.store.buckets import Bucket

    imported = time.perf_counter()
    s3 = botocore.session.get_session().create_client(
        "s3",
        endpoint_url=endpoint,
        config=Config(s3={"addressing_style": "path"}, response_checksum_validation="when_required"),
    )
    bucket = Bucket(s3, bucket_name)
    # As jobs.Artifact, whose library takes a tenth of a second to import and has no part in a publish.
    packages = {
        key: SimpleNamespace(**artifact) for key, artifact in json.loads(Path(order).read_text()).items()
    }
    gc.freeze()
    gc.enable()
    connected = time.perf_counter()
    with Signer(Path(os.environ["KEY_FILE"]).read_text()) as signer:
        key_ready = time.perf_counter()
        repository.publish(
            bucket,
            bucket,  # scratch: its keys are others
            repository="debian",
            suite=suite,
            pool="pool/main/h/hhvm/",
            packages=packages,
            locks=Path(order).parent,
            at_once=8,
            signer=signer,
        )
        published = time.perf_counter()
    seconds = {
        "imports": imported - begun,
        "client": connected - imported,
        "key": key_ready - connected,
        "publish": published - key_ready,
    }
    print(json.dumps(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
