"""An optional decoder of grey lossless and extended JPEG (`make decoders`), where it agrees with the others.

One plug-in of pydicom's decoders. Whatever it raises, the next decoder in order is asked.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels.decoders.base import DecodeRunner, get_decoder
from pydicom.uid import JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1

from ingest.codestream import Jpeg, whole_jpeg

NAME = "imagecodecs"
SYNTAXES = (JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1)
DECODER_DEPENDENCIES = dict.fromkeys(SYNTAXES, (NAME,))
_BASELINE, _EXTENDED, _LOSSLESS = 0xC0, 0xC1, 0xC3
_ABSENT = 255  #: for a value whose category has no code
_LAST = 32  #: samples whose very bits are compared


Codes = dict[int, tuple[int, int]]  #: category -> code, its length


class NotTaken(Exception):  # noqa: N818 - another decoder's turn
    """The frame is for another decoder: damaged, of another kind, or not as its header says."""


def is_available(uid: str) -> bool:
    """Whether imagecodecs is installed; it is imported with the first frame."""
    return uid in DECODER_DEPENDENCIES and find_spec(NAME) is not None


def install() -> None:
    """Adds the plug-in to pydicom's decoders, once."""
    for syntax in DECODER_DEPENDENCIES:
        decoder = get_decoder(syntax)
        if NAME not in decoder.available_plugins and is_available(syntax):
            decoder.add_plugin(NAME, (__name__, "decode_frame"))


def decode_frame(frame: bytes, runner: DecodeRunner) -> bytearray:
    """A grey frame's samples. Raises NotTaken, or what imagecodecs raises."""
    jpeg = whole_jpeg(frame)
    if jpeg is None or not _suits(jpeg, runner):
        raise NotTaken
    from imagecodecs import jpeg8_decode

    values: NDArray[Any] = jpeg8_decode(frame)
    if values.shape != jpeg.shape or values.dtype.itemsize * 8 != runner.bits_allocated:
        raise NotTaken
    if jpeg.process == _LOSSLESS:
        if not _accounts_for(values, jpeg):
            raise NotTaken
    elif jpeg.precision > runner.bits_stored:
        # lossy samples overshoot: cut to their bits, the brightest would be black
        values = np.minimum(values, values.dtype.type(2**runner.bits_stored - 1))
    return bytearray(np.ascontiguousarray(values).data)


def _suits(jpeg: Jpeg, runner: DecodeRunner) -> bool:
    """Whether the frame is grey, of a kind that is compared with the others, and as its header says."""
    if jpeg.components != 1 or runner.samples_per_pixel != 1 or jpeg.shape != (runner.rows, runner.columns):
        return False
    if runner.bits_allocated != (8 if jpeg.precision <= 8 else 16):
        return False
    if jpeg.process == _LOSSLESS:
        # samples of up to 8 bits come modulo 256, so that damage could not be told from them
        surplus = jpeg.precision - runner.bits_stored
        return jpeg.precision > 8 and (surplus == 0 or (surplus > 0 and not runner.pixel_representation))
    # how senders code negative values lossily is not agreed upon
    return jpeg.process in (_BASELINE, _EXTENDED) and not runner.pixel_representation


def _accounts_for(values: NDArray[Any], jpeg: Jpeg) -> bool:
    """Whether the coded data have exactly the bits that these values take.

    libjpeg decodes damaged data to something and only warns, which imagecodecs does not pass on.
    """
    components, table, predictor, _, transform = jpeg.scan[0], jpeg.scan[2] >> 4, *jpeg.scan[3:6]
    if (components, predictor, transform) != (1, 1, 0) or jpeg.restarts or table not in jpeg.tables:
        return False
    if int(values.max()) >> jpeg.precision:
        return False
    # ISO 10918-1 H.1.2.1: predicted from the left, the first of a line from above, the very first as mid-grey
    differences = np.empty_like(values)
    np.subtract(values[:, 1:], values[:, :-1], out=differences[:, 1:])
    np.subtract(values[1:, 0], values[:-1, 0], out=differences[1:, 0])
    differences[0, 0] = (int(values[0, 0]) - 2 ** (jpeg.precision - 1)) % 65536
    codes = _codes(jpeg.tables[table])
    taken = np.take(_bits(codes), differences)
    if taken.max() == _ABSENT:
        return False
    left = 8 * (len(jpeg.coded) - jpeg.stuffed) - int(taken.sum(dtype=np.int64))
    # the last byte is filled up; past the end libjpeg reads zeros, which can make up for what it skipped
    return 0 <= left < 8 and _ends_with(jpeg.coded, left, differences.ravel()[-_LAST:].tolist(), codes)


def _ends_with(coded: bytes, left: int, differences: list[int], codes: Codes) -> bool:
    """Whether the coded data end with these differences, and `left` bits of filling."""
    bits, length = 0, 0
    for difference in differences:
        category = int(_categories()[difference])
        code, size = codes[category]
        own = category % 16
        negative = difference > 32768
        low = (difference - negative) % (1 << own)  # H.1.2.2: of a negative difference the bits of one less
        bits, length = bits << size + own | code << own | low, length + size + own
    tail = coded[-2 * (length // 8 + 2) :].replace(b"\xff\0", b"\xff")
    return int.from_bytes(tail, "big") >> left & (1 << length) - 1 == bits


def _codes(table: bytes) -> Codes:
    """Each category's code and its length (ISO 10918-1 C.2)."""
    found, code, symbols = {}, 0, iter(table[16:])
    for length, count in enumerate(table[:16], 1):
        for symbol in islice(symbols, count):
            found[symbol] = (code, length)
            code += 1
        code <<= 1
    return found


def _bits(codes: Codes) -> NDArray[np.uint8]:
    """How many bits each difference takes: its category's code and as many as the category (H.1.2.2)."""
    lengths = np.full(17, _ABSENT, np.uint8)
    for category, (_, length) in codes.items():
        if category < 17:
            lengths[category] = length + category % 16  # category 16 is 32768 alone
    return np.take(lengths, _categories())


@cache
def _categories() -> NDArray[np.uint8]:
    """Of each difference modulo 65536: how many bits its magnitude has (table H.2)."""
    return np.array([abs(d - 65536 * (d > 32768)).bit_length() for d in range(65536)], np.uint8)
