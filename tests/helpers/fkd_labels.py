"""FKD's label files, as its generator writes them, and labels as its loader recovers them."""

import numpy as np
import torch

KINDS = ["hard", "smoothing", "marginal_smoothing_k5", "marginal_smoothing_k10", "ori"]


def label_arrays(kind, probs):
    """Return the labels of crops, probabilities f32 [M, C], in the form of a kind."""
    if kind == "ori":
        return probs.numpy()
    k = int(kind.rpartition("k")[2]) if "_k" in kind else 1
    value, index = probs.topk(k, dim=1)
    if kind == "hard":
        return index[:, 0].numpy()
    pairs = torch.stack([index.float(), value], dim=1).numpy()
    return pairs[:, :, 0] if kind == "smoothing" else pairs


def fractions(box, height, width):
    return (box / np.array([height, width, height, width])).astype(np.float32)


def write_file(path, coords, flip, labels, *, half=False, tensors=False, legacy=False):
    """Write one file; `half` is --use_fp16, `legacy` torch before 1.6."""
    if half:
        coords = coords.astype(np.float16)
        labels = labels if labels.dtype == np.int64 else labels.astype(np.float16)
    content = [coords, flip, labels]
    if tensors:
        content = [torch.from_numpy(array) for array in content]
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)


def recovered(kind, labels, num_classes):
    """Return probabilities f32 [M, C] as FKD's loader makes them of a tensor of labels."""
    if kind == "ori":
        return labels
    if kind == "hard":
        return torch.nn.functional.one_hot(labels, num_classes).float()
    pairs = labels[:, :, None] if labels.ndim == 2 else labels
    index, value = pairs[:, 0].long(), pairs[:, 1]
    rest = (1 - value.sum(dim=1)) / (num_classes - value.shape[1])
    return rest[:, None].repeat(1, num_classes).scatter(1, index, value)
