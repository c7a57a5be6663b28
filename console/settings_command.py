"""The command that lists every setting, and names the wrong ones in place of stopping at them."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from console.shared import Home, Json, answer_json, say, table

if TYPE_CHECKING:
    from db.settings import Settings

FILE = "wetread.toml"


class Wrong(NamedTuple):
    """One thing that keeps the settings from being used."""

    name: str  #: the setting, or what was taken for one; empty where it is the whole file
    sentence: str  #: where it stands, what was met and what was expected


def settings(home: Home = None, as_json: Json = False) -> None:
    """Every setting with its value, default and reason; exit 1, naming them, where any is wrong."""
    values, wrong = judged(home)
    found = [_told(values, name, wrong) for name in type(values).model_fields]
    if as_json:
        answer_json(found)
    else:
        rows = [[f["name"], f["value"], f["default"], f["meaning"]] for f in found]
        table("", ["setting", "value", "default", "meaning"], rows)
    for one in wrong:
        say(f"wetread: {one.sentence}")
    if wrong:
        say("nothing starts until this is mended; above, the default stands in place of a wrong value")
        raise typer.Exit(1)


def judged(home: Path | None) -> tuple[Settings, list[Wrong]]:
    """The settings, with the default in place of each value that is wrong, and all that is wrong."""
    from db.settings import Settings, contradictions
    from db.spelling import misspelt

    wrong = [Wrong("", f"environment: {line}") for line in misspelt(os.environ, Settings.model_fields)]
    first = _valid({} if home is None else {"home": home}, "environment", wrong)
    stored = _stored(first.home / FILE, wrong)
    given = first.model_dump(exclude_unset=True)
    found = _valid({**stored, **given, "home": first.home.absolute()}, FILE, wrong)
    together = [Wrong(line.partition(" ")[0], f"settings: {line}") for line in contradictions(found)]
    return found, wrong + together


def _valid(values: Mapping[str, Any], source: str, wrong: list[Wrong]) -> Settings:
    """Settings of these values over the environment's, the default where one is wrong; notes which."""
    from pydantic import ValidationError

    from db.settings import Settings

    try:
        return Settings(**values)
    except ValidationError as error:
        defaults = {}
        for one in error.errors():
            name = str(one["loc"][0])
            defaults[name] = Settings.model_fields[name].default
            wrong.append(Wrong(name, f"{source}: {_spelt(name, source)}: {_sentence(name, one)}"))
        return Settings(**{**values, **defaults})


def _spelt(name: str, source: str) -> str:
    return name if source == FILE else f"WETREAD_{name.upper()}"


def _sentence(name: str, error: Mapping[str, Any]) -> str:
    """What was met, but for an address that may hold a password, and what was expected."""
    from db.settings import URLS

    met = "a value that is not shown" if name in URLS else repr(error["input"])
    expected = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    return f"met {met}, expected {expected.removeprefix('should be ').partition(', unable')[0]}"


def _stored(path: Path, wrong: list[Wrong]) -> dict[str, Any]:
    """What the home's file says of settings that there are; notes what else it says."""
    from db.settings import Settings
    from db.spelling import in_file

    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        wrong.append(Wrong("", f"{path}: cannot be read ({error.strerror})"))
    except UnicodeDecodeError:
        wrong.append(Wrong("", f"{FILE}: is not UTF-8; save it as such"))
    except tomllib.TOMLDecodeError as error:
        wrong.append(Wrong("", f"{FILE}: {error}"))
    else:
        wrong += [Wrong("", f"{FILE}: {line}") for line in in_file(found, Settings.model_fields)]
        return {name: value for name, value in found.items() if name in Settings.model_fields}
    return {}


def _told(values: Settings, name: str, wrong: list[Wrong]) -> dict[str, Any]:
    field = type(values).model_fields[name]
    return {
        "name": f"WETREAD_{name.upper()}", "value": str(getattr(values, name)),
        "default": str(field.default), "meaning": field.description,
        "wrong": next((one.sentence for one in wrong if one.name == name), None),
    }  # fmt: skip
