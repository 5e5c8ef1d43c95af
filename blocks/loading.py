"""Fill settings from the Prefect blocks that they name.

The block types are imported only when needed: Prefect takes long to make their schemas, and most runs name no block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound

from badc.errors import RequestError
from badc.settings.model import BLOCK_FIELDS, Settings, option_name, settings_from

if TYPE_CHECKING:
    from blocks.base import SettingsBlock

S = TypeVar("S", bound=Settings)


def filled_from_blocks(settings: S) -> S:
    """Return the settings, completed from the blocks that they name; their own values take precedence.

    The result names no blocks any more: a record, or a command that resumes the run, has the values as they were, even
    if the blocks change later. Raises RequestError if a block does not exist, or its values conflict with the other
    settings.
    """
    if not settings.named_blocks:
        return settings
    values: dict[str, Any] = {}
    for option, name in settings.named_blocks.items():
        values |= _load(option, name).values_for(type(settings))
    own = {name: getattr(settings, name) for name in settings.model_fields_set if name not in BLOCK_FIELDS}
    try:
        filled: S = settings_from(type(settings), values | own)
    except RequestError as error:
        blocks = ", ".join(f"{option_name(option)} {name}" for option, name in settings.named_blocks.items())
        raise RequestError(f"{error} (with what is saved as {blocks})") from None
    return filled


def register_block_types() -> list[str]:
    """Register the block types with the Prefect API, or update them; return their names."""
    from blocks.types import TYPES_BY_OPTION

    types = [block_type for types in TYPES_BY_OPTION.values() for block_type in types]
    for block_type in types:
        block_type.register_type_and_schema()
    return [block_type.get_block_type_name() for block_type in types]


def _load(option: str, name: str) -> SettingsBlock:
    from blocks.types import TYPES_BY_OPTION

    types = TYPES_BY_OPTION[option]
    slug, slash, short = name.rpartition("/")
    candidates = [each for each in types if not slash or each.get_block_type_slug() == slug]
    found = [each for each in candidates if _exists(each.get_block_type_slug(), short)]
    if len(found) > 1:
        names = " or ".join(f"{each.get_block_type_slug()}/{short}" for each in found)
        raise RequestError(f"{option_name(option)} {name}: there are several of this name; write {names}")
    if not found:
        known = _names(types)
        raise RequestError(
            f"{option_name(option)} {name}: no such block; "
            + (
                f"there is {', '.join(known)}"
                if known
                else "save one in Prefect's UI, under Blocks, after `badc setup`"
            )
        )
    try:
        block: SettingsBlock = found[0].load(short)
    except (ValueError, RuntimeError) as error:  # pydantic's too: the type may be stricter than when it was saved
        raise RequestError(f"{option_name(option)} {name}: the block cannot be used: {error}") from None
    return block


def _exists(slug: str, name: str) -> bool:
    with get_client(sync_client=True) as client:
        try:
            client.read_block_document_by_name(name, slug, include_secrets=False)
        except ObjectNotFound:
            return False
    return True


def _names(types: tuple[Any, ...]) -> list[str]:
    names = []
    with get_client(sync_client=True) as client:
        for each in types:
            slug = each.get_block_type_slug()
            try:
                documents = client.read_block_documents_by_type(slug, include_secrets=False)
            except ObjectNotFound:
                continue
            names += [f"{slug}/{document.name}" for document in documents]
    return names
