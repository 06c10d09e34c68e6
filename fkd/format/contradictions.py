"""What a store's attributes cannot say together, although each of them is within its bounds."""

from fkd.format.attribute_values import Wrong
from fkd.format.block_sizes import oversize
from fkd.format.spec import StoreSpec


def refuse_contradictions(spec: StoreSpec) -> None:
    """Refuse sizes that contradict each other or imply too large arrays, before any is allocated."""
    shortest = len("a\0")
    if spec.path_bytes < shortest * spec.num_images or spec.class_name_bytes < spec.num_classes:
        raise Wrong("its texts are too short for as many images and classes")
    if spec.views.mix.mixes and (spec.stored_mixes or spec.stores_views):
        raise Wrong("its mixes are drawn, and its views are not")
    if spec.stores_views and not spec.views.tone.plain:
        raise Wrong("its tones are drawn, and its views are not")
    if spec.stores_views and not (spec.views.flip and spec.views.fit == "fill"):
        raise Wrong(
            "its views are stored, and not those of a rule that pads or does not mirror them"
        )
    if spec.stored_mixes and spec.format_version < 3:
        raise Wrong("mixes are of version 3")
    if spec.stored_mixes and (spec.root or not spec.stores_views):
        raise Wrong("its mixes are stored, where its views are drawn or were added to a store")
    if spec.stored_mixes and spec.num_images > 2**32:
        raise Wrong("it has more images than numbers of partners")
    if 0 < spec.class_title_bytes < spec.num_classes:
        raise Wrong("its titles are too short for as many classes")
    _refuse_labels(spec)
    excess = oversize(spec)
    if excess:
        raise Wrong(f"they imply {excess}")


def _refuse_labels(spec: StoreSpec) -> None:
    """Refuse labels and truth that no labeller keeps together."""
    if not spec.labels.there and (spec.grid or not spec.targets):
        raise Wrong("it keeps neither labels nor vectors, or a grid without labels")
    if spec.grid and not spec.unlabelled:
        raise Wrong("it has maps or lines, and classes of images")
    for kind, sides in (("masks", 2), ("texts", 1)):
        if getattr(spec, kind) and not (len(spec.grid) == sides and spec.unlabelled):
            raise Wrong(f"it has {kind}, and classes of images or labels of another grid")
    if spec.truth and spec.mixes:
        raise Wrong(f"it has {spec.truth}, and its views are mixed")
