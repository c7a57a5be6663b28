"""Settings: environment over file over default; a wrong one is named, a secret never shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sqlalchemy import make_url

from db.errors import Misconfigured
from db.settings import Settings, load
from db.spelling import strange

SECRET = "hunter2"


def write(home: Path, content: str) -> Path:
    home.mkdir(exist_ok=True)
    (home / "wetread.toml").write_text(content)
    return home


def test_the_default_holds_where_nothing_is_said(tmp_path: Path) -> None:
    assert load(tmp_path).http_port == 8642


def test_the_file_goes_before_the_default(tmp_path: Path) -> None:
    assert load(write(tmp_path, "http_port = 9000")).http_port == 9000


def test_the_environment_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WETREAD_HTTP_PORT", "9001")
    assert load(write(tmp_path, "http_port = 9000")).http_port == 9001


def test_the_home_can_be_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WETREAD_HOME", str(tmp_path))
    assert load().home == tmp_path


def test_the_home_is_absolute_wherever_it_is_named_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(Path("here")).home == tmp_path / "here"


@pytest.mark.parametrize(
    ("content", "named"),
    [("setle_seconds = 1", "setle_seconds is no setting; did you mean settle_seconds"),
     ("http_port = 'x'", "wetread.toml: http_port"), ("nonsense = 1", "docs/settings.md"),
     ("settle_seconds = 0", "settle"), ("max_attempts = -1", "max_attempts"),
     ("http_port = ", "wetread.toml"), ("a b c", "wetread.toml")],
)  # fmt: skip
def test_a_wrong_setting_is_named(tmp_path: Path, content: str, named: str) -> None:
    with pytest.raises(Misconfigured, match=named):
        load(write(tmp_path, content))


@pytest.mark.parametrize(
    ("name", "meant"),
    [("WETREAD_SETLE_SECONDS", "WETREAD_SETTLE_SECONDS"), ("wetread_devices", "WETREAD_DEVICE"),
     ("WETREAD_HTPP_PORT", "WETREAD_HTTP_PORT"), ("WETREAD_BATCHSIZE", "WETREAD_BATCH_SIZE")],
)  # fmt: skip
def test_a_misspelt_variable_is_refused_with_the_one_that_was_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, meant: str
) -> None:
    monkeypatch.setenv(name, SECRET)
    with pytest.raises(Misconfigured, match=f"{name} is no setting; did you mean {meant}?") as caught:
        load(tmp_path)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("WETREAD_DATA", "/data"), ("WETREAD_PROMETHEUS_URL", "http://prometheus:9090"),
     ("WETREAD_WEB_SERVICE_HOST", "10.0.0.7"), ("WETREAD_PORT", "tcp://10.0.0.7:8642"),
     ("WETREAD_WEB_PORT_8642_TCP_ADDR", "10.0.0.7"), ("WETREAD_SERVICE_PORT_HTTP", "8642")],
)  # fmt: skip
def test_a_variable_of_another_program_is_let_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert load(tmp_path).home == tmp_path
    assert strange({name: value}, Settings.model_fields) == []


def test_a_variable_like_no_setting_is_passed_over_and_told() -> None:
    (told,) = strange({"WETREAD_LOG_LEVEL": SECRET}, Settings.model_fields)
    assert told.startswith("WETREAD_LOG_LEVEL is no setting")
    assert SECRET not in told


def test_a_wrong_value_is_named_as_the_environment_spells_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WETREAD_HTTP_PORT", SECRET)
    with pytest.raises(Misconfigured, match="environment: WETREAD_HTTP_PORT: ") as caught:
        load(tmp_path)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", ["redis_url", "database_url", "http_port"])
def test_a_wrong_setting_s_value_is_not_shown(tmp_path: Path, name: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        load(write(tmp_path, f"{name} = ['{SECRET}']"))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("url", ["", "hunter2", "mysql://u:hunter2@h/d", "redis://h:hunter2/0"])
def test_an_address_that_is_no_url_of_ours_is_refused_with_an_example(tmp_path: Path, url: str) -> None:
    for name, scheme in (("database_url", r"postgresql\+psycopg"), ("redis_url", "redis")):
        with pytest.raises(Misconfigured, match=f"{name}: should be a URL such as {scheme}://") as caught:
            load(write(tmp_path, f"{name} = '{url}'"))
        assert SECRET not in str(caught.value)


def test_secrets_are_not_printed() -> None:
    found = Settings(redis_url=f"redis://:{SECRET}@h/0", database_url=f"postgresql://u:{SECRET}@h/d")  # type: ignore[arg-type]
    assert SECRET not in repr(found) + str(found)


def test_no_redis_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="WETREAD_REDIS_URL"):
        _ = load(tmp_path).redis


def test_settings_are_frozen(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(tmp_path).http_port = 1


def test_the_folders_of_a_home_are_its_owner_s_alone(tmp_path: Path) -> None:
    found = load(tmp_path / "home")
    found.make_folders()
    assert {p.stat().st_mode & 0o077 for p in (tmp_path / "home", *(tmp_path / "home").iterdir())} == {0}


def test_a_home_that_cannot_be_made_says_where_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Misconfigured, match=r"file/home: cannot make this folder .*--home"):
        load(tmp_path / "file" / "home").make_folders()


def test_a_folder_that_may_not_be_written_to_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = load(tmp_path / "home")
    found.make_folders()
    found.require_access()
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: "inbox" not in str(path) and may(path, mode))
    with pytest.raises(Misconfigured, match="home/inbox: this user may not"):
        found.require_access()


def test_the_database_lies_in_a_home_of_any_name(tmp_path: Path) -> None:
    home = tmp_path / "Größe #1 %20 ?x=1"
    assert make_url(load(home).database).database == str(home / "wetread.db")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "wetread.toml").write_bytes(b"site = '\xff'")
    with pytest.raises(Misconfigured, match=r"wetread\.toml: is not UTF-8"):
        load(tmp_path)


def test_an_inbox_elsewhere_is_the_one_that_is_watched(tmp_path: Path) -> None:
    found = load(write(tmp_path, f"inbox = '{tmp_path / 'share'}'"))
    assert found.folder("inbox") == tmp_path / "share"
