"""Verbs: what is done to records. Public transforms load on first use, so that programs without Beam stay light."""

from typing import TYPE_CHECKING, Any

if __name__ != "consentry.transforms":
    raise ImportError(
        "'transforms' is a folder of the source tree, not the package: run `pip install -e .` "
        "and import `consentry.transforms`"
    )

if TYPE_CHECKING:
    from .arrow_coder import RecordBatchCoder
    from .consent_decision import Decide
    from .protect_records import ProtectDicts, ProtectedDicts, ProtectedRecords, ProtectRecords
    from .protect_rows import ProtectRows
    from .protection import Protect
    from .stage import SharedStage, StageConfig, settle_stage
    from .tally import CombineTallies, Tally

__all__ = [
    "CombineTallies",
    "Decide",
    "Protect",
    "ProtectDicts",
    "ProtectRecords",
    "ProtectRows",
    "ProtectedDicts",
    "ProtectedRecords",
    "RecordBatchCoder",
    "SharedStage",
    "StageConfig",
    "Tally",
    "settle_stage",
]

_PLACES = {
    "CombineTallies": "tally",
    "Decide": "consent_decision",
    "Protect": "protection",
    "ProtectDicts": "protect_records",
    "ProtectRecords": "protect_records",
    "ProtectRows": "protect_rows",
    "ProtectedDicts": "protect_records",
    "ProtectedRecords": "protect_records",
    "RecordBatchCoder": "arrow_coder",
    "SharedStage": "stage",
    "StageConfig": "stage",
    "Tally": "tally",
    "settle_stage": "stage",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_PLACES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
