from __future__ import annotations

import gc
import logging
import pickle
import traceback
import weakref
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, cast

import apache_beam as beam
import pyarrow as pa
import pytest
from consentry.schemas import errors
from consentry.schemas.errors import ConfigError, PolicyError, PrivacyError, RunError
from consentry.transforms.failures import failure_of, guarded

CANARY = "CANARY-4111111111111111"
FN_API = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
Failing = Callable[[Callable[[], Any]], PrivacyError]
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
    with pytest.raises(PrivacyError) as caught:
        guarded("protect")(work)()
    return caught.value


def failed_at_second(work: Callable[[], Any]) -> PrivacyError:
    @guarded("protect")
    def items() -> Iterator[int]:
        yield 1
        work()

    found = items()
    assert next(found) == 1
    with pytest.raises(PrivacyError) as caught:
        next(found)
    return caught.value


FORMS = pytest.mark.parametrize("failing", [failed, failed_at_second], ids=["function", "generator"])


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


@FORMS
@pytest.mark.parametrize("name", FOREIGN)
def test_of_a_foreign_failure_only_the_name_of_its_type_leaves(name: str, failing: Failing) -> None:
    work, kind = FOREIGN[name]
    if failing is failed_at_second and kind == "StopIteration":
        kind = "RuntimeError"  # what Python makes of it in a generator
    error = failing(work)
    assert type(error) is RunError
    message = f"protect: failed with {kind}; no output became visible, run it again or report it"
    assert error.args == (message,)
    assert (error.reason, error.exit_code) == ("run_failed", 3)
    assert error.__cause__ is None
    assert error.__suppress_context__
    assert CANARY not in "".join(traceback.format_exception(error)) + repr(error.__dict__)
    assert CANARY.encode() not in pickle.dumps(error)


@FORMS
@pytest.mark.parametrize("name", FOREIGN)
def test_nothing_leads_from_an_error_back_to_the_foreign_failure(name: str, failing: Failing) -> None:
    error = failing(FOREIGN[name][0])
    assert error.__context__ is None
    assert CANARY not in everything(error)


@FORMS
@pytest.mark.parametrize("raised", [ForeignError, lambda: RunError("the pipeline failed")], ids=["foreign", "ours"])
def test_no_frame_of_the_work_hangs_on_an_error(raised: Callable[[], Exception], failing: Failing) -> None:
    def work() -> None:
        value = CANARY
        raise raised() from ValueError(value)

    names = [frame.f_code.co_name for frame, _ in traceback.walk_tb(failing(work).__traceback__)]
    assert names == [failing.__name__, "guarded_work"]


@FORMS
def test_the_foreign_failure_itself_is_gone(failing: Failing) -> None:
    alive: weakref.WeakSet[Exception] = weakref.WeakSet()

    def work() -> None:
        foreign = ForeignError()
        alive.add(foreign)
        raise foreign

    error = failing(work)
    gc.collect()
    assert list(alive) == []
    assert isinstance(error, RunError)


@FORMS
@pytest.mark.parametrize("kind", ALL_ERRORS)
def test_our_errors_pass_as_they_are(kind: type[PrivacyError], failing: Failing) -> None:
    raised = kind("policy.yaml:14: unknown action; write one of: drop, keep")

    def work() -> None:
        raise raised

    assert failing(work) is raised
    assert str(raised) == "policy.yaml:14: unknown action; write one of: drop, keep"


def test_of_a_failure_of_the_system_its_own_words_are_told_and_no_name_of_a_file() -> None:
    error = failed(lambda: Path(f"/{CANARY}").read_text())
    assert "failed with FileNotFoundError (No such file or directory);" in str(error)
    assert CANARY not in str(error)


@FORMS
def test_our_errors_pass_without_what_led_to_them(failing: Failing) -> None:
    def work() -> None:
        try:
            raise ForeignError
        except ForeignError as error:
            raise ConfigError("datasets: no such dataset", reason="no_dataset") from error

    error = failing(work)
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
    @guarded("protect")
    def doubled(number: int, *, times: int = 2) -> int:
        """Returns a multiple."""
        return number * times

    assert (doubled(1), doubled(2, times=3), doubled.__doc__) == (2, 6, "Returns a multiple.")


def test_a_generator_that_succeeds_is_left_alone_and_begins_when_it_is_asked() -> None:
    begun: list[int] = []

    @guarded("protect")
    def items(count: int) -> Iterator[int]:
        begun.append(count)
        yield from range(count)

    found = items(3)
    assert begun == []
    assert list(found) == [0, 1, 2]


def test_a_generator_that_is_closed_early_ends_its_work() -> None:
    ended: list[bool] = []

    @guarded("protect")
    def items() -> Iterator[int]:
        try:
            yield 1
        finally:
            ended.append(True)

    found = cast("Generator[int]", items())
    assert next(found) == 1
    found.close()
    assert ended == [True]


def test_what_the_taker_of_items_raises_is_not_touched() -> None:
    @guarded("protect")
    def items() -> Iterator[int]:
        yield 1

    with pytest.raises(ForeignError):
        for _ in items():
            raise ForeignError


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_ends_the_program_is_not_held_up(kind: type[BaseException]) -> None:
    @guarded("protect")
    def work() -> None:
        raise kind

    with pytest.raises(kind):
        work()


# ---- what a runner makes of it


class FailingFn(beam.DoFn):
    @guarded("protect")
    def process(self, element: str) -> Any:
        raise ValueError(element)


class LateFailingFn(beam.DoFn):
    @guarded("protect")
    def process(self, element: str) -> Any:
        yield 1
        raise ValueError(element)


@pytest.mark.parametrize("kind", [FailingFn, LateFailingFn])
def test_a_runner_neither_logs_nor_raises_the_value(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], kind: type[beam.DoFn]
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(RunError, match="protect: failed with ValueError") as caught:  # noqa: SIM117
        with beam.Pipeline(FN_API) as pipeline:
            _ = pipeline | beam.Create([1]) | beam.Map(lambda _: "0123456789"[::-1]) | "Fail" >> beam.ParDo(kind())
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
