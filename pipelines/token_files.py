"""Files with a column of tokens: read a portion at a time, and written again with values in their places.

Parquet, CSV and JSON Lines. All else of a row stays as it is; behind the last column comes the rule that decided about
its token.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from ..schemas.errors import ConfigError
from .token_lines import CsvTokens, JsonTokens
from .token_parquet import ParquetTokens
from .token_portions import TokenFile, unreadable

__all__ = ["open_token_file"]

SEPARATORS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")


def open_token_file(path: Path, column: str, subject_column: str | None) -> TokenFile:
    """Returns a file, with its columns looked up.

    Args:
        path: ``.parquet``, ``.csv``, ``.tsv``, ``.jsonl`` or ``.ndjson``.
        column: Name of a column, or path into structs.
        subject_column: The same, of the column with the customers' ids; None: there is none.

    Raises:
        InputError: The file cannot be read.
        ConfigError: It has no such column, or one that cannot hold tokens or ids.
    """
    kind = path.suffix.lower()
    try:
        if kind == ".parquet":
            return ParquetTokens(path, column, subject_column)
        if kind in SEPARATORS:
            return CsvTokens(path, column, subject_column, SEPARATORS[kind])
        if kind in JSON_LINES:
            return JsonTokens(path, column, subject_column)
    except (OSError, pa.ArrowException) as error:
        raise unreadable(path, error) from None
    raise ConfigError(f"--from {path}: of an unknown kind; name a .parquet, .csv, .tsv or .jsonl file")
