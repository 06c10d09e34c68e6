"""Images as they were labelled: what is decoded has the content and the size that the labels are of."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fkd.errors import ImagesError
from fkd.images import ImageList, content_hash, decode, read_file


class LabelledImages:
    """The files of an image list, with the hashes of their contents when they were labelled."""

    def __init__(self, images: ImageList, hashes: NDArray[np.uint64] | None) -> None:
        """Take hashes u64 [N], or None for a store of format version 1, which has none."""
        self._images, self._hashes = images, hashes

    def decode(self, image_index: int, size: NDArray[np.uint16]) -> Tensor:
        """Decode an image, uint8 [3, H, W]; raises `ImagesError` unless it is the one that was labelled.

        `size` is its (height, width) then.
        """
        path, (height, width) = self._images.file(image_index), size.tolist()
        encoded = read_file(path)
        if self._hashes is not None and content_hash(encoded) != int(self._hashes[image_index]):
            raise ImagesError(
                f"{path} is not the file that was labelled (its content is another); restore the image "
                "or label the folder anew"
            )
        pixels = decode(path, encoded)
        if pixels.shape[-2:] != (height, width):
            raise ImagesError(
                f"{path} has {pixels.shape[-1]}×{pixels.shape[-2]} pixels, {width}×{height} when it "
                "was labelled; restore the image or label the folder anew"
            )
        return pixels
