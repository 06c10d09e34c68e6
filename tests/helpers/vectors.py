"""What is done to stores of vectors."""

from fkd.vectors import KeptVectors


def let_learn(patch):
    """Let vectors have a mean that a store has once, learned of a sample; a `patch` undoes it."""
    constants = property(lambda self: {f"mean.{self.name}": ("float32", (self.num_numbers,))})
    patch.setattr(KeptVectors, "constants", constants)
    patch.setattr(
        KeptVectors, "fit", lambda self, sample: {f"mean.{self.name}": sample.mean(0).numpy()}
    )


def kept(store, rows=slice(None), num_crops=None):
    """Return what is kept of the first crops of some images, [n, m, …] by array."""
    images, crops = range(store.spec.num_images), num_crops or store.spec.num_crops
    return {name: v[rows] for name, v in store.read_images(images, crops).kept.items()}
