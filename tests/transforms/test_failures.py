from __future__ import annotations

import logging
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from consentry.schemas import errors
from consentry.schemas.errors import ConfigError, PolicyError, PrivacyError, RunError
from consentry.transforms.failures import failure_of, guarded

CANARY = "CANARY-4111111111111111"
FN_API = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
ALL_ERRORS = [getattr(errors, name) for name in errors.__all__]


class ForeignError(Exception):
    """Carries what it was about in every way that an exception can."""

    def __init__(self) -> None:
        super().__init__(CANARY, {"value": CANARY})
        self.value = CANARY
        self.add_note(CANARY)


def raise_caused() -> None:
    raise ForeignError from ValueError(CANARY)


def raise_in_handler() -> None:
    try:
        raise ValueError(CANARY)
    except ValueError:
        raise ForeignError  # noqa: B904 - its context is what is tested


def raise_group() -> None:
    raise ExceptionGroup(CANARY, [ForeignError(), RunError("the pipeline failed")])


def raise_arrow() -> None:
    pa.array([CANARY]).cast(pa.int64())


def raise_text() -> None:
    f"{CANARY}\ud800".encode()


FOREIGN: dict[str, tuple[Callable[[], None], str]] = {
    "caused": (raise_caused, "ForeignError"),
    "in a handler": (raise_in_handler, "ForeignError"),
    "group": (raise_group, "ExceptionGroup"),
    "arrow": (raise_arrow, "ArrowInvalid"),
    "text": (raise_text, "UnicodeEncodeError"),
    "end of iteration": (lambda: next(iter(())), "StopIteration"),
}


def failed(work: Callable[[], Any]) -> PrivacyError:
    with pytest.raises(PrivacyError) as caught, guarded("protect"):
        work()
    return caught.value


def everything(error: BaseException) -> str:
    """All that can be read from an error without looking at the frames of its traceback."""
    seen: list[BaseException] = []
    pending: list[BaseException | None] = [error]
    while pending:
        found = pending.pop()
        if found is not None and found not in seen:
            seen.append(found)
            pending += [found.__cause__, found.__context__, *getattr(found, "exceptions", ())]
    text = "".join(repr((str(each), each.args, each.__dict__)) for each in seen)
    return text + "".join(traceback.format_exception(error))


@pytest.mark.parametrize("name", FOREIGN)
def test_of_a_foreign_failure_only_the_name_of_its_type_leaves(name: str) -> None:
    work, kind = FOREIGN[name]
    error = failed(work)
    assert type(error) is RunError
    message = f"protect: failed with {kind}; no output became visible, run it again or report it"
    assert error.args == (message,)
    assert (error.reason, error.exit_code) == ("run_failed", 3)
    assert error.__cause__ is None
    assert error.__suppress_context__
    assert CANARY not in "".join(traceback.format_exception(error)) + repr(error.__dict__)
    assert CANARY.encode() not in pickle.dumps(error)


@pytest.mark.xfail(strict=True, reason="raising inside of a context manager sets __context__ anew")
@pytest.mark.parametrize("name", FOREIGN)
def test_nothing_leads_from_an_error_back_to_the_foreign_failure(name: str) -> None:
    error = failed(FOREIGN[name][0])
    assert error.__context__ is None
    assert CANARY not in everything(error)


@pytest.mark.parametrize("kind", ALL_ERRORS)
def test_our_errors_pass_as_they_are(kind: type[PrivacyError]) -> None:
    raised = kind("policy.yaml:14: unknown action; write one of: drop, keep")

    def work() -> None:
        raise raised

    assert failed(work) is raised
    assert str(raised) == "policy.yaml:14: unknown action; write one of: drop, keep"


def test_of_a_failure_of_the_system_its_own_words_are_told_and_no_name_of_a_file() -> None:
    error = failed(lambda: Path(f"/{CANARY}").read_text())
    assert "failed with FileNotFoundError (No such file or directory);" in str(error)
    assert CANARY not in str(error)


def test_our_errors_pass_without_what_led_to_them() -> None:
    def work() -> None:
        try:
            raise ForeignError
        except ForeignError as error:
            raise ConfigError("datasets: no such dataset", reason="no_dataset") from error

    error = failed(work)
    assert (str(error), error.reason, error.exit_code) == ("datasets: no such dataset", "no_dataset", 2)
    assert CANARY not in everything(error)


def test_errors_travel_with_reason_and_exit_code() -> None:
    def work() -> None:
        raise PolicyError("two problems", problems=("a", "b"))

    found = pickle.loads(pickle.dumps(failed(work)))
    assert (type(found), str(found), found.problems) == (PolicyError, "two problems", ("a", "b"))
    found = pickle.loads(pickle.dumps(failed(raise_caused)))
    assert type(found) is RunError
    assert (found.reason, found.exit_code) == ("run_failed", 3)
    assert "failed with ForeignError" in str(found)


def test_work_that_succeeds_is_left_alone() -> None:
    with guarded("protect"):
        found = 1
    assert found == 1


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_ends_the_program_is_not_held_up(kind: type[BaseException]) -> None:
    with pytest.raises(kind), guarded("protect"):
        raise kind


# ---- what a runner makes of it


class Failing(beam.DoFn):
    def process(self, element: str) -> Any:
        with guarded("protect"):
            raise ValueError(element)
        yield element


def test_a_runner_neither_logs_nor_raises_the_value(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(RunError, match="protect: failed with ValueError") as caught:  # noqa: SIM117
        with beam.Pipeline(FN_API) as pipeline:
            _ = pipeline | beam.Create([1]) | beam.Map(lambda _: "0123456789"[::-1]) | "Fail" >> beam.ParDo(Failing())
    assert "9876543210" not in "".join(traceback.format_exception(caught.value))
    assert "9876543210" not in "".join([caplog.text, *capfd.readouterr()])
    # Beam rewrites and logs what does not bear its mark, with all that led to it.
    assert str(caught.value).endswith("run it again or report it")
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert failure_of(caught.value) is caught.value


def test_an_error_of_ours_is_found_as_it_is() -> None:
    error = ConfigError("orders: wrong", reason="x")
    assert failure_of(error) is error


@pytest.mark.parametrize("kind", ALL_ERRORS)
def test_an_error_of_ours_is_found_in_the_traceback_of_a_worker(kind: type[PrivacyError]) -> None:
    try:
        raise kind("ledger.db: cannot be read; restore it [while running 'Decide']")
    except PrivacyError as error:
        text = f"{CANARY}\n" + "".join(traceback.format_exception(error)) + f"\nat {CANARY}"
    found = failure_of(RuntimeError(text))
    assert type(found) is kind
    assert str(found) == "ledger.db: cannot be read; restore it [while running 'Decide']"
    assert CANARY not in everything(found)


def test_the_last_error_of_a_traceback_is_the_one_that_counts() -> None:
    text = "consentry.schemas.errors.KekError: first\n\nDuring …\n\nconsentry.schemas.errors.StoreError: last\nmore"
    found = failure_of(RuntimeError(text))
    assert (type(found), str(found)) == (errors.StoreError, "last")


@pytest.mark.parametrize(
    "text",
    [
        CANARY,
        f"ValueError: {CANARY}",
        f"consentry.schemas.errors.NoSuchError: {CANARY}",
        f"consentry.schemas.errors.Any: {CANARY}",
        f"consentry.schemas.errors.RUN_FAILED: {CANARY}",
        f"  consentry.schemas.errors.RunError: {CANARY}",
        f"other.errors.RunError: {CANARY}",
        "",
    ],
)
def test_what_is_not_known_to_be_ours_gives_its_type_alone(text: str) -> None:
    for kind in (RuntimeError, KeyError, ForeignError):
        error = kind() if kind is ForeignError else kind(text)
        found = failure_of(error)
        assert type(found) is RunError
        assert str(found) == f"the pipeline failed with {kind.__name__}; no output became visible"
        assert CANARY not in everything(found)
