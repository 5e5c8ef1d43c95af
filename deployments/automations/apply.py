"""Makes the automations of this folder, or brings them up to date: `python apply.py [TYPE/NAME of a message block]`.

One that an operator has switched off stays so.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound

_MESSAGE_BLOCK_ID = "@MESSAGE_BLOCK_ID@"
_DEPLOYMENT_ID = re.compile("@ID_OF ([^@]+)@")


def main(message_block: str) -> None:
    """Apply each file, in the order of their names."""
    with get_client(sync_client=True) as client:
        block_id = _id_of(client, message_block) if message_block else None
        for path in sorted(Path(__file__).parent.glob("*.yaml")):
            text = path.read_text()
            if _MESSAGE_BLOCK_ID in text and block_id is None:
                print(f"left out, no --message-block is given: {path.name}")
                continue
            text = text.replace(_MESSAGE_BLOCK_ID, block_id or "")
            text = _DEPLOYMENT_ID.sub(lambda found: str(client.read_deployment_by_name(found[1]).id), text)
            _apply(client, AutomationCore.model_validate(yaml.safe_load(text)))


def _apply(client: SyncPrefectClient, automation: AutomationCore) -> None:
    there = client.read_automations_by_name(automation.name)
    if there:
        client.update_automation(there[0].id, automation.model_copy(update={"enabled": there[0].enabled}))
    else:
        client.create_automation(automation)
    enabled = there[0].enabled if there else automation.enabled
    print(automation.name + ("" if enabled else " (is switched off)"))


def _id_of(client: SyncPrefectClient, block: str) -> str:
    slug, _, name = block.partition("/")
    try:
        return str(client.read_block_document_by_name(name, slug, include_secrets=False).id)
    except ObjectNotFound:
        sys.exit(f"up.sh: --message-block {block}: no such block; save one in Prefect's UI, under Blocks")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
