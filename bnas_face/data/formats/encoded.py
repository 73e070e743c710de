"""Encoded images (JPEG, PNG, …) to RGB pixels, with damage named by its byte.

OpenCV decodes half a JPEG without a word and fills the rest with grey, so the end marker is looked for first.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from bnas_face.errors import BrokenImageError

MAX_PIXELS = 1 << 26
"""Images of more pixels (64 Mpx) are refused before memory is asked for: no face image is that large."""

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # damage is told once, by us

_JPEG = b"\xff\xd8"
_PNG = b"\x89PNG\r\n\x1a\n"


def decode(content: bytes, image_id: str) -> NDArray[np.uint8]:
    """Decode an image file's bytes.

    Parameters
    ----------
    content : bytes
        A whole JPEG, PNG, BMP or WebP file.
    image_id : str
        Named in the error.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3), RGB
        Grey images are repeated over the channels, transparency is dropped.

    Raises
    ------
    BrokenImageError
        If the bytes are empty, truncated, of no known format or of more than `MAX_PIXELS`.
    """
    problem = _problem(content)
    if problem:
        raise BrokenImageError(image_id, problem)
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise BrokenImageError(image_id, f"OpenCV says '{' '.join(str(error.err).split())}'") from None
    if pixels is None:
        raise BrokenImageError(image_id, f"its {len(content)} bytes are damaged or of no known image format")
    decoded: NDArray[np.uint8] = pixels
    return decoded


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """PNG bytes (lossless) of RGB pixels, uint8 of shape (height, width, 3)."""
    return bytes(cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1])


def encode_jpeg(pixels: NDArray[np.uint8], quality: int = 95) -> bytes:
    """JPEG bytes of RGB pixels, uint8 of shape (height, width, 3); `quality` in 1..100."""
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1])


def suffix(content: bytes) -> str:
    """File name ending that fits the first bytes: ".jpg", ".png", ".webp", ".bmp", or ".img" for anything else."""
    starts = ((_JPEG, ".jpg"), (_PNG, ".png"), (b"RIFF", ".webp"), (b"BM", ".bmp"))
    return next((ending for start, ending in starts if content.startswith(start)), ".img")


def _problem(content: bytes) -> str | None:
    """What is wrong with the bytes, in words, or None if nothing can be told without decoding."""
    if not content:
        return "it is empty (0 bytes)"
    if content.startswith(_JPEG):
        return _jpeg_problem(content)
    if content.startswith(_PNG):
        return _png_problem(content)
    if suffix(content) == ".img":  # OpenCV knows many formats more, none of them a face set's
        return f"its {len(content)} bytes are damaged or of no known image format (JPEG, PNG, BMP, WebP)"
    return None


def _png_problem(content: bytes) -> str | None:
    if len(content) < 33:
        return f"the PNG ends at byte {len(content)}, inside its header"
    width, height = int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")
    if width * height > MAX_PIXELS:
        return f"its header claims {width}×{height} pixels, more than {MAX_PIXELS}"
    if b"IEND" not in content[-64:]:
        return f"the PNG ends at byte {len(content)} without its end chunk"
    return None


def _jpeg_problem(content: bytes) -> str | None:
    """Walk the segments to the scan (ITU-T T.81, B.1.1), then look for the end marker after it."""
    position = 2
    while position + 4 <= len(content):
        if content[position] != 0xFF:
            return f"byte {position} of the JPEG should start a segment"
        marker = content[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        length = int.from_bytes(content[position + 2 : position + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and (size := _jpeg_pixels(content, position)):
            return size
        if marker == 0xDA:
            return _scan_problem(content, position + 2 + length)
        position += 2 + length
    return f"the JPEG ends at byte {len(content)}, inside its header"


def _jpeg_pixels(content: bytes, position: int) -> str | None:
    height = int.from_bytes(content[position + 5 : position + 7], "big")
    width = int.from_bytes(content[position + 7 : position + 9], "big")
    return f"its header claims {width}×{height} pixels, more than {MAX_PIXELS}" if width * height > MAX_PIXELS else None


def _scan_problem(content: bytes, scan: int) -> str | None:
    if content.rfind(b"\xff\xd9", min(scan, len(content))) < 0:
        return f"the JPEG ends at byte {len(content)} without its end marker"
    return None
