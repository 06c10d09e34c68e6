"""Label sets that others have published, in the units of ours: bytes a label, and GB of the whole set.

A set's size is by formula where its paper or its file format gives one, and else as its files are. GB are
10^9 bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

IMAGENET = 1_281_167
FKD_IMAGES = 1_200_000  # the paper's own round number

# ReLabel (CVPR 2021): one map of 15 × 15 positions an image, ids and values of the top 5, 4 bytes each.
RELABEL_BYTES = 15 * 15 * 5 * 2 * 4


@dataclass(frozen=True)
class LabelSet:
    """A set of labels: what one is, its bytes, how many there are, how that is known and who says so."""

    name: str
    label: str
    each: float
    count: int
    how: str
    source: str

    def cells(self) -> list[str]:
        """Return the cells of the row, in the order of `HEADER`."""
        size = f"{self.each:,.1f}" if self.each < 100 else f"{self.each:,.0f}"
        gigabytes = self.each * self.count / 1e9
        total = f"{gigabytes:,.2f}" if gigabytes < 1 else f"{gigabytes:,.1f}"
        return [
            self.name,
            self.label,
            size,
            f"{self.count / 1e6:,.1f} M",
            total,
            self.how,
            self.source,
        ]


HEADER = ("label set", "a label", "bytes a label", "labels", "GB", "how it is known", "source")
WORDS = ("label set", "a label", "how it is known", "source")


def fkd_bytes(numbers: int) -> int:
    """Return FKD's bytes a crop by its formula: L numbers of a label and 5 for box and flip, 4 each."""
    return (numbers + 5) * 4


def of_size(name: str, label: str, gigabytes: float, count: int, source: str) -> LabelSet:
    """Return a set whose whole size is published."""
    return LabelSet(name, label, gigabytes * 1e9 / count, count, "published size / labels", source)


def record(values: int, ids: int, numbers: int) -> int:
    """Return bytes of `numbers` values and as many ids, of so many bytes each."""
    return numbers * (values + ids)


# In LPQLD's sets of 10 images a class nine of ten labels of 300 epochs are pruned.
_LPQLD = 10 * 1000 * 300 // 10
_TINYVIT = 90 * 14_200_000

PUBLISHED: Sequence[LabelSet] = (
    LabelSet(
        "FKD, M = 200",
        "crop: box, flip, top 5",
        fkd_bytes(10),
        FKD_IMAGES * 200,
        "its formula, N · M · (L + 5) · 4",
        "Shen and Xing, ECCV 2022",
    ),
    LabelSet(
        "FKD, M = 500",
        "crop: box, flip, top 5",
        76.6,
        IMAGENET * 500,
        "a file of its generator's format, measured: torch's pickle of NumPy arrays",
        "szq0214/FKD",
    ),
    of_size(
        "dataset reinforcement, RRC-Small, M = 100",
        "crop: box, flip, top 5, gzip",
        4.7,
        IMAGENET * 100,
        "apple/ml-dr, README",
    ),
    LabelSet(
        "TinyViT, ImageNet-22k, 90 epochs",
        "augmented view: seed, top 100",
        4 + record(2, 2, 100),
        _TINYVIT,
        "its record: a seed of 4 bytes, float16 values and int16 ids; without keys 481 GiB, as published",
        "microsoft/Cream, TinyViT",
    ),
    of_size("LPQLD, 10 images a class", "cutmix view: top 100", 0.13, _LPQLD, "LPQLD, README"),
    of_size("LPQLD, 10 images a class", "cutmix view: top 50", 0.07, _LPQLD, "LPQLD, README"),
    of_size("LPQLD, 10 images a class", "cutmix view: top 10", 0.03, _LPQLD, "LPQLD, README"),
    LabelSet(
        "ReLabel",
        "image: a map of 15 × 15, top 5 each",
        RELABEL_BYTES,
        IMAGENET,
        "its tensor, 15 · 15 · 5 ids and values of 4 bytes",
        "naver-ai/relabel_imagenet",
    ),
    LabelSet(
        "DataCompDR-12M, 30 views",
        "augmented view: an image embedding of 1,536",
        1536 * 2,
        12_800_000 * 30,
        "its numbers, bfloat16",
        "apple/DataCompDR-12M, data card",
    ),
)
