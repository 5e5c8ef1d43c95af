"""Prints the id of a notification block: `python block_id.py custom-webhook/lab`."""

from __future__ import annotations

import sys

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound

slug, _, name = sys.argv[1].partition("/")
with get_client(sync_client=True) as client:
    try:
        print(client.read_block_document_by_name(name, slug, include_secrets=False).id)
    except ObjectNotFound:
        sys.exit(f"up.sh: --message-block {sys.argv[1]}: no such block; save one in Prefect's UI, under Blocks")
