"""The page of settings, from their declarations: `python -m tests.settings_page > docs/settings.md`."""

from __future__ import annotations

import sys

from db.settings import Settings

HEAD = """\
# Settings

Each setting comes from the environment, else from `wetread.toml` in the home, else from the default
here. In the file the name is lower case and without `WETREAD_`: `settle_seconds = 5`. A name in the file
that is no setting is refused; so is a variable that is nearly one. `wetread settings` prints this table
with the values that hold; it never shows the URLs of database and Redis, which may hold passwords.

This page is written by `python -m tests.settings_page > docs/settings.md`.

| setting | default | meaning |
|---|---|---|
"""


def page() -> str:
    """The page as it should stand in docs/settings.md."""
    rows = [
        f"| `WETREAD_{name.upper()}` | {_cell(field.default)} | {_cell(field.description, code=False)} |\n"
        for name, field in Settings.model_fields.items()
    ]
    return HEAD + "".join(rows)


def _cell(value: object, *, code: bool = True) -> str:
    text = "" if value is None else str(value).replace("|", "\\|")
    return f"`{text}`" if code and text else text or "-"


if __name__ == "__main__":
    sys.stdout.write(page())
