"""The master key: made once, guarded, and everything derived from it stable."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from db import keys
from db.errors import Misconfigured

CREATE = (
    "import sys; from pathlib import Path; from db.keys import create; print(create(Path(sys.argv[1])).id)"
)


def test_a_new_key_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    keys.create(tmp_path / "keys" / "master.key")
    assert (tmp_path / "keys" / "master.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "master.key"
    keys.create(path)
    path.chmod(mode)
    with pytest.raises(Misconfigured, match=f"mode is {mode:o}, expected 600"):
        keys.load(path)


@pytest.mark.parametrize("content", ["", "not hex", "ab" * 31, "ab" * 33, "\xff"])
def test_a_malformed_key_is_refused_without_being_quoted(tmp_path: Path, content: str) -> None:
    path = tmp_path / "master.key"
    path.write_text(content, "latin-1")
    path.chmod(0o600)
    with pytest.raises(Misconfigured) as caught:
        keys.load(path)
    assert "abab" not in str(caught.value)


def test_a_missing_key_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="wetread up"):
        keys.load(tmp_path / "master.key")


def test_a_second_creation_keeps_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    first = keys.create(path).id
    written = path.read_bytes()
    assert keys.create(path).id == first
    assert path.read_bytes() == written


def test_what_a_killed_creation_left_does_not_stop_the_next(tmp_path: Path) -> None:
    (tmp_path / f".master.key.{os.getpid()}").write_text("half a key")  # in a container every start is pid 1
    assert keys.create(tmp_path / "master.key").id == keys.load(tmp_path / "master.key").id


def test_processes_that_create_at_once_agree(tmp_path: Path) -> None:
    path = str(tmp_path / "master.key")
    running = [
        subprocess.Popen([sys.executable, "-c", CREATE, path], stdout=subprocess.PIPE) for _ in range(4)
    ]
    told = {process.communicate(timeout=170)[0] for process in running}
    assert all(process.returncode == 0 for process in running)
    assert told == {keys.load(Path(path)).id.encode() + b"\n"}
    assert os.listdir(tmp_path) == ["master.key"]


def test_a_sealed_text_comes_back_in_its_place(key: keys.Keys) -> None:
    assert key.unseal(key.seal("Zoë^Canary", "identities.name:p-1"), "identities.name:p-1") == "Zoë^Canary"


def test_a_name_that_is_no_utf8_can_be_sealed_and_named(key: keys.Keys) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    assert key.unseal(key.seal(name, "files.name:1"), "files.name:1") == name
    assert key.pseudonym("f", name) != key.pseudonym("f", "caf.txt")


def test_a_sealed_text_moved_to_another_row_is_refused(key: keys.Keys) -> None:
    sealed = key.seal("Clara", "identities.name:p-1")
    with pytest.raises(Misconfigured) as caught:
        key.unseal(sealed, "identities.name:p-2")
    assert "p-2" not in str(caught.value)


def test_a_sealed_text_under_another_key_is_refused(key: keys.Keys) -> None:
    with pytest.raises(Misconfigured, match="cannot be unsealed"):
        keys.Keys(bytes(32)).unseal(key.seal("Clara", "x.y:1"), "x.y:1")


def test_the_same_text_is_never_sealed_to_the_same_bytes(key: keys.Keys) -> None:
    assert key.seal("Clara", "x.y:1") != key.seal("Clara", "x.y:1")


def test_a_pseudonym_is_stable_under_its_key_and_another_under_another() -> None:
    one, same, other = keys.Keys(bytes(32)), keys.Keys(bytes(32)), keys.Keys(bytes(31) + b"\1")
    assert one.pseudonym("p", "number", "", "7") == same.pseudonym("p", "number", "", "7")
    assert one.pseudonym("p", "number", "", "7") != other.pseudonym("p", "number", "", "7")


def test_pseudonyms_tell_the_borders_of_their_parts(key: keys.Keys) -> None:
    assert key.pseudonym("p", "ab", "c") != key.pseudonym("p", "a", "bc")
    assert key.pseudonym("p", "12345").startswith("p-")
    assert "12345" not in key.pseudonym("p", "12345")


def test_each_purpose_has_a_key_of_its_own(key: keys.Keys) -> None:
    assert len({key.archive, key.audit, bytes.fromhex(key.id).ljust(32, b"\0")}) == 3
