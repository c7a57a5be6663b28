"""Many files are sealed by another process; whatever becomes of it, nothing half sealed stays."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from db.archive import Archive
from db.errors import Unavailable
from db.keys import Keys
from ingest import sealer, underway
from tests.bench import Bench
from tests.builders import note_bytes, write_tree


@pytest.fixture(scope="module", autouse=True)
def _stopped() -> Iterator[None]:
    yield
    sealer._child.stop()


def files(folder: Path, count: int = 3) -> list[Path]:
    return write_tree(folder, {f"{n}.bin": b"%d" % n * 100 for n in range(count)})


def put(archive: Archive, key: Keys, sources: list[Path]) -> list[str | None]:
    with archive.batch() as batch:
        return batch.put_all(sources, lambda pairs: sealer.seal(pairs, key))


def stray(archive: Archive) -> list[Path]:
    return [path for path in archive.folder.iterdir() if path.is_file()]


def test_what_another_process_sealed_comes_back(archive: Archive, key: Keys, tmp_path: Path) -> None:
    sources = files(tmp_path / "in")
    found = put(archive, key, sources)
    assert [archive.get(str(digest)) for digest in found] == [path.read_bytes() for path in sources]
    assert sealer._child.process is not None
    assert sealer._child.process.pid != os.getpid()


def test_the_same_bytes_twice_are_stored_once(archive: Archive, key: Keys, tmp_path: Path) -> None:
    sources = write_tree(tmp_path / "in", {"a": b"same", "b": b"same"})
    one, two = put(archive, key, sources)
    assert one == two
    assert len([p for p in archive.folder.rglob("*") if p.is_file()]) == 1


def test_a_file_that_is_gone_is_told_and_the_others_are_sealed(
    archive: Archive, key: Keys, tmp_path: Path
) -> None:
    first, gone, last = files(tmp_path / "in")
    gone.unlink()
    found = put(archive, key, [first, gone, last])
    assert [digest is None for digest in found] == [False, True, False]
    assert stray(archive) == []


def test_a_process_that_dies_costs_one_try_and_leaves_nothing(
    archive: Archive, key: Keys, tmp_path: Path
) -> None:
    sources = files(tmp_path / "in")
    put(archive, key, sources[:1])
    child = sealer._child.process
    assert child is not None

    def killed(pairs: object) -> list[str | None]:
        child.kill()
        sealer._child._running = lambda: child  # type: ignore[method-assign]
        try:
            return sealer.seal(pairs, key)  # type: ignore[arg-type]
        finally:
            del sealer._child._running

    with pytest.raises(Unavailable, match="no process"), archive.batch() as batch:
        batch.put_all(sources[1:], killed)
    assert stray(archive) == []
    assert all(put(archive, key, sources))


def test_a_disk_that_cannot_be_written_is_unavailable(archive: Archive, key: Keys, tmp_path: Path) -> None:
    sources = files(tmp_path / "in", 1)
    absent = tmp_path / "absent" / "target"
    with pytest.raises(Unavailable, match="cannot write"):
        sealer.seal([(absent, sources[0])], key)


@pytest.mark.parametrize(("count", "elsewhere"), [(underway.MANY - 1, False), (underway.MANY, True)])
def test_only_many_files_are_worth_another_process(bench: Bench, count: int, elsewhere: bool) -> None:
    sealer._child.stop()
    write_tree(bench.inbox, {f"{n}.txt": note_bytes(f"Cough for {n} days.") for n in range(count)})
    bench.settle()
    assert bench.files() == {"ready": count}
    assert (sealer._child.process is not None) is elsewhere


def test_what_is_sealed_is_on_the_disk_before_it_is_answered_for(
    tmp_path: Path, key: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(sealer, "sync_each", synced.extend)
    present, gone = files(tmp_path / "in", 2)
    gone.unlink()
    pairs = [[str(tmp_path / "one"), str(present)], [str(tmp_path / "two"), str(gone)]]
    sealer._answer({"key": key.id, "files": pairs}, key.archive)
    assert synced == [tmp_path / "one"]
