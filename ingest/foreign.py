"""Names the files that wetread recognises but does not read, so that quarantine can say what they are."""

from __future__ import annotations

CODE = "unsupported-kind"

_PLAIN = "Convert it to DICOM, or to a plain-text note in UTF-8."
_DICOM = "Send the images as DICOM."
_NOTE = "Send the note's text as a .txt file in UTF-8."

# what the bytes begin with: name, advice
_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"%PDF-", "a PDF document", "Send its text as a .txt note, or its images as DICOM."),
    (b"\xff\xd8\xff", "a JPEG picture", _DICOM),
    (b"\x89PNG\r\n\x1a\n", "a PNG picture", _DICOM),
    (b"GIF8", "a GIF picture", _DICOM),
    (b"BM", "a BMP picture", _DICOM),
    (b"II*\0", "a TIFF picture", _DICOM),
    (b"MM\0*", "a TIFF picture", _DICOM),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture", _DICOM),
    (b"PK\x03\x04", "a zip archive or office document", "Unpack it and send the files that are in it."),
    (b"\xd0\xcf\x11\xe0", "an office document of the older kind", _NOTE),
    (b"{\\rtf", "a rich-text document", _NOTE),
    (b"\x1f\x8b", "a gzip archive", "Unpack it and send the files that are in it."),
    (b"7z\xbc\xaf\x27\x1c", "a 7-zip archive", "Unpack it and send the files that are in it."),
    (b"Rar!", "a RAR archive", "Unpack it and send the files that are in it."),
    (b"\x89HDF", "an HDF5 file", _PLAIN),
    (b"NRRD", "an NRRD volume", _DICOM),
    (b"MSH|", "an HL7 v2 message", _NOTE),
    (b"\x0bMSH|", "an HL7 v2 message in MLLP framing", _NOTE),
    (b"FHS|", "an HL7 v2 batch file", _NOTE),
    (b"BHS|", "an HL7 v2 batch", _NOTE),
)
_SUFFIXES = {
    ".csv": ("a table", _PLAIN),
    ".tsv": ("a table", _PLAIN),
    ".hl7": ("an HL7 v2 message", _NOTE),
    ".json": ("a JSON document", _NOTE),
    ".xml": ("an XML document", _NOTE),
    ".nii": ("a NIfTI volume", _DICOM),
    ".hea": ("a WFDB record's header", _PLAIN),
    ".atr": ("a WFDB record's annotations", _PLAIN),
    ".edf": ("an EDF recording", _PLAIN),
    ".fa": ("a FASTA sequence", _PLAIN),
    ".fasta": ("a FASTA sequence", _PLAIN),
    ".vcf": ("a variant list", _PLAIN),
    ".smi": ("a list of molecules", _PLAIN),
    ".html": ("a web page", _NOTE),
    ".htm": ("a web page", _NOTE),
    ".mp4": ("a video", _DICOM),
    ".exe": ("a program", "Remove it from the inbox."),
}


def foreign(head: bytes, suffix: str) -> tuple[str, str, str] | None:
    """(code, sentence, advice) for a file of a known kind that no reader takes; None for any other.

    head: its first 4 KiB; suffix: lower case, or "" to judge by content alone.
    """
    met = _by_content(head) or _SUFFIXES.get(suffix)
    if met is None:
        return None
    name, advice = met
    return CODE, f"this is {name}, which wetread does not read", advice


def _by_content(head: bytes) -> tuple[str, str] | None:
    for magic, name, advice in _MAGIC:
        if head.startswith(magic) and (magic != b"BM" or head[6:10] == bytes(4)):
            return name, advice
    if head[344:348] in (b"n+1\0", b"ni1\0") or head[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c"):
        return "a NIfTI volume", _DICOM
    return _by_text(head.removeprefix(b"\xef\xbb\xbf").lstrip())


def _by_text(start: bytes) -> tuple[str, str] | None:
    if start.startswith((b"MSH|", b"FHS|", b"BHS|")):
        return "an HL7 v2 message", _NOTE
    if start.startswith((b"<?xml", b"<ClinicalDocument", b"<Bundle")):
        return ("a C-CDA document" if b"ClinicalDocument" in start else "an XML document"), _NOTE
    if start[:14].lower() == b"<!doctype html" or start[:5].lower() == b"<html":
        return "a web page", _NOTE
    if start[:1] == b"{" and start[1:].lstrip()[:1] in (b'"', b"}"):
        return ("a FHIR resource" if b'"resourceType"' in start else "a JSON document"), _NOTE
    if start[:1] == b"[" and start[1:].lstrip()[:1] in (b"{", b'"'):
        return "a JSON document", _NOTE
    return None
