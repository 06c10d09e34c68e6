"""The endings by which a file is known to be an image."""

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff")

# Endings of images that fkd does not list: to take one more would change the list of a folder that was
# labelled.
UNLISTED = (
    ".avif", ".heic", ".heif", ".jfif", ".jpe", ".jif", ".jp2", ".j2k", ".jxl", ".pbm", ".pnm", ".pfm",
    ".tga", ".ico", ".svg", ".psd", ".exr", ".hdr", ".dng", ".nef", ".cr2", ".arw", ".npy", ".dcm",
)  # fmt: skip
