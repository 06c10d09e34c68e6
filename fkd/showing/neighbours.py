"""The sections of vectors: views with those that are most like them, and how alike all are."""

from collections.abc import Sequence

from fkd.amounts import as_count
from fkd.figures import GREY, INK, MAIN, PAGE, figure_style, fit, new_figure, write
from fkd.info import target_words
from fkd.pictures import EDGE, CropViewer, Picture, Pixels, Table, as_files, place_axes
from fkd.showing.page import Section
from fkd.statistics import VectorStatistics
from fkd.store import LabelStore

_GAP, _LINE = 0.1, 0.17  # inches between crops, and of the line below one
_TINY = 6.5  # points
_HEIGHT, _BINS = 2.2, 40

# A crop, its line of text, and whether that is the class of the view that was asked for.
_Shown = tuple[Pixels, str, bool]


def vector_section(
    store: LabelStore, viewer: CropViewer | None, found: VectorStatistics, formats: Sequence[str]
) -> Section:
    """Return what a target's vectors tell; without a viewer no view is drawn."""
    record = next(record for record in store.spec.targets if record.name == found.name)
    pictures = [_spread_picture(found, formats)]
    if viewer is not None:
        gallery = _gallery(store, viewer, found, formats)
        pictures = pictures if gallery is None else [gallery, *pictures]
    text = (
        f"{target_words(record).removeprefix(f'{record.name}: ').capitalize()}. "
        f"From the first crop of {as_count(len(found.images), 'image')}."
    )
    if found.knn is not None:
        voters = as_count(found.voters, "nearest other")
        text += f" kNN {found.knn:.1%}: so many have the class that their {voters} vote for."
    skipped = () if viewer is None else viewer.taken()
    return Section(f"Neighbours by {found.name}", text, skipped, tuple(pictures))


def _gallery(
    store: LabelStore, viewer: CropViewer, found: VectorStatistics, formats: Sequence[str]
) -> Picture | None:
    """Draw a few views, each with its nearest ones; None where none can be drawn."""
    rows = []
    for place, others, cosines in zip(found.asked, found.nearest, found.similarity, strict=True):
        row = _row(viewer, found, int(place), others.tolist(), cosines.tolist())
        rows += [row] if row else []
    if not rows:
        return None
    bold = "" if store.spec.unlabelled else "; bold is the class of the first"
    return Picture(
        f"neighbours-{found.name}",
        _rows_figure(rows, formats),
        "Views and their nearest neighbours",
        f"Left a view, beside it those of other images whose vectors have the largest cosine{bold}.",
        f"{as_count(len(rows), 'view')}, each with {as_count(len(rows[0]) - 1, 'neighbour')}.",
    )


def _row(
    viewer: CropViewer, found: VectorStatistics, place: int, others: list[int], cosines: list[float]
) -> list[_Shown]:
    """Draw a view and its neighbours; empty where it cannot be drawn."""
    image = int(found.images[place])
    pixels, name = viewer.view(image), viewer.class_of(image)
    if pixels is None:
        return []
    row = [(pixels, name or "", False)]
    for other, cosine in zip(others, cosines, strict=True):
        index = int(found.images[other])
        seen, its = viewer.view(index), viewer.class_of(index)
        if seen is not None:
            text = f"{cosine:.3f}" + (f" · {its}" if its else "")
            row.append((seen, text, its is not None and its == name))
    return row


@figure_style()
def _rows_figure(rows: Sequence[Sequence[_Shown]], formats: Sequence[str]) -> dict[str, bytes]:
    """Draw a row for each view; return the figure's files."""
    across = max(len(row) for row in rows)
    side = (PAGE - (across - 1) * _GAP) / across
    pitch = side + _LINE + _GAP
    figure = new_figure(PAGE + 2 * EDGE, pitch * len(rows) - _GAP + 2 * EDGE, constrained=False)
    for number, row in enumerate(rows):
        for column, (pixels, text, same) in enumerate(row):
            left = EDGE + column * (side + _GAP)
            axes = place_axes(figure, left, EDGE + number * pitch, side, side)
            axes.imshow(pixels)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(visible=True, color=INK if column == 0 else GREY, linewidth=0.8)
            weight = "bold" if same or column == 0 else "normal"
            write(
                axes, 0, -0.03, fit(text, side, _TINY, weight), transform=axes.transAxes, va="top",
                fontsize=_TINY, weight=weight, color=INK if same or column == 0 else GREY,
            )  # fmt: skip
    return as_files(figure, formats)


@figure_style()
def _spread_picture(found: VectorStatistics, formats: Sequence[str]) -> Picture:
    """Draw the cosines of all pairs of views, and the variance along the principal axes."""
    figure = new_figure(PAGE, _HEIGHT)
    left, right = figure.subplots(1, 2)
    edges, shares = found.cosines.shares(_BINS)
    left.bar(edges[:-1], 100 * shares, edges[1] - edges[0], align="edge", color=MAIN, alpha=0.8)
    left.set(
        xlim=(-1, 1),
        xticks=(-1, -0.5, 0, 0.5, 1),
        xlabel="cosine of two views",
        ylabel="share of pairs, %",
    )
    axis = found.spread.spectrum.cumsum(0).numpy()
    right.plot(range(1, len(axis) + 1), 100 * axis, color=MAIN)
    right.set(xscale="log", ylim=(0, 102), xlabel="principal axes", ylabel="variance, %")
    right.grid(axis="y")
    rank, cosine = found.spread.rank, found.spread.cosine
    known = [
        ("mean cosine", f"{cosine:.4f}"),
        ("effective rank", f"{rank:.1f}"),
        ("mean length", f"{found.spread.norm:.4g}"),
        ("numbers that are the same in all", f"{found.spread.constant:,}"),
    ]
    known += [] if found.knn is None else [(f"kNN, k = {found.voters}", f"{found.knn:.1%}")]
    known += [
        (f"variance along {count} axes", f"{axis[count - 1]:.1%}")
        for count in (1, 2, 4, 8, 16, 32, 64, 128, 256)
        if count <= len(axis)
    ]
    return Picture(
        f"vectors-{found.name}",
        as_files(figure, formats),
        "How alike views are",
        "Left the cosines of all pairs of views: those of collapsed vectors are near 1. Right how much "
        f"of the variance lies along how many axes; in effect they have {rank:.1f}.",
        f"Histogram of cosines, mean {cosine:.3f}, and a curve of variance by axes.",
        Table(("of these views", "value"), tuple(known)),
    )
