"""The depth that a phone stored inside its portrait photo.

| where it lies | who writes it so |
|---|---|
| HEIC: an auxiliary image | Apple, Samsung (ISO/IEC 23008-12; read by pillow-heif) |
| JPEG: a further frame, its XMP naming an auxiliary image | Apple (multi-picture format, CIPA DC-007) |
| JPEG: base64 in XMP, GDepth | Google, Huawei, many apps (developers.google.com/depthmap-metadata) |
| JPEG: files appended to it, listed in XMP | Google, Samsung: Dynamic Depth 1.0 |

All of them count either in disparity (Apple's, HEIC's: bright is near) or in distance (dark is near) or in inverse
distance turned round (Google's RangeInverse: dark is near); what comes out is inverse distance, larger = nearer.
"""

import math
import os
from base64 import b64decode
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import IO, NamedTuple
from xml.etree import ElementTree

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from ..files import exif
from ..files.pictures import PhotoError, check_scans, full_scale, grey_levels, one_line, open_header

EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
EXTENDED_HEADER = len(EXTENDED_XMP) + 32 + 4 + 4  # then the packet's name, its length, and where this part goes
MOST = 25_000_000  # pixels of a map: phones store fewer than the photo has
MOST_FRAMES = 16  # of a JPEG: phones write a few
MOST_XMP, MOST_TAGS = 1 << 25, 100_000  # bytes of a packet, which may hold the photo once more; tags, attributes
GAIN_MAPS = (b"hdrgm", b"hdrgainmap", b"urn:iso:std:iso:ts:21496")  # grey frames that hold brightness, not depth
UNKNOWN = 4 / 255  # of a distance that begins at 0: as far as JPEG may take what is none
APPLE, GOOGLE, ITEM = "ns.apple.com", "/depthmap/", "/item/"  # parts of the XMP namespaces


class InverseDistance(NamedTuple):
    """Of every pixel: values (h, w) float32, larger = nearer; in 1/m if metric, else on a scale of their own."""

    values: np.ndarray
    metric: bool


def read_embedded(source: str | os.PathLike | IO[bytes]) -> InverseDistance:
    """The depth in a phone's portrait photo, upright as the photo is.

    Args:
        source: path or binary file of a HEIC or JPEG photo.

    Raises:
        PhotoError: the photo carries no depth, or what it carries is broken.
    """
    if isinstance(source, Image.Image):
        source = getattr(source, "filename", None)
    if isinstance(source, (str, os.PathLike)) and str(source):
        data = Path(source).read_bytes()
    elif hasattr(source, "read"):
        source.seek(0)
        data = source.read()
    else:
        raise PhotoError("disparity 'embedded' needs the photo as a path or a binary file; pixels alone carry none")
    try:
        with open_header(BytesIO(data), "source") as photo, np.errstate(all="ignore"):
            found = _auxiliary(photo) or _frame(photo, data) or _in_xmp(photo, data)
    except PhotoError:
        raise
    except Exception as error:  # decoders raise nearly anything on a broken file
        raise PhotoError(f"disparity 'embedded': the photo's depth cannot be read: {one_line(error)}") from None
    if found is None:
        raise PhotoError("disparity 'embedded' needs a portrait photo that carries its depth; this one carries none")
    if not np.isfinite(found.values).all():
        raise PhotoError("disparity 'embedded': the photo's depth cannot be read: it holds nan or infinity")
    return found


def _auxiliary(photo: Image.Image) -> InverseDistance | None:
    """HEIC: the decoder has turned photo and depth upright both."""
    for depth in photo.info.get("depth_images", []):
        _check_size(*depth.size)
        values = _unit(depth.to_pillow())
        kind = (depth.info["metadata"] or {}).get("representation_type", 0)  # H.265, G.14.3.3: 2 counts in distance
        return _from_distance(values, 0, 0, False) if kind == 2 else InverseDistance(values, False)
    return None


def _frame(photo: Image.Image, data: bytes) -> InverseDistance | None:
    """MPO: the frame that says it is depth; else a grey one that does not say that it is something else."""
    fallback = None
    for number in range(1, min(photo.n_frames, MOST_FRAMES) if photo.format == "MPO" else 1):
        photo.seek(number)
        end = photo.offset + photo.mpinfo[0xB002][number]["Size"]  # behind it may stand a film
        frame = data[photo.offset : end if end > photo.offset else None]
        with JpegImageFile(BytesIO(frame)) as picture:
            told = _named(_packet(picture.info.get("xmp")), APPLE)
            kind = told.get("AuxiliaryImageType") if "AuxiliaryImageSubType" not in told else "matte"
            if kind in ("disparity", "depth"):
                low, high = (float(told.get(f"Float{end}Value", at)) for end, at in (("Min", 0), ("Max", 1)))
                metric = told.get("Accuracy") == "absolute"
                values = _upright(_unit(picture, frame), photo)
                if kind == "depth":
                    return _from_distance(values, low, high, metric)
                return InverseDistance(low + values * (high - low), metric)
            other = any(mark in frame[: 1 << 16].lower() for mark in GAIN_MAPS)
            if fallback is None and kind is None and picture.mode == "L" and not other:
                fallback = InverseDistance(_upright(_unit(picture, frame), photo), False)
    photo.seek(0)
    return fallback


def _in_xmp(photo: Image.Image, data: bytes) -> InverseDistance | None:
    """GDepth and Dynamic Depth: the numbers in XMP, the picture there as well or behind the photo."""
    packets = [_packet(photo.info.get("xmp")), _packet(_extended(photo))]
    told = {name: value for packet in packets for name, value in _named(packet, GOOGLE).items()}
    if "Data" in told:
        picture = b64decode(told["Data"])
    else:
        items = [item for packet in packets for item in _items(packet)]
        lengths = [int(item.get("Length") or 0) + int(item.get("Padding") or 0) for item in items]
        depth = [
            number
            for number, item in enumerate(items)
            if number and (item.get("Semantic") == "Depth" or item.get("DataURI", "").endswith("depthmap"))
        ]
        if not depth:
            return None
        start = len(data) - sum(lengths[depth[0] :])  # the items stand behind each other up to the end
        picture = data[start : start + int(items[depth[0]]["Length"])]
    with open_header(BytesIO(picture), "disparity") as map:
        values = _upright(_unit(map, picture), photo)
    near, far = float(told.get("Near") or 0), float(told.get("Far") or 0)
    unit = {"m": 1.0, "meters": 1.0, "mm": 1000.0}.get(told.get("Units", "m").lower(), 0.0)
    if told.get("Format") == "RangeLinear":
        if told.get("Near") and near == 0 < far < math.inf:  # values are distances; what has none is not known
            distance = np.where(values < UNKNOWN, 1, values) * far
            return InverseDistance((unit or 1) / distance, bool(unit))
        return _from_distance(values, near / (unit or 1), far / (unit or 1), bool(unit))
    if unit and 0 < near < far:
        return InverseDistance(unit * ((1 - values) / near + values / far), True)
    return InverseDistance(1 - values, False)


def _from_distance(values: np.ndarray, near: float, far: float, metric: bool) -> InverseDistance:
    """values 0 at distance `near`, 1 at `far`; where those are not told, the far end is ten times as far."""
    if not 0 < near < far < math.inf:
        near, far, metric = 1.0, 10.0, False
    return InverseDistance(1 / (near + values * (far - near)), metric)


def _check_size(width: int, height: int) -> None:
    if width * height > MOST:
        raise PhotoError(f"disparity 'embedded' must have at most {MOST // 10**6} megapixels, got {width} x {height}")


def _unit(picture: Image.Image, file: bytes = b"") -> np.ndarray:
    """Grey levels (h, w) as float32 in [0, 1]; PhotoError where to decode its file would take minutes or all memory."""
    _check_size(*picture.size)
    if picture.info.get("progressive"):
        check_scans(file, "disparity 'embedded'")
    values = grey_levels(picture)
    return values.astype(np.float32) / np.float32(full_scale(values))


def _upright(values: np.ndarray, photo: Image.Image) -> np.ndarray:
    """Turned as the photo's EXIF says; a map is stored as the photo beside it."""
    photo.seek(0)
    return np.array(exif.upright(Image.fromarray(values), photo))


def _extended(photo: Image.Image) -> bytes:
    """The XMP that did not fit into one segment of a JPEG (XMP part 3, 1.1.3.1), put together."""
    parts = {
        int.from_bytes(segment[EXTENDED_HEADER - 4 : EXTENDED_HEADER], "big"): segment[EXTENDED_HEADER:]
        for _, segment in getattr(photo, "applist", [])
        if segment.startswith(EXTENDED_XMP)
    }
    return b"".join(parts[offset] for offset in sorted(parts))


def _packet(xmp: bytes | str | None) -> ElementTree.Element | None:
    """The root of an XMP packet; None where there is none, none that is whole, or one made to take all memory."""
    if not xmp:
        return None
    raw = (xmp.encode() if isinstance(xmp, str) else xmp).replace(b"\0", b"")  # of UTF-16
    if len(raw) > MOST_XMP or max(raw.count(b"<"), raw.count(b"=")) > MOST_TAGS:
        return None
    if b"<!DOCTYPE" in raw:  # whose entities may grow
        return None
    try:
        return ElementTree.fromstring(xmp.strip(b"\0 \n") if isinstance(xmp, bytes) else xmp)
    except ElementTree.ParseError:
        return None


def _named(packet: ElementTree.Element | None, namespace: str) -> dict[str, str]:
    """All properties of namespaces that contain `namespace`, written as attributes or as elements."""
    told: dict[str, str] = {}
    for element in packet.iter() if packet is not None else ():
        told |= _properties(element, namespace)
    return told


def _items(packet: ElementTree.Element | None) -> Iterator[dict[str, str]]:
    """The files of a container, the photo first, as their properties."""
    for element in packet.iter() if packet is not None else ():
        if item := _properties(element, ITEM):
            yield item


def _properties(element: ElementTree.Element, namespace: str) -> dict[str, str]:
    """An element's own: its attributes and its children that hold text alone."""
    own = [*element.attrib.items(), *((child.tag, child.text or "") for child in element if len(child) == 0)]
    return {name.rpartition("}")[2]: value.strip() for name, value in own if namespace in name.partition("}")[0]}
