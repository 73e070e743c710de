"""Embedding a set: flip sum, unit length, every batch alike, failures flagged, the cache believed only when whole."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bnas_face import files, models
from bnas_face.config import ModelConfig, TrainConfig
from bnas_face.data.formats import archives, folders
from bnas_face.data.images import FaceImages
from bnas_face.errors import BrokenImageError, CheckpointError, ConfigError, ProtocolError, UnknownNameError
from bnas_face.evaluate import embed, embedders
from bnas_face.evaluate.embed import Embedder, cache_file, embed_images, open_embedder
from bnas_face.models import saved
from bnas_face.models.backbones._preprocessing import Preprocessing

SIZE_PX = 6
Network = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def corner_pixels(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Embedding: red, green, blue of the top left pixel and red of the top right one, plus 1."""
    return np.concatenate([images[:, 0, 0], images[:, 0, -1, :1]], axis=1).astype(np.float32) + 1


def embedder_of(network: Network = corner_pixels, **changes: Any) -> Embedder:
    info = {"id": "test", "weights_sha256": "0" * 64, "embedding_dim": 4} | changes
    preprocessing = Preprocessing(size_px=changes.get("size_px", SIZE_PX))
    return Embedder(spec="test", info=info, preprocessing=preprocessing, network=network)


def images_of(pixels: NDArray[np.uint8], *, broken: tuple[int, ...] = (), content_hash: str = "a") -> FaceImages:
    def read(indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        for index in indices:
            if index in broken:
                raise BrokenImageError(f"{index}.jpg", "it is empty (0 bytes)")
        return pixels[indices]

    return FaceImages(
        name="test",
        image_ids=tuple(f"{i}.jpg" for i in range(len(pixels))),
        labels=np.arange(len(pixels)),
        identity_names=tuple(map(str, range(len(pixels)))),
        content_hash=content_hash,
        size_px=pixels.shape[1],
        read=read,
    )


def random_pixels(n_images: int, size_px: int = SIZE_PX) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (n_images, size_px, size_px, 3), np.uint8)


def expected_of(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Oracle, one image at a time."""
    rows = []
    for image in pixels:
        total = corner_pixels(image[None]).astype(float) + corner_pixels(np.fliplr(image)[None])
        rows.append(total[0] / np.sqrt((total[0] ** 2).sum()))
    return np.array(rows)


@pytest.mark.parametrize("n_images", [1, 3, 4, 5, 8, 11])
def test_rows_are_unit_flip_sums_in_order_whatever_the_last_batch(n_images: int) -> None:
    pixels = random_pixels(n_images)
    sizes: list[int] = []

    def network(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        sizes.append(len(images))
        return corner_pixels(images)

    found = embed_images(embedder_of(network), images_of(pixels), batch_size=4)
    np.testing.assert_allclose(found.values, expected_of(pixels), atol=1e-6)
    assert found.values.dtype == np.float32
    assert max(sizes) <= 4
    assert sum(sizes) == 2 * n_images
    assert not found.failed.any()


def test_colours_are_red_green_blue_in_full_and_in_last_batches() -> None:
    pixels = np.zeros((5, SIZE_PX, SIZE_PX, 3), np.uint8)
    pixels[..., 0] = 200
    seen: list[NDArray[np.uint8]] = []

    def network(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.append(images[:, 0, 0].copy())
        return corner_pixels(images)

    embed_images(embedder_of(network), images_of(pixels), batch_size=2)
    assert {tuple(colour) for batch in seen for colour in batch.tolist()} == {(200, 0, 0)}


def test_a_flipped_set_has_the_same_embeddings() -> None:
    pixels = random_pixels(3)
    straight = embed_images(embedder_of(), images_of(pixels), cache=False).values
    flipped = embed_images(embedder_of(), images_of(pixels[:, :, ::-1]), cache=False).values
    assert np.array_equal(straight, flipped)


def test_one_view_and_the_flip_sum_are_kept_apart_in_the_cache() -> None:
    pixels = random_pixels(3)
    both = embed_images(embedder_of(), images_of(pixels)).values
    straight = embed_images(embedder_of(), images_of(pixels), flip=False)
    rows = corner_pixels(pixels).astype(float)
    np.testing.assert_allclose(straight.values, rows / np.linalg.norm(rows, axis=1, keepdims=True), atol=1e-6)
    assert straight.n_from_cache == 0
    assert embed_images(embedder_of(), images_of(pixels), flip=False).from_cache
    assert np.array_equal(embed_images(embedder_of(), images_of(pixels)).values, both)


def test_lengths_are_kept_and_survive_the_cache() -> None:
    pixels = random_pixels(3)
    total = corner_pixels(pixels).astype(float) + corner_pixels(pixels[:, :, ::-1])
    for _ in range(2):
        found = embed_images(embedder_of(), images_of(pixels))
        np.testing.assert_allclose(found.lengths, np.linalg.norm(total, axis=1), rtol=1e-6)
    assert found.from_cache


def test_a_cache_that_was_written_without_lengths_is_still_used() -> None:
    pixels = random_pixels(3)
    embedder, images = embedder_of(), images_of(pixels)
    straight = embed_images(embedder, images)
    path = cache_file(embedder, images)
    with np.load(path) as content:
        kept = {name: content[name] for name in content if name != "lengths"}
    np.savez(path, **kept)
    again = embed_images(embedder, images)
    assert again.from_cache
    assert again.lengths is not None and np.isnan(again.lengths).all()
    assert np.array_equal(again.values, straight.values)


def test_images_are_resized_to_the_network() -> None:
    shapes: set[tuple[int, ...]] = set()

    def network(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        shapes.add(images.shape[1:])
        return corner_pixels(images)

    embed_images(embedder_of(network), images_of(random_pixels(3, size_px=20)))
    assert shapes == {(SIZE_PX, SIZE_PX, 3)}


def test_a_broken_image_is_a_flagged_row_with_its_reason() -> None:
    pixels = random_pixels(7)
    found = embed_images(embedder_of(), images_of(pixels, broken=(1, 6)), batch_size=3)
    assert found.failed.tolist() == [False, True, False, False, False, False, True]
    reason = "cannot be decoded: it is empty (0 bytes)."
    assert found.reasons == {"1.jpg": f"Image '1.jpg' {reason}", "6.jpg": f"Image '6.jpg' {reason}"}
    good = ~found.failed
    np.testing.assert_allclose(found.values[good], expected_of(pixels)[good], atol=1e-6)
    assert not found.values[found.failed].any()


def test_a_batch_of_broken_images_alone_does_not_reach_the_network() -> None:
    def network(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert len(images)
        return corner_pixels(images)

    found = embed_images(embedder_of(network), images_of(random_pixels(4), broken=(0, 1)), batch_size=2)
    assert found.failed.tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    ("value", "reason"),
    [(np.nan, "not finite (NaN or infinite)"), (np.inf, "not finite (NaN or infinite)"), (0.0, "the zero vector")],
)
def test_an_embedding_without_direction_is_flagged(value: float, reason: str) -> None:
    def network(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        values = corner_pixels(images)
        values[images[:, 0, 0, 0] == 0] = value
        return values

    pixels = np.full((5, SIZE_PX, SIZE_PX, 3), 9, np.uint8)
    pixels[3] = 0
    found = embed_images(embedder_of(network), images_of(pixels), batch_size=2)
    assert found.failed.tolist() == [False, False, False, True, False]
    assert reason in found.reasons["3.jpg"]
    assert np.isfinite(found.values).all()


def test_only_the_ids_asked_for_are_embedded_and_repeats_once() -> None:
    pixels = random_pixels(6)
    seen: list[int] = []

    def network(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.append(len(images))
        return corner_pixels(images)

    found = embed_images(embedder_of(network), images_of(pixels), ids=["4.jpg", "1.jpg", "4.jpg"])
    assert found.image_ids == ("4.jpg", "1.jpg")
    np.testing.assert_allclose(found.values, expected_of(pixels[[4, 1]]), atol=1e-6)
    assert sum(seen) == 4
    assert found.rows(["1.jpg", "4.jpg", "1.jpg"]).tolist() == [1, 0, 1]


def test_an_unknown_id_is_one_sentence() -> None:
    images = images_of(random_pixels(12))
    with pytest.raises(ProtocolError) as caught:
        embed_images(embedder_of(), images, ids=["11.jpeg"])
    assert str(caught.value) == "Image '11.jpeg' is not in dataset 'test' (12 images). Did you mean '11.jpg'?"


def test_a_batch_size_below_1_is_refused() -> None:
    with pytest.raises(ConfigError, match="Batch size 0 is not at least 1"):
        embed_images(embedder_of(), images_of(random_pixels(1)), batch_size=0)


def test_an_empty_choice_gives_an_empty_table() -> None:
    found = embed_images(embedder_of(), images_of(random_pixels(2)), ids=[])
    assert found.values.shape == (0, 4)


def test_an_interrupted_call_goes_on_where_the_cache_was_last_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "KEPT_EVERY", 4)
    pixels, calls = random_pixels(10), []

    def stop(done: int, total: int) -> None:
        calls.append((done, total))
        if done > 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_images(embedder_of(), images_of(pixels), batch_size=2, progress=stop)
    found = embed_images(embedder_of(), images_of(pixels), batch_size=2)
    assert calls == [(2, 10), (4, 10), (6, 10), (8, 10)]
    assert found.n_from_cache == 4
    assert (found.values == embed_images(embedder_of(), images_of(pixels), batch_size=2, cache=False).values).all()


def test_progress_counts_every_image_broken_or_not() -> None:
    calls: list[tuple[int, int]] = []
    images = images_of(random_pixels(5), broken=(0,))
    embed_images(embedder_of(), images, batch_size=2, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(2, 5), (4, 5), (5, 5)]


def test_decoding_is_a_few_batches_ahead_at_most_and_off_the_main_thread() -> None:
    pixels = random_pixels(40)
    n_read, n_used, ahead = 0, 0, []
    threads: set[str] = set()
    plain = images_of(pixels)

    def read(indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        nonlocal n_read
        n_read += 1
        ahead.append(n_read - n_used)
        threads.add(threading.current_thread().name)
        return pixels[indices]

    def network(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        nonlocal n_used
        n_used += 0.5  # two calls for each batch: straight and flipped
        return corner_pixels(images)

    streamed = FaceImages(
        name="test",
        image_ids=plain.image_ids,
        labels=plain.labels,
        identity_names=plain.identity_names,
        content_hash="a",
        size_px=SIZE_PX,
        read=read,
    )
    embed_images(embedder_of(network), streamed, batch_size=2)
    assert n_read == 20
    assert max(ahead) <= 3
    assert threading.main_thread().name not in threads


# --- cache ------------------------------------------------------------------------------------------------------------


def count(calls: list[int]) -> Network:
    def network(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        calls.append(len(images))
        return corner_pixels(images)

    return network


def test_a_second_call_reads_the_cache_and_says_so() -> None:
    calls: list[int] = []
    images = images_of(random_pixels(5), broken=(2,))
    first = embed_images(embedder_of(count(calls)), images)
    n_calls = len(calls)
    second = embed_images(embedder_of(count(calls)), images)
    assert (first.from_cache, second.from_cache) == (False, True)
    assert len(calls) == n_calls
    assert np.array_equal(first.values, second.values)
    assert np.array_equal(first.failed, second.failed)
    assert first.reasons == second.reasons


def test_protocols_that_share_images_share_their_embeddings() -> None:
    calls: list[int] = []
    pixels = random_pixels(6)
    embed_images(embedder_of(count(calls)), images_of(pixels), ids=["0.jpg", "1.jpg", "2.jpg"])
    found = embed_images(embedder_of(count(calls)), images_of(pixels), ids=["5.jpg", "1.jpg", "2.jpg"])
    assert (found.n_from_cache, found.from_cache) == (2, False)
    assert sum(calls) == 2 * 4
    np.testing.assert_allclose(found.values, expected_of(pixels[[5, 1, 2]]), atol=1e-6)
    assert embed_images(embedder_of(), images_of(pixels), ids=["0.jpg", "5.jpg"]).from_cache


@pytest.mark.parametrize(
    ("embedder", "content_hash"),
    [
        (embedder_of(weights_sha256="1" * 64), "a"),
        (embedder_of(size_px=7), "a"),
        (embedder_of(), "b"),
    ],
    ids=["weights", "preprocessing", "images"],
)
def test_other_weights_preprocessing_or_images_are_computed_anew(embedder: Embedder, content_hash: str) -> None:
    pixels = random_pixels(2)
    embed_images(embedder_of(), images_of(pixels))
    assert not embed_images(embedder, images_of(pixels, content_hash=content_hash)).from_cache


def damage_truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def damage_flip_bytes(path: Path) -> None:
    content = bytearray(path.read_bytes())
    at = content.index(b"\x93NUMPY", content.index(b"values")) + 140
    content[at] ^= 0xFF
    path.write_bytes(content)


def damage_empty(path: Path) -> None:
    path.write_bytes(b"")


def damage_text(path: Path) -> None:
    path.write_text("not a cache")


def damage_pickle(path: Path) -> None:
    np.savez(path, values=np.array([{"a": 1}], dtype=object), allow_pickle=True)


def damage_shape(path: Path) -> None:
    with np.load(path) as content:
        parts = dict(content)
    parts["values"] = parts["values"][:, :3]
    np.savez(path, **parts)


def damage_schema(path: Path) -> None:
    with np.load(path) as content:
        parts = dict(content)
    parts["schema"] = np.array("bnas_face.embeddings/0")
    np.savez(path, **parts)


DAMAGES = [
    damage_truncate,
    damage_flip_bytes,
    damage_empty,
    damage_text,
    damage_pickle,
    damage_shape,
    damage_schema,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_cache_file_is_computed_again_and_mended(damage: Callable[[Path], None]) -> None:
    pixels = random_pixels(4)
    images, embedder = images_of(pixels), embedder_of()
    embed_images(embedder, images)
    damage(cache_file(embedder, images))
    found = embed_images(embedder, images)
    assert not found.from_cache
    np.testing.assert_allclose(found.values, expected_of(pixels), atol=1e-6)
    assert embed_images(embedder, images).from_cache


def test_a_cache_that_cannot_be_written_does_not_stop_the_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BNASFACE_CACHE", str(tmp_path / "file"))
    assert embed_images(embedder_of(), images_of(random_pixels(2))).values.shape == (2, 4)


def test_without_cache_nothing_is_written() -> None:
    images, embedder = images_of(random_pixels(2)), embedder_of()
    embed_images(embedder, images, cache=False)
    assert not cache_file(embedder, images).exists()


# --- opening ----------------------------------------------------------------------------------------------------------


def write_run(name: str) -> None:
    torch.manual_seed(0)
    model = ModelConfig(binarizer="xnor", size_px=64, width=0.125, embedding_dim=8)
    provenance = {"dataset": "demo", "n_images": 12, "n_identities": 3}
    config = TrainConfig(name=name, model=model, dataset="demo", exclude_names_of=("cfp",), epochs=2, seed=5)
    saved.save(Path("runs") / name, models.build(model), config, provenance)


def test_a_run_folder_opens_with_its_entry_of_result_json() -> None:
    write_run("mine")
    embedder = open_embedder("runs/mine", device="cpu")
    info = embedder.info
    assert (info["id"], info["source"], info["backbone"], info["binarizer"]) == (
        "mine",
        "runs/mine",
        "iresnet18",
        "xnor",
    )
    assert (info["weight_bits"], info["activation_bits"], info["size_px"], info["embedding_dim"]) == (1, 32, 64, 8)
    assert info["file_bytes"] == Path("runs/mine/weights.safetensors").stat().st_size
    assert info["weights_sha256"] == files.sha256_file(Path("runs/mine/weights.safetensors"))
    assert 0 < info["n_binary_parameters"] < info["n_parameters"]
    training = info["training"]
    assert (training["dataset"], training["exclude_names_of"], training["epochs"]) == ("demo", ["cfp"], 2)
    assert (training["n_images"], training["n_identities"], training["seed"]) == (12, 3, 5)
    files.write_json(Path("info.json"), dict(info))  # JSON values only
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    model, _, _ = saved.load(Path("runs/mine"))
    with torch.no_grad():
        expected = model(torch.from_numpy(pixels.transpose(0, 3, 1, 2).astype(np.float32)) / 127.5 - 1)
    np.testing.assert_allclose(embedder.forward(pixels), expected.numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("spec", ["runs/mien", "mine", "runs/mine2"])
def test_a_mistyped_run_is_suggested(spec: str) -> None:
    write_run("mine")
    with pytest.raises(UnknownNameError) as caught:
        open_embedder(spec)
    assert str(caught.value).startswith(f"Run folder '{spec}' does not exist. Did you mean 'runs/mine'? Expected")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("onx:net.onnx", "Unknown kind of model 'onx' in 'onx:net.onnx'. Did you mean 'onnx:net.onnx'? Expected"),
        (
            "mxnet:net",
            "Unknown kind of model 'mxnet' in 'mxnet:net'. Expected a run folder such as runs/mine, a packed FILE.bnn",
        ),
        (
            "facenet:vgface2",
            "Unknown facenet network 'vgface2'. Did you mean 'vggface2'? Known: vggface2, casia-webface.",
        ),
        ("net.onnx", "'net.onnx' is a file, not a run folder. Did you mean 'onnx:net.onnx'? Expected"),
        ("empty", "'empty' is a folder without config.json, so it is not a run. Expected"),
    ],
)
def test_a_mistyped_model_is_one_sentence(spec: str, message: str) -> None:
    Path("net.onnx").write_bytes(b"")
    Path("empty").mkdir()
    with pytest.raises(UnknownNameError) as caught:
        open_embedder(spec)
    assert str(caught.value).startswith(message)
    assert caught.value.exit_code == 2


def test_an_absent_onnx_file_is_one_sentence() -> None:
    with pytest.raises(CheckpointError, match=r"ONNX file 'net\.onnx' does not exist"):
        open_embedder("onnx:net.onnx")


@pytest.mark.realdata
@pytest.mark.parametrize("n_images", [1, 3, 7, 20])
def test_parts_side_by_side_give_what_the_whole_batch_gives(n_images: int) -> None:
    calls: list[int] = []

    def network(images: Any) -> Any:
        calls.append(len(images))
        return images.reshape(len(images), -1).astype(np.float32)

    images = random_pixels(n_images)
    found = embedders._side_by_side(network, threads=2, part=3)(images)
    assert (found == images.reshape(n_images, -1)).all()
    assert max(calls) <= 3
    assert sum(calls) == n_images


def test_the_outside_model_embeds_as_in_the_oracle(shared_data: Path) -> None:
    """Rows 0 and 1 of the oracle are the images of the first pair of LFW."""
    ids = ("Abel_Pacheco/Abel_Pacheco_0001.jpg", "Abel_Pacheco/Abel_Pacheco_0004.jpg")
    archive = shared_data / "lfw" / "lfw_aligned_112.tar.gz"
    archives.unpack(archive, Path("lfw"), lambda path: str(path) if str(path) in ids else None)
    images = FaceImages(
        name="lfw",
        image_ids=ids,
        labels=np.zeros(2, np.int64),
        identity_names=("Abel_Pacheco",),
        content_hash="a",
        size_px=112,
        read=folders.FolderReader(Path("lfw"), ids, 112),
    )
    embedder = open_embedder(f"onnx:{shared_data / 'models' / 'vface_mobilefacenet.onnx'}")
    found = embed_images(embedder, images)
    with np.load(shared_data / "oracle" / "lfw_pair_emb.npz") as oracle:
        np.testing.assert_allclose(found.values, oracle["embeddings"][:2], atol=2e-6)
    assert embedder.info["file_bytes"] == 3_998_450
    assert embedder.info["preprocessing"]["mean"] == [0.485, 0.456, 0.406]
