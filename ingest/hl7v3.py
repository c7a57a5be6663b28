"""HL7 v3 XML of which nothing is certain: parsed within bounds, read by local names, narratives in lines."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

from db.errors import Rejected
from ingest import markup

ELEMENTS = 200_000
DEPTH = 150  #: of elements; real documents have some twenty
_V3 = "{urn:hl7-org:v3}"
_BLOCKS = frozenset(("paragraph", "list", "item", "br", "table", "thead", "tbody", "tr", "caption", "text"))
_CLOSED = frozenset(("paragraph", "list", "table", "caption"))  # what follows these begins a line
_SILENT = frozenset(("renderMultiMedia", "observationMedia"))
_CUT = frozenset((3, 5, 20))  # expat's errors where a document ends early: no element, token, CDATA section


class _Builder(ET.TreeBuilder):
    """A tree with bounds; deeper ones would exhaust whoever walks them."""

    def __init__(self) -> None:
        super().__init__()
        self.depth = self.count = 0

    def start(self, tag: str, attrs: dict[str, str], /) -> Any:
        """Raises Rejected beyond the bounds."""
        self.depth, self.count = self.depth + 1, self.count + 1
        if self.depth > DEPTH or self.count > ELEMENTS:
            raise Rejected(
                "too-large", f"it has more than {ELEMENTS} elements, or deeper than {DEPTH}", "Split it."
            )
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> Any:
        """One level up."""
        self.depth -= 1
        return super().end(tag)


def root_of(data: bytes) -> ET.Element:
    """The document's root. Raises Rejected; entities and document types are never resolved."""
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import DefusedXMLParser

    parser = DefusedXMLParser(target=_Builder(), forbid_dtd=True)
    try:
        parser.feed(data.lstrip())
        root: ET.Element = parser.close()
    except DefusedXmlException:
        raise Rejected(
            "entities", "it declares a document type or entities, which wetread does not resolve",
            "Export it without a DOCTYPE.",
        ) from None  # fmt: skip
    except ET.ParseError as error:
        line, column = error.position
        cut = error.code in _CUT
        raise Rejected(
            "truncated" if cut else "malformed",
            f"the XML {'ends' if cut else 'cannot be parsed'} at line {line}, column {column}",
            "Send the whole file again." if cut else "Validate it and export it again.",
        ) from None
    except (LookupError, ValueError):
        raise Rejected(
            "malformed", "the XML is in an encoding that is not known", "Export it as UTF-8."
        ) from None
    if root.tag != f"{_V3}ClinicalDocument":
        raise Rejected("malformed", "its root is no ClinicalDocument of HL7 v3", "Export it as C-CDA R2.1.")
    return root


def every(element: ET.Element, *names: str) -> Iterator[ET.Element]:
    """The descendants that this path of local names leads to."""
    return element.iterfind("/".join(f"{_V3}{name}" for name in names))


def first(element: ET.Element, *names: str) -> ET.Element:
    """The first of them, or an element without anything."""
    return next(every(element, *names), ET.Element("none"))


def has(element: ET.Element, name: str) -> bool:
    """Whether it has a child of this local name."""
    return element.find(f"{_V3}{name}") is not None


def local_name(element: ET.Element) -> str:
    """An element's name without its namespace; "" of a comment or an instruction."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def words_of(element: ET.Element) -> str:
    """The words of a narrative block in their lines; a cell is set apart from the next."""
    parts: list[str] = []

    def walk(one: ET.Element) -> None:
        name = local_name(one)
        if name in _SILENT or not name:
            return
        parts.append("\n" if name in _BLOCKS else "\t" if name in ("td", "th") else "")
        parts.append(re.sub(r"\s+", " ", one.text or ""))
        for inner in one:
            walk(inner)
            parts.append(re.sub(r"\s+", " ", inner.tail or ""))
        parts.append("\n" if name in _CLOSED else "")

    walk(element)
    return markup.tidied("".join(parts))
