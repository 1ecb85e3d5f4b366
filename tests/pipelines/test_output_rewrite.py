"""A rewriting leaves an output in its old state or in the new one, and touches no more files than it must."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from consentry.pipelines import output_state
from consentry.pipelines.manifest_file import sign_manifest
from consentry.pipelines.outcome import Outcome
from consentry.pipelines.output_rewrite import Rewriting, rewrite_output
from consentry.pipelines.publication import open_publication
from consentry.pipelines.sinks import FileWriter
from consentry.pipelines.verify import verify_output
from consentry.schemas.dead_letter import DEAD_LETTER_SCHEMA
from consentry.schemas.errors import ConfigError, IntegrityError, OutputError, RunError
from consentry.schemas.manifest import Manifest, StreamProgress, parse_manifest
from consentry.transforms.crypto.key_sets import ProofKeys, PublicKeys
from consentry.transforms.tally import Tally
from oracles.small_output import SCHEMA, letters, manifest_of, rows, write_output

NOW = 1_793_000_000_000_000
Signing = tuple[ProofKeys, PublicKeys]


class Without:
    """Leaves out the rows of some orders, and gives what is left of a file's rows a mark of the rewriting."""

    def __init__(self, *orders: str, rename: str | None = None) -> None:
        self._orders = pa.array(orders, pa.string())
        self._rename = rename
        self._gone = self._items = 0
        self.steps: list[str] = []

    def schema(self, schema: pa.Schema) -> pa.Schema:
        if self._rename is None:
            return schema
        place = schema.get_field_index("card")
        field = schema.field(place)
        marks = {**field.metadata, b"consentry.key_version": self._rename.encode()}
        return schema.set(place, field.with_metadata(marks))

    def rewrite(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        self.steps.append("rewrite")
        gone = pc.is_in(batch["order_id"], self._orders)
        if not pc.any(gone).as_py():
            return batch
        self._gone += pc.sum(gone).as_py()
        self._items += sum(len(items) for items in batch.filter(gone)["items"].to_pylist())
        return batch.filter(pc.invert(gone))

    def tally(self) -> Tally:
        fields = {"order_id": "kept", "card": "tokenized"}
        return Tally(
            {
                ("rows", "distributable"): -self._gone,
                **{("field", path, outcome): -self._gone for path, outcome in fields.items()},
                ("field", "card", "vault_candidate"): -self._gone,
                ("field", "items[].sku", "kept"): -self._items,
                ("removed", "rows:test"): self._gone,
            }
        )

    def outdated(self, manifest: Manifest) -> bool:
        return False

    def before_shown(self) -> None:
        self.steps.append("before_shown")

    def told(self, manifest: Manifest) -> Manifest:
        self.steps.append("told")
        if self._rename is None:
            return manifest
        card = manifest.fields["card"].model_copy(update={"key_version": int(self._rename)})
        return manifest.model_copy(update={"fields": {**manifest.fields, "card": card}})


class Outputs:
    """Makes outputs of two files, and rewrites them."""

    def __init__(self, place: Path, signing: Signing) -> None:
        self.keys, self.trust = signing
        (place / "proof.pub").write_text(self.trust.dumps())
        self.project: Any = SimpleNamespace(trust=place / "proof.pub")

    def write(self, out: str, run: str = "r1", replace: bool = False) -> Manifest:
        with open_publication(out, run=run, replace=replace) as publication:
            receipts = []
            for mark, count in (("a", 4), ("b", 5)):
                data = FileWriter(publication.place, "data", SCHEMA, run=run)
                data.write(rows(count, mark))
                receipts += data.finish()
            refused = FileWriter(publication.place, "dead_letters", DEAD_LETTER_SCHEMA, run=run)
            refused.write(letters(3))
            outcome = Outcome(receipts=(*receipts, *refused.finish()))
            manifest = manifest_of(outcome, run=run, out=9, dead=3)
            items = sum(n % 3 for n in range(4)) + sum(n % 3 for n in range(5))
            sku = manifest.fields["items[].sku"].model_copy(update={"outcomes": {"kept": items}})
            manifest = manifest.model_copy(update={"fields": {**manifest.fields, "items[].sku": sku}})
            signed = sign_manifest(manifest, self.keys)
            publication.publish([file.path for file in signed.files], signed.dumps())
            return signed

    def rewrite(self, out: str, rewriting: Rewriting) -> Manifest:
        return rewrite_output(self.project, out, lambda _: rewriting, keys=self.keys, clock=lambda: NOW)

    def verified(self, out: str) -> bool:
        return verify_output(out, self.trust).ok


@pytest.fixture
def outputs(tmp_path: Path, signing: Signing) -> Outputs:
    return Outputs(tmp_path, signing)


def orders(out: Path) -> list[str]:
    return sorted(id_ for path in out.glob("data/*.parquet") for id_ in pq.read_table(path)["order_id"].to_pylist())


def hidden(place: Path) -> list[str]:
    return [path.name for path in place.iterdir() if path.name.startswith(".")]


def test_only_files_that_change_are_written_anew_and_the_books_balance(outputs: Outputs, tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = outputs.write(str(out))
    kept = {path.name: path.stat().st_ino for path in out.glob("*/*.parquet")}
    after = outputs.rewrite(str(out), Without("b-1", "b-3"))
    assert orders(out) == ["a-0", "a-1", "a-2", "a-3", "b-0", "b-2", "b-4"]
    assert outputs.verified(str(out)) and parse_manifest((out / "manifest.json").read_bytes())[0] == after
    same = {path.name for path in out.glob("*/*.parquet") if kept.get(path.name) == path.stat().st_ino}
    assert len(same) == 2 and {file.path for file in before.files if file.kind == "dead_letters"} <= {
        f"dead_letters/{name}" for name in same
    } | {f"data/{name}" for name in same}
    assert (after.books.in_, after.books.out, after.books.dropped) == (13, 7, 3)
    assert after.removed == {"rows:test": 2} and after.run != before.run
    again = outputs.rewrite(str(out), Without("a-0"))
    assert again.removed == {"rows:test": 3} and outputs.verified(str(out)) and hidden(tmp_path) == []


def test_an_output_in_which_nothing_changes_stays_as_it_is(outputs: Outputs, tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = outputs.write(str(out))
    state = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    rewriting = Without("nobody")
    assert outputs.rewrite(str(out), rewriting) == before and "told" not in rewriting.steps
    assert state == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_an_output_keeps_its_columns_when_no_row_is_left(outputs: Outputs, tmp_path: Path) -> None:
    out = tmp_path / "out"
    outputs.write(str(out))
    schema = pq.read_schema(next(out.glob("data/*.parquet")))
    everything = Without(*(f"a-{n}" for n in range(4)), *(f"b-{n}" for n in range(5)))
    after = outputs.rewrite(str(out), everything)
    assert after.books.out == 0 and orders(out) == [] and outputs.verified(str(out))
    (file,) = out.glob("data/*.parquet")
    assert pq.read_schema(file).equals(schema, check_metadata=True)


def test_new_field_metadata_stands_in_every_file(outputs: Outputs, tmp_path: Path) -> None:
    out = tmp_path / "out"
    outputs.write(str(out))
    rewriting = Without(rename="2")
    outputs.rewrite(str(out), rewriting)
    assert outputs.verified(str(out)) and rewriting.steps == ["rewrite", "rewrite", "before_shown", "told"]
    for path in out.glob("data/*.parquet"):
        assert pq.read_schema(path).field("card").metadata[b"consentry.key_version"] == b"2"


def test_batches_that_were_read_before_the_first_change_are_in_the_new_file_once(
    outputs: Outputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consentry.pipelines.output_rewrite.BATCH_ROWS", 2)
    out = tmp_path / "out"
    outputs.write(str(out))
    outputs.rewrite(str(out), Without("b-4"))
    assert orders(out) == [*(f"a-{n}" for n in range(4)), *(f"b-{n}" for n in range(4))]
    assert outputs.verified(str(out))


def test_an_output_that_was_changed_is_refused(outputs: Outputs, tmp_path: Path) -> None:
    out = tmp_path / "out"
    outputs.write(str(out))
    path = next(out.glob("data/*.parquet"))
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(IntegrityError, match="is not as its run left it"):
        outputs.rewrite(str(out), Without("a-0"))


def test_counts_that_do_not_fit_the_rows_are_refused_and_nothing_is_visible(outputs: Outputs, tmp_path: Path) -> None:
    class Wrong(Without):
        def tally(self) -> Tally:
            return Tally()

    out = tmp_path / "out"
    outputs.write(str(out))
    with pytest.raises(RunError, match="do not balance"):
        outputs.rewrite(str(out), Wrong("a-0"))
    assert len(orders(out)) == 9 and outputs.verified(str(out)) and hidden(tmp_path) == []


def test_an_error_of_the_rewriting_quotes_nothing(outputs: Outputs, tmp_path: Path) -> None:
    class Failing(Without):
        def rewrite(self, batch: pa.RecordBatch) -> pa.RecordBatch:
            raise ValueError("value kanarie-4711")

    out = tmp_path / "out"
    outputs.write(str(out))
    with pytest.raises(RunError) as caught:
        outputs.rewrite(str(out), Failing())
    assert "kanarie" not in str(caught.value) and caught.value.__context__ is None
    assert outputs.verified(str(out)) and hidden(tmp_path) == []


def test_two_commands_that_replace_one_output_stay_apart(outputs: Outputs, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    outputs.write(out)
    with output_state.alone_in(out), pytest.raises(OutputError, match="at work there"):
        outputs.rewrite(out, Without("a-0"))


def test_an_output_that_was_replaced_meanwhile_stays(outputs: Outputs, tmp_path: Path) -> None:
    class Slow(Without):
        def told(self, manifest: Manifest) -> Manifest:
            write_output(str(out), outputs.keys, run="r2", replace=True)
            return manifest

    out = tmp_path / "out"
    outputs.write(str(out))
    with pytest.raises(RunError, match="was replaced by another run meanwhile"):
        outputs.rewrite(str(out), Slow("a-0"))
    assert len(orders(out)) == 5 and outputs.verified(str(out)) and hidden(tmp_path) == []


def test_a_stream_s_output_without_its_journal_is_refused(outputs: Outputs, tmp_path: Path) -> None:
    out = tmp_path / "out"
    progress = StreamProgress(source="orders", epochs=1, offsets={"0": 1}, corrections=0)
    write_output(str(out), outputs.keys, stream=progress)
    with pytest.raises(ConfigError, match="where the stream writes"):
        outputs.rewrite(str(out), Without("a-0"))


def test_an_output_in_an_object_store_is_rewritten_behind_its_manifest(
    outputs: Outputs, shelf: Callable[[str], str], tmp_path: Path
) -> None:
    out = shelf("out")
    outputs.write(out)
    outputs.rewrite(out, Without("b-1"))
    assert outputs.verified(out) and len(orders(tmp_path / "shelf" / "bucket" / "out")) == 8


WATCHED = ("publication.py", "exchange.py", "output_rewrite.py", "output_state.py")


def test_a_rewriting_that_is_killed_leaves_the_old_state_or_the_new_one(outputs: Outputs, tmp_path: Path) -> None:
    """Killed before every fifth line of the modules that write; the next rewriting removes what is left."""
    out = tmp_path / "out"
    step, killed = 3, 0
    while True:
        outputs.write(str(out), run=f"r{step}", replace=True)
        child = os.fork()
        if child == 0:
            _die_at(step)
            outputs.rewrite(str(out), Without("b-1"))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert len(orders(out)) in (8, 9) and outputs.verified(str(out))
        outputs.rewrite(str(out), Without("b-1"))
        assert len(orders(out)) == 8 and outputs.verified(str(out)) and hidden(tmp_path) == []
        if not os.WIFSIGNALED(status):
            break
        killed += 1
        step += 5
    assert killed > 20


def _die_at(last: int) -> None:
    lines = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        if not frame.f_code.co_filename.endswith(WATCHED):
            return None
        if event == "line":
            lines += 1
            if lines == last:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
