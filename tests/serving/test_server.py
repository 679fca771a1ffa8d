"""A server as its clients see it: images in and out, jobs, zips, errors, formats."""

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image as Pillow

from serving_servers import pixels, png, served
from unpaired.images.formats import read_image, write_image
from unpaired.images.image import Image


@pytest.fixture(scope="module")
def server():
    with served(("small", "held", "grey"), in_flight=100) as server:
        yield server


def zipped(**files):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/").replace("_png", ".png"), content)
    return packed.getvalue()


def unzipped(content):
    archive = zipfile.ZipFile(io.BytesIO(content))
    return {name: archive.read(name) for name in archive.namelist()}


def test_an_image_comes_back_translated(server):
    body = png(-1)
    answer = server.translate(body, model="small")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.headers["x-model"] == "small"
    np.testing.assert_array_equal(pixels(answer.content), 255 - pixels(body))


def test_domains_go_by_their_names(server):
    for to in ("winter", "summer", "a", "b"):
        assert server.translate(png(-2), model="small", to=to).status_code == 200
    answer = server.translate(png(-2), model="small", to="autumn")
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == "to is winter or summer: add ?to=winter"


def test_the_model_is_named_where_there_are_several(server):
    answer = server.translate(png(-2))
    assert (answer.status_code, answer.json()["detail"]) == (
        422, "model is one of small, held, grey",
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "AVIF", "GIF"])
def test_formats(server, kind):
    answer = server.translate(png(-3, kind=kind), model="small")
    same = "PNG" if kind == "GIF" else kind
    assert answer.status_code == 200
    assert Pillow.open(io.BytesIO(answer.content)).format == same
    answer = server.translate(png(-3, kind=kind), model="small", format="webp")
    assert Pillow.open(io.BytesIO(answer.content)).format == "WEBP"


def test_answers_are_those_of_translate(server, tmp_path):
    """The bytes of the files that `unpaired translate` writes."""
    import small_models
    from unpaired.translation.files import translate_files

    rng = np.random.default_rng(5)
    alpha = rng.integers(0, 256, (21, 17), np.uint8)
    colour = rng.integers(0, 250, (21, 17, 3), np.uint8)
    folder = tmp_path / "in"
    for name, image in {
        "rgb.png": Image(colour),
        "photo.jpg": Image(colour),
        "clear.png": Image(colour, alpha),
        "grey.png": Image(colour[:, :, :1]),
        "deep.png": Image(colour[:, :, :1].astype(np.uint16) * 200),
        "deep.tif": Image(colour.astype(np.uint16) * 200),
    }.items():
        write_image(folder / name, image)
    model = small_models.model(tmp_path)
    done = translate_files(model, [folder], tmp_path / "out", to="winter")
    assert len(done.done) == 6
    for path in done.done:
        answer = server.translate((folder / path.name).read_bytes(), model="small")
        assert answer.status_code == 200, answer.text
        assert answer.content == path.read_bytes(), path.name


def test_what_a_format_cannot_hold_is_a_tiff_unless_asked_for(server, tmp_path):
    answer = server.translate(png(-4, kind="JPEG"), model="grey", to="winter")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/tiff")
    (tmp_path / "result.tif").write_bytes(answer.content)
    assert read_image(tmp_path / "result.tif").depth == 16
    answer = server.translate(png(-4), model="grey", to="winter", format="jpg")
    assert answer.status_code == 422
    assert answer.json()["detail"] == "JPEG cannot hold 1 bands of 16 bits: write .tif"


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        (b"not an image", 415, "not an image of a format that is read here"),
        (b"", 400, "the body is empty: send the bytes of an image"),
        (b'<VRTDataset rasterXSize="9" rasterYSize="9"/>', 415,
         "not an image of a format that is read here"),
        (png(-1)[:500], 422, "damaged or cut off"),
        (png(-1)[:20], 422, "damaged PNG header"),
        (zipped(a_png=png(-1)), 415, "a zip file: send it to /v1/jobs"),
    ],
)  # fmt: skip
def test_what_cannot_be_translated(server, body, status, detail):
    answer = server.translate(body, model="small")
    told = answer.json()
    assert (answer.status_code, told["status"]) == (status, status)
    assert told["detail"].startswith(detail), told
    assert "/" not in told["detail"].replace("/v1/jobs", "")  # no paths


def test_forms_are_rejected(server):
    for kind in ("multipart/form-data; boundary=x", "application/json"):
        answer = server.translate(png(-1), model="small", headers={"Content-Type": kind})
        assert answer.status_code == 415


def test_a_job_at_once(server):
    answer = server.translate(png(-5), model="small", headers={"Prefer": "respond-async"})
    told = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (202, f"/v1/jobs/{told['id']}")
    ended = server.wait(told["id"])
    assert (ended["state"], ended["done"], ended["total"]) == ("done", 1, 1)
    assert ended["images"] == [{"name": "image", "state": "done", "error": None, "warning": None}]
    result = server.client.get(ended["result"])
    np.testing.assert_array_equal(pixels(result.content), 255 - pixels(png(-5)))
    assert server.client.delete(f"/v1/jobs/{told['id']}").status_code == 204
    assert server.client.get(f"/v1/jobs/{told['id']}").status_code == 404


def test_a_zip_of_images(server):
    body = zipped(one_png=png(-6), sub__two_png=png(-7), bad_png=b"nothing", **{".hidden": b"x"})
    job = server.job(body, model="small").json()
    assert job["total"] == 3
    told = server.wait(job["id"])
    assert told["state"] == "done"
    assert [image["state"] for image in told["images"]] == ["done", "done", "failed"]
    assert told["images"][2]["error"] == "not an image of a format that is read here"
    files = unzipped(server.client.get(told["result"]).content)
    assert set(files) == {"one.png", "sub/two.png", "errors.txt"}
    np.testing.assert_array_equal(pixels(files["sub/two.png"]), 255 - pixels(png(-7)))
    assert files["errors.txt"].decode().startswith("bad.png: not an image")
    one = server.client.get(told["result"], params={"image": 1})
    assert one.content == files["sub/two.png"]
    assert server.client.get(told["result"], params={"image": 2}).status_code == 415
    assert server.client.get(told["result"], params={"image": 3}).status_code == 422


def test_a_zip_of_nothing_good_fails(server):
    told = server.wait(server.job(zipped(a_png=b"1", b_png=b"2"), model="small").json()["id"])
    assert (told["state"], told["error"]) == ("failed", "all of 2 images failed")
    assert server.client.get(f"/v1/jobs/{told['id']}/result").status_code == 409


def test_events_end_with_the_job(server):
    job = server.job(zipped(a_png=png(-8), b_png=png(-9)), model="small").json()
    with server.client.stream("GET", f"/v1/jobs/{job['id']}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line.startswith("data: ")]
    told = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert told[-1]["state"] == "done"
    assert [each["done"] for each in told] == sorted(each["done"] for each in told)


def test_a_job_is_cancelled(server):
    before = server.metric('unpaired_images_total{outcome="done"}')
    server.hold()
    many = zipped(**{f"i{number}_png": png(-number - 10, side=256) for number in range(8)})
    job = server.job(many, model="held").json()
    assert server.client.get(f"/v1/jobs/{job['id']}/result").status_code == 409
    assert server.client.delete(f"/v1/jobs/{job['id']}").status_code == 204
    server.release()
    assert server.translate(png(-1), model="small").status_code == 200
    assert server.metric('unpaired_images_total{outcome="done"}') == before + 1
    assert server.metric('unpaired_images_total{outcome="cancelled"}') >= 8


def test_one_image_does_not_wait_for_a_whole_zip(server):
    """Jobs take turns: what a worker has not yet taken of a zip comes later."""
    server.hold()
    many = zipped(**{f"i{number}_png": png(-number - 10, side=256) for number in range(40)})
    job = server.job(many, model="held").json()
    one = server.job(png(-1, side=256), model="held").json()
    assert one["position"] <= 1
    server.release()
    assert server.wait(one["id"])["state"] == "done"
    told = server.client.get(f"/v1/jobs/{job['id']}").json()
    assert told["done"] < 40
    server.client.delete(f"/v1/jobs/{job['id']}")


def test_metadata_is_removed_and_said(server):
    exif = Pillow.Exif()
    exif[0x0110] = "a camera"
    exif.get_ifd(0x8825)[1] = "N"
    body = png(-20, kind="JPEG", exif=exif, icc_profile=b"0" * 200, comment=b"secret")
    answer = server.translate(body, model="small")
    assert answer.headers["x-warning"] == (
        "removed from the result: EXIF with GPS, a colour profile, a comment"
    )
    result = Pillow.open(io.BytesIO(answer.content))
    assert not result.getexif()
    assert not {"exif", "icc_profile", "comment", "xmp"} & set(result.info)
    assert b"secret" not in answer.content


def test_the_first_frame_of_an_animation_is_translated_and_said(server):
    frames = [Pillow.new("RGB", (16, 16), (value, 9, 9)) for value in (10, 90)]
    file = io.BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
    answer = server.translate(file.getvalue(), model="small")
    assert answer.headers["x-warning"] == "2 frames: the first was translated"
    assert tuple(pixels(answer.content)[0, 0]) == (245, 246, 246)


def test_models(server):
    told = server.client.get("/v1/models").json()
    assert [model["name"] for model in told["models"]] == ["small", "held", "grey"]
    first = told["models"][0]
    assert first["domains"]["a"] == {"name": "summer", "bands": 3, "samples": "uint8"}
    assert first["directions"][0] == {"id": "ab", "from": "summer", "to": "winter"}
    assert told["limits"]["body_bytes"] == 25_000_000
    assert "VRT" not in told["formats"]["input"]
    assert "GPS" in told["metadata"]


def test_health_and_metrics(server):
    assert server.client.get("/healthz").json() == {"status": "ok"}
    assert server.client.get("/readyz").json() == {"status": "ready"}
    server.translate(png(-1), model="small")
    assert server.metric('unpaired_requests_total{route="translate",status="200"}') > 0
    assert server.metric("unpaired_network_seconds_count") > 0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/translate", 405), ("GET", "/nowhere", 404), ("DELETE", "/healthz", 405),
        ("GET", "/v1/jobs/0123456789abcdef0123456789abcdef", 404), ("GET", "/v1/jobs/..%2f", 404),
        ("GET", "/v1/models/small/samples/0", 404), ("GET", "/v1/models/x/samples/a", 404),
        ("GET", "/page.py", 404), ("GET", "/../serve.py", 404), ("TRACE", "/", 405),
    ],
)  # fmt: skip
def test_unknown_pages_and_methods(server, method, path, status):
    answer = server.client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    if status == 405:
        assert answer.headers["allow"]


def test_images_alike_are_translated_as_a_batch_and_as_alone(server):
    """What waits is a batch, whose answers are those of each alone."""
    images = [png(-number - 30) for number in range(6)]
    alone = [server.translate(body, model="held").content for body in images]
    ones = server.metric('unpaired_batch_images_bucket{le="1.0"}')
    server.hold()
    jobs = [server.job(body, model="held").json()["id"] for body in images]
    server.release()
    for id, content in zip(jobs, alone, strict=True):
        assert server.client.get(server.wait(id)["result"]).content == content
    assert server.metric('unpaired_batch_images_bucket{le="1.0"}') - ones < 6


@pytest.mark.parametrize("cases", [60, pytest.param(10_000, marks=pytest.mark.nightly)])
def test_fuzzed_images_are_answered(server, tmp_path, cases):
    """Damaged images of all formats: translated or rejected, and the worker lives on."""
    import fuzz_images

    restarts = server.worker.restarts
    found = fuzz_images.examples(tmp_path)
    first = 0 if cases < 100 else int(np.random.default_rng().integers(10**6))
    for seed in range(first, first + cases):
        rng = np.random.default_rng(seed)
        body = fuzz_images.mutate(found[rng.integers(len(found))], found, rng)
        answer = server.translate(body, model="small")
        assert answer.status_code in (200, 400, 413, 415, 422), (seed, answer.text)
        if answer.status_code != 200:
            assert "\n" not in answer.json()["detail"], seed
            assert str(server.running.dispatcher.store.folder) not in answer.text, seed
    assert server.worker.restarts == restarts
