"""Refuses inputs that hold tokens of an earlier run where they would become tokens of tokens.

What ``protect`` writes says of each field what was done to it, and Parquet keeps that. Files of text do not, so that
nothing can be told there.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from ..schemas.dataset import EACH, Dataset, FieldPath, Plain
from ..schemas.errors import InputError
from ..schemas.info_types import DropRule, InfoType, KeepRule, RedactRule
from ..schemas.policy import Policy
from ..transforms.nested_columns import is_list
from ..transforms.protection_plan import dataset_of
from .sources import Sources

__all__ = ["check_untokenized", "tokenized_paths"]

ACTION = b"consentry.action"
TOKENIZE = b"tokenize"


def check_untokenized(sources: Sources, policy: Policy, dataset_name: str) -> None:
    """Refuses an input with tokens that the policy would treat as raw values; kept, dropped and redacted ones may be.

    Args:
        sources: The input.
        policy: Read and checked.
        dataset_name: One of the policy's.

    Raises:
        InputError: Names the first such file, its columns and what to do.
    """
    dataset = dataset_of(policy, dataset_name)
    for split in sources.splits:
        paths = [str(path) for path in tokenized_paths(split.columns) if _is_treated(path, dataset, policy)]
        if paths:
            raise InputError(
                f"{split.file.name}: holds tokens of an earlier run in {', '.join(paths)}; protect the raw source, "
                f"or, to pass them as they are, declare them keep in datasets.{dataset_name}.fields",
                reason="input_tokenized",
            )


def tokenized_paths(schema: pa.Schema) -> Iterator[FieldPath]:
    """Yields the paths of a file whose field metadata says that they hold tokens.

    >>> card = pa.field("card", pa.string(), metadata={"consentry.action": "tokenize"})
    >>> [str(path) for path in tokenized_paths(pa.schema([card, pa.field("id", pa.int64())]))]
    ['card']
    """
    for field in schema:
        yield from _tokenized_below(field, FieldPath((field.name,)))


def _tokenized_below(field: pa.Field, path: FieldPath) -> Iterator[FieldPath]:
    if (field.metadata or {}).get(ACTION) == TOKENIZE:
        yield path
    elif pa.types.is_struct(field.type):
        for child in field.type:
            yield from _tokenized_below(child, path.child(child.name))
    elif is_list(field.type):
        yield from _tokenized_below(field.type.value_field, path.child(EACH))


def _is_treated(path: FieldPath, dataset: Dataset, policy: Policy) -> bool:
    """Whether an info type changes what lies at ``path``, and lets something of it leave."""
    named = dataset.rule_for(path)
    rule: InfoType | None = None if named is None or isinstance(named, Plain) else policy.info_types[named]
    return rule is not None and not isinstance(rule, KeepRule | DropRule | RedactRule)
