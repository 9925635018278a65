"""`POST /v1/translate`: what comes back is what `anogen.translate` gives."""

import io

import numpy as np
from PIL import Image

import anogen

from .conftest import npy, png

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (28, 28), np.uint8)
PNG = {"content-type": "image/png"}


def test_a_picture_comes_back_as_it_would_here(serving, translating_run, tmp_path):
    colour = RNG.integers(0, 256, (20, 24, 3), np.uint8)
    with serving(translating_run) as client:
        (card,) = client.get("/v1/models").json()["models"]
        assert card["translates"] == ["digits", "digits+inversion"]
        assert not card["restores"]
        assert "score" not in card
        for pixels in (GREY, colour):
            for to in card["translates"]:
                answer = client.post("/v1/translate", params={"to": to}, content=png(pixels),
                                     headers=PNG)  # fmt: skip
                assert answer.status_code == 200, answer.text
                assert answer.headers["content-type"] == "image/png"
                found = np.asarray(Image.open(io.BytesIO(answer.content)))
                path = tmp_path / "given.png"
                Image.fromarray(pixels).save(path)
                read = anogen.Run.open(translating_run).pictures.read(path)[..., 0]
                assert np.array_equal(found, anogen.translate(translating_run, read, to=to).images)
        array = RNG.integers(0, 256, (3, 18, 20), np.uint8)
        answer = client.post("/v1/translate?to=digits", content=npy(array))
        expected = anogen.translate(translating_run, array, to="digits").images
        assert np.array_equal(np.load(io.BytesIO(answer.content)), expected)
        form = [("file", ("a.jpg", _jpeg(GREY)))]
        answer = client.post("/v1/translate?to=digits", files=form)
        assert answer.headers["content-type"] == "image/jpeg"


def _jpeg(pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def test_what_cannot_be_translated_is_refused(serving, translating_run, restoring_run):
    big = np.zeros((6000, 28, 28), np.uint8)
    with serving(translating_run, restoring_run) as client:
        for status, query, content, message in (
            (400, "?model=denoiser&to=digits", png(GREY), "does not translate"),
            (400, "?model=translator", png(GREY), "to=digits or to=digits+inversion"),
            (400, "?model=translator&to=digit", png(GREY), "did you mean 'digits'"),
            (400, "?to=digits", png(GREY), "name a run"),
            (400, "?model=translator&to=digits&too=1", png(GREY), "did you mean"),
            (422, "?model=translator&to=digits", b"nothing", "not a PNG or JPEG"),
            (422, "?model=translator&to=digits", npy(np.zeros((3, 3), np.int64)), "type int64"),
            (400, "?model=translator&to=digits", b"", "empty"),
            (413, "?model=translator&to=digits", npy(big), "too many"),
        ):
            answer = client.post(f"/v1/translate{query}", content=content, headers=PNG)
            assert answer.status_code == status, (query, answer.text)
            assert message in answer.json()["error"], answer.text
        answer = client.post("/v1/score?model=translator", content=png(GREY), headers=PNG)
        assert answer.status_code == 400
