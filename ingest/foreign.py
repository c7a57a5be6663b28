"""Names the files that wetread recognises but does not read, so that quarantine can say what they are."""

from __future__ import annotations

CODE = "unsupported-kind"

_PLAIN = "Convert it to DICOM, or to a plain-text note in UTF-8."
_DICOM = "Send the images as DICOM."
_CODED = "Send C-CDA documents as they are, FHIR as JSON."
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
)
_SUFFIXES = {
    ".xml": ("an XML document of another kind than C-CDA", _CODED),
    ".nii": ("a NIfTI volume", _DICOM),
    ".atr": ("a WFDB record's annotations", "Send the record's header and its signals."),
    ".dat": ("a file of signals that no WFDB header here names", "Send its header (.hea) beside it."),
    ".edf": ("an EDF recording", "Send it as a WFDB record, or as a DICOM waveform."),
    ".arff": ("an ARFF table", "Send it as CSV."),
    ".html": ("a web page", _NOTE),
    ".htm": ("a web page", _NOTE),
    ".mp4": ("a video", _DICOM),
    ".exe": ("a program", "Remove it from the inbox."),
}
# kinds that are read: a file so named that no reader claims holds something else
_NAMED = {
    ".csv": "a table", ".tsv": "a table", ".json": "JSON", ".ndjson": "FHIR line by line",
    ".hl7": "an HL7 v2 message",
    ".ccda": "a C-CDA document", ".cda": "a C-CDA document", ".hea": "a WFDB record's header",
    ".fa": "a FASTA sequence", ".fasta": "a FASTA sequence", ".vcf": "a variant list",
    ".smi": "a list of molecules",
}  # fmt: skip


def foreign(head: bytes, suffix: str) -> tuple[str, str, str] | None:
    """(code, sentence, advice) for a file of a known kind that no reader takes; None for any other.

    head: its first 4 KiB; suffix: lower case, or "" to judge by content alone.
    """
    if met := _by_content(head) or _SUFFIXES.get(suffix):
        name, advice = met
        return CODE, f"this is {name}, which wetread does not read", advice
    if named := _NAMED.get(suffix):
        return CODE, f"it is named as {named} is, and holds something else", "Check the export, or its name."
    return None


def _by_content(head: bytes) -> tuple[str, str] | None:
    for magic, name, advice in _MAGIC:
        if head.startswith(magic) and (magic != b"BM" or head[6:10] == bytes(4)):
            return name, advice
    if head[344:348] in (b"n+1\0", b"ni1\0") or head[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c"):
        return "a NIfTI volume", _DICOM
    return _by_text(head.removeprefix(b"\xef\xbb\xbf").lstrip())


def _by_text(start: bytes) -> tuple[str, str] | None:
    if start.startswith((b"<?xml", b"<Bundle")) and b"ClinicalDocument" not in start:
        fhir = b"http://hl7.org/fhir" in start
        return ("FHIR in XML" if fhir else "an XML document of another kind than C-CDA"), _CODED
    if start[:14].lower() == b"<!doctype html" or start[:5].lower() == b"<html":
        return "a web page", _NOTE
    return None
