"""What labels give up of the teacher's, in words."""

from fkd.amounts import as_count
from fkd.labels import SHARE_TEMPERATURES
from fkd.store import LabelStore


def fidelity_words(store: LabelStore) -> str | None:
    """Say how near a store's labels are to the teacher's, in one line; None where it does not know.

    Stores of format 1 and 2 do not, nor do those of labels that came without the teacher's probabilities.
    """
    found, labels = store.fidelity(), store.spec.labels
    if found is None:
        return None
    imported = store.spec.made_by == "import"
    divergence, whole = "", "the label in its file" if imported else "the teacher's label"
    of_whole = "label in its file" if imported else "teacher's whole label"
    if found.kl is not None and found.quantization is not None:
        divergence = f"KL {found.kl:.2g} nats to the {of_whole}"
        if labels.keeps_all:
            return f"{divergence}; all classes are kept"
        divergence, whole = (
            f"{divergence}, {found.quantization:.2g} of them by quantization; ",
            "it",
        )
    count = labels.num_ranks
    kept = "the kept class holds" if count == 1 else f"the {as_count(count, 'kept class')} hold"
    first, *others = (f"{share:.1%}" for share in found.kept_shares)
    softer = ", ".join(
        f"{share} at {temperature:g}"
        for share, temperature in zip(others, SHARE_TEMPERATURES[1:], strict=True)
    )
    return (
        f"{divergence}{kept} {first} of {whole} ({softer.replace(' at ', ' at temperature ', 1)})"
    )
