"""Refuses inputs that cannot be meant: of which nothing would be left, or that are tables without a column."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from ..schemas.dataset import FieldPath
from ..schemas.errors import ConfigError, InputError
from ..schemas.policy import Policy
from ..schemas.record_columns import RESERVED_PREFIX
from ..transforms.protection_plan import dataset_of, plan_protection, told_path
from .sources import Sources
from .splits import FileFormat

__all__ = ["check_some_column_leaves", "check_some_header"]

MOST_NAMES = 12
ANY_VERSION = 1


def check_some_column_leaves(schema: pa.Schema, policy: Policy, dataset_name: str) -> None:
    """Refuses columns none of which the policy lets leave; an input without any column has no record to lose.

    Args:
        schema: Of the input.
        policy: Read and checked.
        dataset_name: One of the policy's.

    Raises:
        ConfigError: Names the columns of both sides, and the datasets that there are.
    """
    names = [field.name for field in schema if not field.name.startswith(RESERVED_PREFIX)]
    if not names or plan_protection(policy, dataset_name, schema, key_version=ANY_VERSION).columns:
        return
    found = _listed(told_path(FieldPath((name,))) for name in names)
    declared = _listed(str(path) for path in dataset_of(policy, dataset_name).fields)
    raise ConfigError(
        f"--dataset {dataset_name}: no column of the input would be left; the input has: {found}; the dataset "
        f"declares: {declared}; name the dataset that these records belong to (the policy has: "
        f"{', '.join(sorted(policy.datasets))}), or declare their fields; nothing was done",
        reason="nothing_declared",
    )


def check_some_header(sources: Sources) -> None:
    """Refuses an input in which nothing is but CSV without its header; empty JSON Lines alone are no records.

    An empty part among others is passed over, as engines leave such parts.

    Raises:
        InputError: Names the first such file.
    """
    tables = [file for file in sources.files if file.format in (FileFormat.CSV, FileFormat.TSV)]
    if tables and not sources.splits:
        raise InputError(
            f"{tables[0].name}: is empty, and the first line of such a file must name its columns; see whether it was "
            "written to its end, give it its header, or leave it out; nothing was done"
        )


def _listed(names: Iterable[str]) -> str:
    """Returns names once each, not too many of them."""
    found = list(dict.fromkeys(names))
    more = f" and {len(found) - MOST_NAMES} more" if len(found) > MOST_NAMES else ""
    return ", ".join(found[:MOST_NAMES]) + more
