"""What is done to stores of vectors."""


def kept(store, rows=slice(None), num_crops=None):
    """Return what is kept of the first crops of some images, [n, m, …] by array."""
    images, crops = range(store.spec.num_images), num_crops or store.spec.num_crops
    return {name: v[rows] for name, v in store.read_images(images, crops).kept.items()}
