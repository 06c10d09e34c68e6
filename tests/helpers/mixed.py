"""Stores of mixed views, labelled by `fkd label`, and what a mixed view is, told in NumPy."""

from fkd import label_images
from fkd.config import MixPolicy, ViewPolicy
from helpers.folders import label_config

MIX = MixPolicy(mixup=1, cutmix=1, share=0.8, period=4)


def mixed_config(images, out, mix=MIX, **changes):
    """Return the configuration of a small, fast labelling run over mixed views."""
    return label_config(images, out, **({"views": ViewPolicy(mix=mix)} | changes))


def label_mixed(images, out, mix=MIX, **changes):
    """Label an image folder, small and fast, over mixed views: `label_config` says how."""
    return label_images(mixed_config(images, out, mix, **changes))


def mixed_by_hand(own, other, mixes):
    """Return n views uint8 [n, 3, h, w] mixed with others as `mixes` [n] say."""
    height, width = own.shape[-2:]
    out = own.copy()
    for row, (share, hole) in enumerate(zip(mixes.share, mixes.hole, strict=True)):
        w, (top, left, tall, wide) = int(share), (int(v) for v in hole)
        sums = own[row].astype(int) * w + other[row].astype(int) * (256 - w)
        out[row] = (sums + 128) // 256
        y0, y1 = ((e * height + 32_767) // 65_535 for e in (top, top + tall))
        x0, x1 = ((e * width + 32_767) // 65_535 for e in (left, left + wide))
        out[row, :, y0:y1, x0:x1] = other[row, :, y0:y1, x0:x1]
    return out
