"""`POST /v1/restore`: what comes back is what `anogen.restore` gives."""

import io

import numpy as np
from PIL import Image

import anogen
from anogen.cli.main import main

from .conftest import SMALL, npy, png

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (30, 41), np.uint8)
PNG = {"content-type": "image/png"}


def picture_of(response) -> np.ndarray:
    assert response.status_code == 200, response.text
    return np.asarray(Image.open(io.BytesIO(response.content)))


def test_a_picture_comes_back_as_it_would_here(serving, restoring_run):
    expected = anogen.restore(restoring_run, GREY).images
    colour = RNG.integers(0, 256, (20, 24, 3), np.uint8)
    deep = RNG.integers(0, 65536, (20, 24), np.uint16)
    with serving(restoring_run) as client:
        answer = client.post("/v1/restore", content=png(GREY), headers=PNG)
        assert answer.headers["content-type"] == "image/png"
        assert np.array_equal(picture_of(answer), expected)
        for pixels in (colour, deep):
            found = picture_of(client.post("/v1/restore", content=png(pixels), headers=PNG))
            assert np.array_equal(found, anogen.restore(restoring_run, pixels).images)
        array = RNG.random((3, 18, 20)).astype(np.float32)
        answer = client.post("/v1/restore", content=npy(array))
        assert np.array_equal(np.load(io.BytesIO(answer.content)),
                              anogen.restore(restoring_run, array).images)  # fmt: skip
        (card,) = client.get("/v1/models").json()["models"]
        assert card["restores"]
        assert "score" not in card


def test_a_mask_says_what_is_missing(serving, restoring_run):
    mask = np.zeros(GREY.shape, np.uint8)
    mask[5:9, 5:20] = 255
    expected = anogen.restore(restoring_run, GREY, mask=mask).images
    with serving(restoring_run) as client:
        files = [("file", ("a.png", png(GREY))), ("file", ("mask.png", png(mask)))]
        assert np.array_equal(picture_of(client.post("/v1/restore", files=files)), expected)
        files[1] = ("file", ("mask.png", png(mask[:4])))
        refused = client.post("/v1/restore", files=files)
        assert refused.status_code == 422
        assert "does not fit" in refused.json()["error"]


def test_a_vae_restores_pictures_of_its_size_and_looks_for_no_latents(serving, tmp_path):
    run = tmp_path / "vae"
    assert main(["train", "--model", "VAE", "--corruption", "gaussian_noise=0.2", "--data",
                 "digits", "--limit", "900", "--run", str(run), *SMALL]) == 0  # fmt: skip
    given = RNG.integers(0, 256, (16, 16), np.uint8)
    given = np.resize(given, anogen.load_data("digits").shape[1:])
    with serving(run, fpr=0.05) as client:
        found = picture_of(client.post("/v1/restore", content=png(given), headers=PNG))
        assert np.array_equal(found, anogen.restore(run, given).images)
        files = [("file", ("a.png", png(given))), ("file", ("mask.png", png(255 - 0 * given)))]
        refused = client.post("/v1/restore", files=files)
        assert refused.status_code == 400
        assert "not learnt to fill holes" in refused.json()["error"]
        refused = client.post("/v1/restore", content=png(GREY), headers=PNG)
        assert refused.status_code == 422
        assert "only a Restorer" in refused.json()["error"]
        assert client.post("/v1/sample").status_code == 200


def test_what_cannot_be_restored_is_refused(serving, restoring_run, pictures_run):
    with serving(restoring_run, pictures_run, max_held_megabytes=0.5) as client:
        for status, query, content, message in (
            (400, "?model=digits", png(GREY), "digits does not restore"),
            (400, "", png(GREY), "name a run"),
            (400, "?model=denoiser&method=prior", png(GREY), "take too long"),
            (400, "?model=denoiser&method=posterior", png(GREY), "does not restore by posterior"),
            (400, "?model=denoiser&level=much", png(GREY), "level must be a number"),
            (400, "?model=denoiser&levels=1", png(GREY), "did you mean"),
            (422, "?model=denoiser", b"nothing", "not a PNG or JPEG"),
            (422, "?model=denoiser", npy(np.zeros((3, 3), np.int64)), "type int64"),
            (400, "?model=denoiser", b"", "empty"),
            (413, "?model=denoiser", png(np.zeros((300, 300), np.uint8)), "make the picture"),
        ):
            answer = client.post(f"/v1/restore{query}", content=content, headers=PNG)
            assert answer.status_code == status, (query, answer.text)
            assert message in answer.json()["error"]
        answer = client.post("/v1/score?model=denoiser", content=png(GREY), headers=PNG)
        assert answer.status_code == 400
        assert "made to restore" in answer.json()["error"]
        answer = client.post("/v1/sample?model=denoiser")
        assert answer.status_code == 400
