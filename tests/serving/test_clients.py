"""Programs that others wrote, against a server: Hugging Face's client, and schemathesis."""

import logging

import numpy as np
import pytest
import schemathesis
from huggingface_hub import InferenceClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from serving_servers import pixels, png, served


@pytest.fixture(scope="module")
def server():
    with served(("small",), in_flight=10_000, queue=10_000, wait_seconds=5) as server:
        yield server


def test_the_client_of_hugging_face(server, tmp_path):
    """Its `image_to_image` sends an image as the body, and takes one: any address is a model."""
    client = InferenceClient(model=f"{server.running.url}/v1/translate?to=winter")
    body = png(-1)
    (tmp_path / "photo.png").write_bytes(body)
    for source in (body, tmp_path / "photo.png"):
        result = client.image_to_image(source)
        assert isinstance(result, Image.Image)
        np.testing.assert_array_equal(np.asarray(result), 255 - pixels(body))


def test_the_client_of_hugging_face_with_a_token(tmp_path):
    from unpaired.serving.serve import Address

    file = tmp_path / "token"
    file.write_text("a-token-of-enough-letters")
    with served(address=Address(port=0, token_file=file), token="a-token-of-enough-letters") as s:
        model = f"{s.running.url}/v1/translate?to=winter"
        client = InferenceClient(model=model, token="a-token-of-enough-letters")
        assert client.image_to_image(png(-1)).size == (16, 16)


FILES = [png(-1), png(-2, kind="JPEG"), png(-3, kind="WEBP"), png(-4, kind="TIFF")]
IMAGES = st.sampled_from(FILES)


@pytest.mark.parametrize(
    "cases",
    [8, pytest.param(200, marks=pytest.mark.nightly)],
)
def test_the_description_holds(server, cases):
    """No status that is not described, no 500, and every answer of the form it should have.

    `cases` for each of the eleven operations and each kind of data.
    """
    logging.getLogger("schemathesis").setLevel(logging.ERROR)
    for kind in ("image/*", "application/octet-stream", "application/zip"):
        schemathesis.openapi.media_type(kind, IMAGES)
    schemathesis.openapi.format("binary", IMAGES)  # the parts of a list
    schema = schemathesis.openapi.from_url(f"{server.running.url}/openapi.json")
    count = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        for mode in schemathesis.GenerationMode:
            count += run(operation, mode, cases)
    assert count > 11 * cases


def run(operation, mode, cases):
    """Tests an operation with cases of one mode; how many there were."""
    count = 0

    @settings(
        max_examples=cases, deadline=None, database=None, derandomize=cases < 50,
        phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def test(case):
        nonlocal count
        count += 1
        answer = case.call_and_validate(timeout=60)
        assert answer.status_code < 500, answer.text

    try:
        given(operation.as_strategy(generation_mode=mode))(test)()
    except Exception as error:
        if "Unsatisfiable" not in type(error).__name__ and "no valid" not in str(error):
            raise
    return count
