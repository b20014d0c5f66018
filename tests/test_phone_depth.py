"""Portraits as phones write them, made small: the depth inside is found, upright and the right way round."""

import io
import struct
from base64 import b64encode
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import ExifTags, Image

from deeplens_hf.disparity import phone_depth
from deeplens_hf.files import pictures
from deeplens_hf.files.pictures import PhotoError

Y, X = np.mgrid[0:1:48j, 0:1:64j]
DISPARITY = ((0.7 * X + 0.3 * Y) * 255).round() / 255  # (48, 64), no two corners alike, nearest at the bottom right
LEVELS = (DISPARITY * 255).round().astype(np.uint8)
EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"


def jpeg(pixels: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95, **options)
    return file.getvalue()


def xmp(**properties: str) -> bytes:
    """An XMP packet; a__b is property b of the namespace that `a` stands for."""
    spaces = {
        "apdi": "http://ns.apple.com/pixeldatainfo/1.0/",
        "depthData": "http://ns.apple.com/depthData/1.0/",
        "GDepth": "http://ns.google.com/photos/1.0/depthmap/",
        "hdrgm": "http://ns.adobe.com/hdr-gain-map/1.0/",
    }
    told = " ".join(f'{name.replace("__", ":")}="{value}"' for name, value in properties.items())
    declared = " ".join(f'xmlns:{name}="{uri}"' for name, uri in spaces.items())
    rdf = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{rdf}"><rdf:Description {declared} {told}/>'
        f"</rdf:RDF></x:xmpmeta>"
    ).encode()


def multi_picture(first: bytes, *others: bytes) -> bytes:
    """Multi-picture format (CIPA DC-007): an index in APP2 of the first JPEG, the others behind it."""
    frames = 1 + len(others)
    size = 4 + 4 + 8 + 42 + 16 * frames  # marker and length, "MPF\0", TIFF header, directory, index
    sizes = [len(first) + size, *map(len, others)]
    starts = [0] + [sum(sizes[:number]) - 10 for number in range(1, frames)]  # counted from the TIFF header
    index = b"".join(
        struct.pack("<LLLHH", 0 if number else 0x030000, sizes[number], starts[number], 0, 0)
        for number in range(frames)
    )
    directory = struct.pack("<H", 3) + struct.pack("<HHL4s", 0xB000, 7, 4, b"0100")
    directory += struct.pack("<HHLL", 0xB001, 4, 1, frames) + struct.pack("<HHLLL", 0xB002, 7, len(index), 50, 0)
    body = b"MPF\0" + b"II*\0\x08\0\0\0" + directory + index
    return first[:2] + b"\xff\xe2" + struct.pack(">H", len(body) + 2) + body + first[2:] + b"".join(others)


def apple(photo: bytes, levels: np.ndarray = LEVELS, kind: str = "disparity", accuracy: str = "relative") -> bytes:
    """iPhone: a grey frame; its XMP tells the range that black and white stand for. A portrait matte comes first."""
    matte = xmp(apdi__AuxiliaryImageType="depth", apdi__AuxiliaryImageSubType="portraiteffectsmatte")
    told = xmp(
        apdi__AuxiliaryImageType=kind,
        apdi__FloatMinValue="0.5",
        apdi__FloatMaxValue="2.5",
        depthData__Accuracy=accuracy,
    )
    return multi_picture(photo, jpeg(255 - levels[::2, ::2], xmp=matte), jpeg(levels, xmp=told))


def undeclared(photo: bytes, levels: np.ndarray = LEVELS) -> bytes:
    """A grey second frame that says nothing, behind one that says it is a gain map."""
    gain = jpeg(255 - levels, xmp=xmp(hdrgm__Version="1.0"))
    return multi_picture(photo, gain, jpeg(levels))


def gdepth(
    photo: bytes, levels: np.ndarray = LEVELS, split: int = 0, backwards: bool = False, **properties: str
) -> bytes:
    """Google: black is near, a PNG in base64, in XMP or, split, in numbered parts of extended XMP, in any order."""
    picture = io.BytesIO()
    Image.fromarray(255 - levels).save(picture, "PNG")
    data = b64encode(picture.getvalue()).decode()
    told = {"Format": "RangeInverse", "Near": "500", "Far": "4000", "Units": "mm"} | properties
    told = {f"GDepth__{name}": value for name, value in told.items()}
    if not split:
        return photo[:2] + segment(b"http://ns.adobe.com/xap/1.0/\0" + xmp(GDepth__Data=data, **told)) + photo[2:]
    packet, parts = xmp(GDepth__Data=data), [segment(b"http://ns.adobe.com/xap/1.0/\0" + xmp(**told))]
    for at in range(0, len(packet), split):
        place = struct.pack(">LL", len(packet), at)
        parts.append(segment(EXTENSION + b"0" * 32 + place + packet[at : at + split]))
    if backwards:
        parts[1:] = parts[:0:-1]
    return photo[:2] + b"".join(parts) + photo[2:]


def segment(payload: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload


def dynamic_depth(photo: bytes, levels: np.ndarray = LEVELS, padding: int = 0) -> bytes:
    """Dynamic Depth 1.0: files behind the photo, listed with their lengths; distance, black is near."""
    inverse = 0.5 + 1.5 * levels / 255  # 1/m
    distance = 1 / inverse  # 0.5 to 2 m
    depth = jpeg(((distance - 0.5) / 1.5 * 255).round().astype(np.uint8))
    item = (
        '<rdf:li rdf:parseType="Resource"><Container:Item Item:Mime="{}" Item:Length="{}" Item:DataURI="{}"'
        ' Item:Padding="{}"/></rdf:li>'
    )
    listed = item.format("image/jpeg", 0, "primary_image", 0)
    listed += item.format("image/jpeg", len(depth), "android/depthmap", padding)
    listed += item.format("text/plain", 5, "other", 0)
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:Container="http://ns.google.com/photos/dd/1.0/container/"'
        ' xmlns:Item="http://ns.google.com/photos/dd/1.0/item/"'
        ' xmlns:Depth="http://ns.google.com/photos/dd/1.0/depthmap/"><Container:Directory><rdf:Seq>'
        f'{listed}</rdf:Seq></Container:Directory><Depth:Map Depth:Format="RangeLinear" Depth:Near="0.5"'
        ' Depth:Far="2" Depth:Units="Meters" Depth:DepthURI="android/depthmap"/>'
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    head = segment(b"http://ns.adobe.com/xap/1.0/\0" + packet.encode())
    return photo[:2] + head + photo[2:] + depth + bytes(padding) + b"other"


def heic(pixels: np.ndarray, levels: np.ndarray = LEVELS) -> bytes:
    """pillow-heif writes no depth, but alpha, which is an auxiliary image too: only its type tells them apart."""
    pillow_heif = pytest.importorskip("pillow_heif")
    picture, file = Image.fromarray(pixels), io.BytesIO()
    picture.putalpha(Image.fromarray(levels).resize(picture.size))
    pillow_heif.from_pillow(picture).save(file, quality=95)
    data = file.getvalue()
    alpha, depth = (b"urn:mpeg:hevc:2015:auxid:" + kind for kind in (b"1", b"2"))
    assert data.count(alpha) == 1
    return data.replace(alpha, depth)


def opened(model, data: bytes):
    return model.open(io.BytesIO(data), disparity="embedded")


def assert_found(photo, within: float = 0.02):
    wide, tall = (side / small for side, small in zip(photo.size, (64, 48), strict=True))
    rows, columns = ((np.arange(48) + 0.5) * tall).astype(int), ((np.arange(64) + 0.5) * wide).astype(int)
    assert photo.disparity.shape == photo.size[::-1] and photo.disparity.dtype == np.float32
    assert np.abs(photo.disparity[np.ix_(rows, columns)] - DISPARITY).max() < within


FORMATS = {
    "apple": apple,
    "apple, distance": lambda photo: apple(
        photo, ((1 / (1 / 2.5 + DISPARITY * (2 - 1 / 2.5)) - 0.5) / 2 * 255).round().astype(np.uint8), "depth"
    ),
    "undeclared": undeclared,
    "gdepth": gdepth,
    "gdepth, extended": lambda photo: gdepth(photo, split=300),
    "gdepth, extended, backwards": lambda photo: gdepth(photo, split=100, backwards=True),
    "gdepth, no units": lambda photo: gdepth(photo, Near="0", Far="0", Units=""),
    "dynamic depth": dynamic_depth,
    "dynamic depth, padded": lambda photo: dynamic_depth(photo, padding=900),
}


@pytest.mark.parametrize("container", FORMATS)
def test_jpeg_portraits(model, pixels, container):
    photo = opened(model, FORMATS[container](jpeg(pixels)))
    assert photo.size == (128, 96)
    assert_found(photo, 0.03)


def test_heic_portrait(model, pixels):
    assert_found(opened(model, heic(pixels)), 0.03)


def test_a_heic_that_counts_in_distance_is_turned_round(pixels, monkeypatch):
    photo = Image.fromarray(pixels)
    told = {"metadata": {"representation_type": 2}}
    depth = SimpleNamespace(info=told, size=(64, 48), to_pillow=lambda: Image.fromarray(LEVELS))
    photo.info["depth_images"] = [depth]
    monkeypatch.setattr(phone_depth, "open_header", lambda *_: photo)
    values, metric = phone_depth.read_embedded(io.BytesIO())
    assert values[-1, -1] == values.min() < values[0, 0] == values.max() and not metric


@pytest.mark.parametrize("container", [apple, gdepth])
def test_the_map_is_turned_upright_with_the_photo(model, pixels, container):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # as a phone held upright stores it
    stored = [np.ascontiguousarray(a[:, ::-1].swapaxes(0, 1)) for a in (pixels, LEVELS)]
    assert_found(opened(model, container(jpeg(stored[0], exif=exif), stored[1])), 0.03)


def test_a_path_does_and_the_result_is_refocused(model, pixels, tmp_path):
    (tmp_path / "portrait.jpg").write_bytes(apple(jpeg(pixels)))
    photo = model.open(tmp_path / "portrait.jpg", disparity="embedded")
    assert_found(photo)
    assert_found(model.open(Image.open(tmp_path / "portrait.jpg"), disparity="embedded"))
    assert photo.focus_at((120, 90)) > 0.9  # the near corner
    assert photo.refocus(point=(120, 90), aperture=4).size == (128, 96)


def test_distances_that_the_phone_measured_need_no_reference(model, pixels):
    lens = {"focal_length_mm": 5, "sensor_width_mm": 6}
    google = opened(model, gdepth(jpeg(pixels))).calibrate(**lens)
    assert float(google.distance(1.0)) == pytest.approx(0.5)  # Near and Far, in mm
    assert float(google.distance(0.0)) == pytest.approx(4.0)
    iphone = opened(model, apple(jpeg(pixels), accuracy="absolute")).calibrate(**lens)
    assert float(iphone.distance(1.0)) == pytest.approx(1 / 2.5, rel=0.02)
    with pytest.raises(PhotoError, match="references must be one or two"):  # "relative": no metres
        opened(model, apple(jpeg(pixels))).calibrate(**lens)
    endless = apple(jpeg(pixels), kind="depth", accuracy="absolute").replace(b'MinValue="0.5"', b'MinValue="0.0"')
    with pytest.raises(PhotoError, match="references must be one or two"):  # nothing is 0 m away
        opened(model, endless).calibrate(**lens)


@pytest.mark.parametrize("stereo", [False, True])
def test_a_photo_without_depth_says_so(model, pixels, stereo):
    data = multi_picture(jpeg(pixels), jpeg(pixels)) if stereo else jpeg(pixels)  # the other eye's view is no depth
    with pytest.raises(PhotoError, match="this one carries none"):
        opened(model, data)


def test_gain_maps_and_mattes_are_no_depth(model, pixels):
    gain = jpeg(LEVELS, xmp=xmp(hdrgm__Version="1.0"))
    matte = jpeg(LEVELS, xmp=xmp(apdi__AuxiliaryImageType="depth", apdi__AuxiliaryImageSubType="matte"))
    with pytest.raises(PhotoError, match="this one carries none"):
        opened(model, multi_picture(jpeg(pixels), gain, matte))


def test_broken_depth_is_one_sentence(model, pixels):
    portrait = gdepth(jpeg(pixels))
    for broken in (portrait.replace(b"iVBORw0KGgo", b"AAAAAAAAAAA"), apple(jpeg(pixels))[:-600]):
        with pytest.raises(PhotoError, match="disparity"):
            opened(model, broken)


@pytest.mark.parametrize("container", ["apple", "undeclared", "gdepth", "dynamic depth", "heic"])
def test_a_map_too_large_is_refused_before_its_pixels_are_read(model, pixels, container, monkeypatch):
    """A small photo may carry a map that takes all memory; phones' have fewer pixels than their photo."""
    portrait = heic(pixels) if container == "heic" else FORMATS[container](jpeg(pixels))
    monkeypatch.setattr(phone_depth, "MOST", 24 * 32)
    monkeypatch.setattr(phone_depth, "grey_levels", lambda picture: pytest.fail("read all the same"))
    with pytest.raises(PhotoError, match="^disparity 'embedded' must have at most .* megapixels, got "):
        opened(model, portrait)


def test_only_the_map_is_measured(pixels, monkeypatch):
    """Not the gain map before it, nor the film behind."""
    monkeypatch.setattr(phone_depth, "MOST", 48 * 64)
    monkeypatch.setattr(pictures, "SCANS", 20)
    gain = jpeg(np.zeros((100, 100), np.uint8), xmp=xmp(hdrgm__Version="1.0"))
    file = io.BytesIO()
    Image.fromarray(LEVELS).save(file, "JPEG", progressive=True)
    portrait = multi_picture(jpeg(pixels), gain, file.getvalue()) + b"\xff\xda" * 100
    assert phone_depth.read_embedded(io.BytesIO(portrait)).values.shape == (48, 64)


def test_a_map_of_very_many_scans_is_refused(pixels, monkeypatch):
    file = io.BytesIO()
    Image.fromarray(LEVELS).save(file, "JPEG", progressive=True)
    portrait = multi_picture(jpeg(pixels), file.getvalue())
    assert phone_depth.read_embedded(io.BytesIO(portrait)).values.shape == (48, 64)
    monkeypatch.setattr(pictures, "SCANS", 2)
    with pytest.raises(PhotoError, match="at most 2 scans"):
        phone_depth.read_embedded(io.BytesIO(portrait))


@pytest.mark.parametrize("told", ["utf-8", "utf-16"])
def test_metadata_that_would_grow_in_memory_is_not_read(pixels, told):
    packet = xmp(apdi__AuxiliaryImageType="disparity", apdi__FloatMinValue="&a;").decode()
    packet = ("<!DOCTYPE x [<!ENTITY a '0.5'>]>" + packet).encode(told)
    portrait = multi_picture(jpeg(pixels), jpeg(np.dstack([LEVELS] * 3), xmp=packet))
    with pytest.raises(PhotoError, match="this one carries none"):
        phone_depth.read_embedded(io.BytesIO(portrait))


def test_depth_that_is_not_finite_is_broken(pixels):
    with pytest.raises(PhotoError, match="the photo's depth cannot be read: it holds nan or infinity"):
        phone_depth.read_embedded(io.BytesIO(gdepth(jpeg(pixels), Near="1e-45", Far="1e-44")))


def test_pixels_alone_carry_no_depth(model, pixels):
    with pytest.raises(PhotoError, match="path or a binary file"):
        model.open(pixels, disparity="embedded")


def test_distances_from_0_on_are_those_with_0_unknown(model, pixels):
    levels = np.full((24, 32), 255, np.uint8)
    levels[:, :16], levels[:4] = 51, 0
    told = gdepth(jpeg(pixels), 255 - levels, Format="RangeLinear", Near="0", Far="5", Units="m")
    photo = opened(model, told)
    metres = photo.calibrate(focal_length_mm=5, sensor_width_mm=6).distance(photo.disparity)
    assert metres[60, 20] == pytest.approx(1, rel=0.02) and metres[60, 110] == pytest.approx(5, rel=0.02)
    assert photo.disparity[:12].max() == photo.disparity[60, 110] == 0
    with pytest.raises(PhotoError, match="references must be one or two"):  # where it begins is not told
        opened(model, gdepth(jpeg(pixels), Format="RangeLinear", Near="", Far="5", Units="m")).calibrate(
            focal_length_mm=5, sensor_width_mm=6
        )
