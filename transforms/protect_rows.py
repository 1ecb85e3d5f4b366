"""The whole protection over Beam's rows, as Beam YAML and SQL pass them: no code, only ``project`` and ``dataset``.

Rows come with a schema and leave with one that is settled while the pipeline is built, from the policy. Where rows are
lines of JSON, ``json_field`` names the field that holds them, and protected lines leave in it.
"""

# Without `from __future__ import annotations`: Beam YAML reads the types of the constructor as they stand.
# mypy: disable-error-code="attr-defined, name-defined, no-untyped-call, misc"
import json
import math
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import Any, NoReturn

import apache_beam as beam
import pyarrow as pa
from apache_beam.typehints.row_type import RowTypeConstraint

from ..schemas.dataset import Dataset, FieldPath, Plain
from ..schemas.dead_letter import DEAD_LETTER_SCHEMA
from ..schemas.errors import ConfigError
from ..schemas.info_types import DropRule, OnDrift
from ..schemas.policy import Policy
from .failures import guarded
from .protect_records import ProtectDicts
from .protection_plan import dataset_of, plan_protection
from .row_types import columns_of, plain_value, row_value, type_hint
from .stage import StageConfig

__all__ = ["ProtectRows", "protected_columns"]

GOOD = "good"
LETTER_TYPE = RowTypeConstraint.from_fields(
    [
        (field.name, type_hint(field.type) if field.nullable else {"string": str, "binary": bytes}[str(field.type)])
        for field in DEAD_LETTER_SCHEMA
    ]
)

Columns = Mapping[str, pa.DataType | None]


class ProtectRows(beam.PTransform[Any, Any]):
    """Protects rows as the policy says, and vaults what may be vaulted.

    Args:
        project: Path of consentry.yaml, on the machine that builds the pipeline. Keyring and stores that it names are
            opened by the workers, so it holds no secret and they must reach them.
        dataset: Name of the dataset in the policy.
        error_handling: Where dead letters go, as {output: dead_letters}. It must be given: what cannot be protected
            has to go somewhere.
        json_field: The field whose text is a JSON object. Leave it out where rows have fields of their own.
        at: Instant of all decisions, RFC 3339 with an offset. Default: when the pipeline is built.
    """

    def __init__(
        self,
        project: str,
        dataset: str,
        error_handling: Mapping[str, str] | None = None,
        json_field: str | None = None,
        at: str | None = None,
    ) -> None:
        super().__init__()
        self._letters = _letters_output(error_handling)
        self._json_field = json_field
        self._protect = ProtectDicts(project, dataset, at)

    def expand(self, input_or_inputs: beam.PCollection[Any]) -> Any:
        """Returns the outputs ``good``, rows, and the one that ``error_handling`` names, dead letters."""
        columns = columns_of(input_or_inputs.element_type)
        if self._json_field is None:
            read: beam.DoFn = _PlainFn()
            leaving = protected_columns(columns, self._protect.config)
            write: beam.DoFn = _RowsFn(leaving)
        else:
            _check_field(self._json_field, columns)
            read, write = _ParseFn(self._json_field), _JsonFn(self._json_field)
            leaving = {self._json_field: pa.string()}
        kind = RowTypeConstraint.from_fields(
            [(name, Any if each is None else type_hint(each)) for name, each in leaving.items()]
        )
        records = input_or_inputs | "Read" >> beam.ParDo(read).with_output_types(Any)
        found = records | "Protect" >> self._protect
        letters = found.dead_letters | "Letters" >> beam.ParDo(_LettersFn()).with_output_types(LETTER_TYPE)
        return {GOOD: found.rows | "Rows" >> beam.ParDo(write).with_output_types(kind), self._letters: letters}


def protected_columns(columns: Columns, config: StageConfig) -> Columns:
    """Returns the columns that leave, in the order of the input; None: loose.

    Args:
        columns: Of the input.
        config: Of the stage.

    Raises:
        ConfigError: The input is none of rows, or no column of it is declared.
    """
    if not columns:
        raise ConfigError(
            "ConsentryProtect: its input is no collection of rows with a schema; "
            "name the field that holds JSON by json_field, or give the source a schema"
        )
    known = pa.schema([(name, kind) for name, kind in columns.items() if kind is not None])
    plan = plan_protection(config.policy, config.dataset, known, key_version=config.key_version)
    typed = {field.name: field.type for field in plan.schema}
    dataset = dataset_of(config.policy, config.dataset)
    leaving = {
        name: typed.get(name)
        for name, kind in columns.items()
        if name in typed or (kind is None and _may_leave(name, dataset, config.policy))
    }
    if not leaving:
        raise ConfigError(f"ConsentryProtect: no column of its input is declared for dataset '{config.dataset}'")
    return leaving


def _may_leave(name: str, dataset: Dataset, policy: Policy) -> bool:
    """Whether something of a loose column can leave."""
    path = FieldPath((name,))
    below = [rule for declared, rule in dataset.fields.items() if declared.is_under(path)]
    if not below:
        return dataset.on_drift is OnDrift.PROTECT_AS_FOUND
    dropped = {Plain.DROP, *(each for each, rule in policy.info_types.items() if isinstance(rule, DropRule))}
    return not dropped.issuperset(below)


def _letters_output(error_handling: Mapping[str, str] | None) -> str:
    output = (error_handling or {}).get("output")
    if not isinstance(output, str) or output in ("", GOOD):
        raise ConfigError(
            "ConsentryProtect: error_handling names no output for dead letters; "
            "write error_handling: {output: dead_letters}, and use that output"
        )
    return output


def _check_field(name: str, columns: Columns) -> None:
    if columns and name not in columns:
        raise ConfigError("ConsentryProtect: the input has no field of the name that json_field gives")


class _PlainFn(beam.DoFn):
    @guarded("read rows")
    def process(self, element: Any) -> Iterator[Any]:
        yield plain_value(element)


class _ParseFn(beam.DoFn):
    def __init__(self, field: str) -> None:
        super().__init__()
        self._field = field

    @guarded("read rows")
    def process(self, element: Any) -> Iterator[Any]:
        yield _parsed(getattr(element, self._field))


def _parsed(text: Any) -> Any:
    """Returns the object in a text; the text itself, which becomes a dead letter, where there is none."""
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, TypeError, RecursionError):
        return text


def _unique(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns an object; one that names a field twice is refused, since nobody can say which value counts."""
    found = dict(fields)
    if len(found) < len(fields):
        raise ValueError("a field is named twice")
    return found


def _refuse(name: str) -> NoReturn:
    raise ValueError("JSON has no such number")


def _finite(digits: str) -> float:
    """Returns a number, and refuses one that is too great to be written again."""
    number = float(digits)
    return number if math.isfinite(number) else _refuse(digits)


class _RowsFn(beam.DoFn):
    def __init__(self, columns: Columns) -> None:
        super().__init__()
        self._columns = dict(columns)

    @guarded("write rows")
    def process(self, element: dict[str, Any]) -> Iterator[beam.Row]:
        yield beam.Row(**{name: row_value(element.get(name), kind) for name, kind in self._columns.items()})


class _JsonFn(beam.DoFn):
    def __init__(self, field: str) -> None:
        super().__init__()
        self._field = field

    @guarded("write rows")
    def process(self, element: dict[str, Any]) -> Iterator[beam.Row]:
        yield beam.Row(**{self._field: json.dumps(element, ensure_ascii=False, default=_as_text)})


def _as_text(value: Any) -> str:
    return value.isoformat() if isinstance(value, date | datetime) else str(value)


class _LettersFn(beam.DoFn):
    @guarded("write letters")
    def process(self, element: pa.RecordBatch) -> Iterator[beam.Row]:
        for letter in element.to_pylist():
            yield beam.Row(**letter)
