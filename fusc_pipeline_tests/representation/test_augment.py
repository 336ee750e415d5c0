"""Random views: drawn per image, reproducible, and geometrically what they say."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusc_pipeline.base.compute import Compute
from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.representation.augment import (
    MEAN,
    STD,
    Augmentation,
    augment,
    augmented_view,
    eval_view,
    plain_view,
    strong_augment,
    supervised_augment,
)

STILL = {"min_crop_scale": 1.0, "max_aspect": 1.0, "mirror_p": 0.0, "jitter_p": 0.0}


def blobs(n=6, side=32):
    rng = np.random.default_rng(0)
    return torch.from_numpy(
        np.stack([cv2.GaussianBlur(rng.integers(0, 256, (side, side), dtype=np.uint8), (0, 0), 2) for _ in range(n)])
    )


def run(config, pixels, seed=0):
    return augment(pixels, config, torch.Generator().manual_seed(seed)) * STD + MEAN


def test_an_augmentation_that_changes_nothing_gives_the_eval_view():
    pixels = blobs()
    assert torch.allclose(run(Augmentation(**STILL), pixels), pixels.unsqueeze(1) / 255, atol=1e-5)
    assert torch.allclose(eval_view(pixels) * STD + MEAN, pixels.unsqueeze(1) / 255, atol=1e-6)


def test_mirroring_is_exact():
    pixels = blobs()
    mirrored = run(Augmentation(**STILL | {"mirror_p": 1.0}), pixels)
    assert torch.allclose(mirrored, pixels.flip(2).unsqueeze(1) / 255, atol=1e-5)


def test_rotation_turns_by_what_was_drawn_about_the_centre():
    """A bright spot off the centre keeps its distance from it and moves by the drawn angle, in OpenCV's eyes too."""
    side = 65
    pixels = torch.zeros(8, side, side, dtype=torch.uint8)
    pixels[:, 30:35, 50:55] = 255
    turned = run(Augmentation(**STILL | {"rotation_degrees": 90.0, "rotation_p": 1.0}), pixels)[:, 0]
    coordinates = torch.arange(side) - (side - 1) / 2
    angles = []
    for image in turned:
        x, y = (image.sum(0) * coordinates).sum() / image.sum(), (image.sum(1) * coordinates).sum() / image.sum()
        assert float(torch.hypot(x, y)) == pytest.approx(20, abs=0.5)
        angle = float(torch.atan2(y, x).rad2deg())
        angles.append(angle)
        matrix = cv2.getRotationMatrix2D((32, 32), -angle, 1.0)
        oracle = cv2.warpAffine(pixels[0].numpy(), matrix, (side, side)) / 255
        assert np.abs(oracle - image.numpy()).mean() < 0.002
    assert max(angles) - min(angles) > 20 and max(map(abs, angles)) <= 90.5


def test_a_crop_is_a_window_of_the_image():
    """On a linear ramp the crop's mean slope is its width, and its values stay inside the image's."""
    side = 64
    ramp = torch.arange(side, dtype=torch.uint8).mul(4).expand(200, side, side).contiguous()
    out = run(Augmentation(**STILL | {"min_crop_scale": 0.25}), ramp)[:, 0] * 255
    width = (out[:, :, -2] - out[:, :, 1]).mean(1) / (4 * (side - 3))
    assert float(width.min()) >= 0.49 and float(width.max()) <= 1.01
    area = width.square()
    assert float(area.mean()) == pytest.approx(0.625, abs=0.05)  # uniform between 0.25 and 1
    assert float(out[:, 2:-2, 2:-2].min()) > 0


def test_each_image_gets_its_own_draw_and_the_seed_decides():
    same = blobs(1).expand(6, 32, 32)
    for config in (Augmentation(), strong_augment(90), supervised_augment()):
        views = run(config, same)
        assert len({tuple(view.flatten().tolist()) for view in views}) == 6
        assert torch.equal(views, run(config, same)) and not torch.equal(views, run(config, same, seed=1))


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from(
        [Augmentation(min_crop_scale=0.1, rotation_degrees=180), strong_augment(90), supervised_augment(0.5, 15)]
    ),
)
def test_views_are_finite_and_in_range(seed, config):
    pixels = torch.randint(0, 256, (4, 24, 24), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    views = run(config, pixels, seed)
    assert views.shape == (4, 1, 24, 24) and views.dtype == torch.float32
    assert bool(torch.isfinite(views).all()) and float(views.min()) >= -1e-5 and float(views.max()) <= 1 + 1e-5


def test_blur_equals_a_gaussian_convolution():
    from fusc_pipeline.representation.augment import Part, _blur, _Draws

    images = blobs().unsqueeze(1).float() / 255
    config = Augmentation(blur_p=1.0, max_blur_sigma=1.5)
    out = _blur(images, config, _Draws(Part(6, slice(None)), torch.Generator().manual_seed(3), torch.device("cpu")))
    replay = _Draws(Part(6, slice(None)), torch.Generator().manual_seed(3), torch.device("cpu"))
    replay.chosen(1.0)
    for image, blurred, sigma in zip(images[:, 0], out[:, 0], replay.uniform(0.1, 1.5), strict=True):
        kernel = cv2.getGaussianKernel(7, float(sigma))
        oracle = cv2.sepFilter2D(image.numpy(), -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)
        assert np.abs(oracle - blurred.numpy()).max() < 1e-4
    unchanged = _blur(
        images, Augmentation(blur_p=1e-9), _Draws(Part(6, slice(None)), torch.Generator(), torch.device("cpu"))
    )
    assert torch.allclose(unchanged, images, atol=1e-6)


def test_cutout_blackens_one_square_no_larger_than_said():
    white = torch.full((64, 50, 50), 255, dtype=torch.uint8)
    holes = run(Augmentation(**STILL | {"cutout_p": 1.0, "cutout_size": 0.4}), white)[:, 0] < 0.5
    rows, columns = holes.any(2).sum(1), holes.any(1).sum(1)
    assert int(rows.max()) <= 20 and int(columns.max()) <= 20
    assert torch.equal(holes.sum((1, 2)), rows * columns)  # a full rectangle, where not cut off by the border
    assert int((holes.sum((1, 2)) > 0).sum()) > 48


def test_views_of_an_array_are_rows_augmented_or_plain():
    pixels = blobs().numpy()
    rows = torch.tensor([3, 1])
    config = strong_augment()
    view = augmented_view(pixels, config, Compute())(rows, torch.Generator().manual_seed(5))
    assert torch.equal(view, augment(torch.from_numpy(pixels[[3, 1]]), config, torch.Generator().manual_seed(5)))
    assert torch.equal(plain_view(pixels, Compute())(rows), eval_view(torch.from_numpy(pixels[[3, 1]])))


def test_settings_outside_their_range_are_refused():
    with pytest.raises(BadSetting, match=r"Augmentation.min_crop_scale is 0.*from 0.01 to 1.0"):
        Augmentation(min_crop_scale=0.0)
    with pytest.raises(BadSetting, match=r"mirror_p is nan"):
        Augmentation(mirror_p=float("nan"))


def test_colour_images_change_their_colours_and_grey_ones_do_not():
    rng = np.random.default_rng(3)
    colour = torch.from_numpy(rng.integers(0, 256, (6, 24, 24, 3), dtype=np.uint8))
    still = Augmentation(min_crop_scale=1.0, mirror_p=0, max_aspect=1.0, jitter_p=1.0, brightness=0, contrast=0)
    views = augment(colour, still, torch.Generator().manual_seed(1)) * STD + MEAN
    assert views.shape == (6, 3, 24, 24) and views.min() >= 0 and views.max() <= 1
    grey_input = colour[..., :1].expand(-1, -1, -1, 3)
    unchanged = augment(grey_input, still, torch.Generator().manual_seed(1)) * STD + MEAN
    # A turn about the grey axis and a pull towards the luma leave grey where it is.
    assert torch.allclose(unchanged, eval_view(grey_input, standardise=False), atol=1e-4)


def test_without_saturation_only_the_luma_is_left():
    colour = torch.from_numpy(np.random.default_rng(4).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8))
    config = Augmentation(
        min_crop_scale=1.0, mirror_p=0, max_aspect=1.0, jitter_p=1.0, brightness=0, contrast=0, hue=0, greyscale_p=1.0
    )
    views = augment(colour, config, torch.Generator().manual_seed(0)) * STD + MEAN
    luma = (colour.float() / 255) @ torch.tensor([0.299, 0.587, 0.114])
    assert torch.allclose(views, luma[:, None].expand(-1, 3, -1, -1), atol=1e-4)
