"""What the kernels compute, in Triton's language: each of them runs many times, for a part of a crop.

Legend: n crops, h and w the height and width of a rendered crop, S the longer of them, H the height of
the highest box, K taps, the source pixels under one output pixel. Directions are numbered: 0 along a
box's rows, 1 along its columns. `crops` int64 [7, n], or [9, n] of padded ones, is what
`CropTable.beside` makes.
"""

import triton
import triton.language as tl

# One compiled kernel does for all numbers, so that a run never waits for another one.
_ANY_NUMBER = {
    "do_not_specialize": ["most_taps", "highest", "count", "high", "wide"],
    "do_not_specialize_on_alignment": ["pixels", "out"],
}


@triton.jit
def _crop(crops, crop, count, ROW: tl.constexpr):
    """Return what a row of the table says of a crop."""
    return tl.load(crops + ROW * count + crop)


@triton.jit
def _pixels_in_view(crops, direction, crop, count, high, wide, PADDED: tl.constexpr):
    """Return how many pixels of a view a crop fills in a direction."""
    if PADDED:
        return tl.load(crops + (7 + direction) * count + crop).to(tl.int32)
    return tl.where(direction == 0, wide, high)


@triton.jit
def _num_taps(length, size, most_taps, REACH: tl.constexpr):
    """Return a bound of the taps of one direction; one is to spare, for ends that are rounded."""
    reached = 2 * REACH * tl.maximum(length, size)
    return tl.minimum((reached + size - 1) // size + 1, most_taps)


@triton.jit
def _kernel_at(x, REACH: tl.constexpr):
    """The resampling kernel at a distance of x output pixels; bicubic with a = -1/2."""
    x = tl.abs(x)
    if REACH == 1:
        return tl.maximum(1.0 - x, 0.0)
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5
    return tl.where(x < 1.0, near, tl.where(x >= 2.0, 0.0, far))


@triton.jit(**_ANY_NUMBER)
def taps_kernel(
    crops, first, weight, bits, most_taps, count, high, wide,
    PADDED: tl.constexpr, REACH: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Compute the taps of one direction of a crop.

    An output pixel is made of K source pixels from `first` [2, n, S] on. A `weight` [2, n, K, S] counts
    2^-bits, with `bits` [2, n].
    """
    crop, direction = tl.program_id(0), tl.program_id(1)
    length = tl.load(crops + (3 + direction) * count + crop).to(tl.int32)
    mirrored = tl.load(crops + (5 + direction) * count + crop)
    size = _pixels_in_view(crops, direction, crop, count, high, wide, PADDED)
    num_taps = _num_taps(length, size, most_taps, REACH)
    scale = length.to(tl.float64) / size.to(tl.float64)
    stretch = tl.maximum(scale, 1.0)
    narrowing = 1.0 / stretch
    longest = tl.maximum(high, wide)
    place = (direction * count + crop).to(tl.int64)

    heaviest = tl.full([BLOCK], 0.0, tl.float64)
    for start in range(0, longest, BLOCK):
        x = start + tl.arange(0, BLOCK)
        inside = x < size
        begin, end, center = _window(x, length, size, mirrored, scale, stretch, REACH)
        total = tl.full([BLOCK], 0.0, tl.float64)
        most = tl.full([BLOCK], 0.0, tl.float64)
        for k in range(num_taps):
            w = _weight_of(begin + k, end, center, narrowing, REACH)
            total += w
            most = tl.maximum(most, w)
        most = tl.where(inside, most, 0.0)
        heaviest = tl.maximum(heaviest, most / tl.where(inside, total, 1.0))
        tl.store(first + place * longest + x, tl.minimum(begin, length - 1), x < longest)

    kept = _bits_of(tl.max(heaviest))
    tl.store(bits + place, kept)
    unit = (1 << kept).to(tl.float64)
    for start in range(0, longest, BLOCK):
        x = start + tl.arange(0, BLOCK)
        inside = x < size
        begin, end, center = _window(x, length, size, mirrored, scale, stretch, REACH)
        total = tl.full([BLOCK], 0.0, tl.float64)
        for k in range(num_taps):
            total += _weight_of(begin + k, end, center, narrowing, REACH)
        total = tl.where(inside, total, 1.0)
        for k in range(num_taps):
            w = _weight_of(begin + k, end, center, narrowing, REACH) / total * unit
            half = tl.where(w > 0.0, 0.5, tl.where(w < 0.0, -0.5, 0.0))
            w = tl.where(inside, w + half, 0.0)  # a half is rounded away from zero
            tl.store(weight + (place * most_taps + k) * longest + x, w.to(tl.int32), x < longest)


@triton.jit
def _window(x, length, size, mirrored, scale, stretch, REACH: tl.constexpr):
    """Return the first source pixel under output pixels, the one behind the last, and their center."""
    pixel = x.to(tl.float64) + 0.5
    pixel = tl.where(mirrored != 0, size.to(tl.float64) - pixel, pixel)
    center = scale * pixel
    begin = tl.maximum(((center - REACH * stretch) + 0.5).to(tl.int32), 0)
    end = tl.minimum(((center + REACH * stretch) + 0.5).to(tl.int32), length)
    return begin, end, center


@triton.jit
def _weight_of(position, end, center, narrowing, REACH: tl.constexpr):
    """Return the weight of source pixels at a position, before they are made to sum to one."""
    distance = ((position.to(tl.float64) - center) + 0.5) * narrowing
    return tl.where(position >= end, 0.0, _kernel_at(distance, REACH))


@triton.jit
def _bits_of(heaviest):
    """Return how many bits behind the point weights have, as `taps` does, by the heaviest of them."""
    word = heaviest.to(tl.int64, bitcast=True)
    exponent = ((word >> 52) & 0x7FF) - 1022  # of a mantissa in [0.5, 1)
    fraction = word & ((1 << 52) - 1)
    over = fraction >= (1 << 52) - (1 << 37)  # a mantissa of at least 1 - 2^-16
    return tl.minimum(15 - (exponent + over.to(tl.int64)), 22).to(tl.int32)


@triton.jit
def _rounded(total, bits):
    """Return sums of samples times weights as samples."""
    return tl.minimum(tl.maximum(total >> bits, 0), 255)


@triton.jit(**_ANY_NUMBER)
def rows_kernel(
    pixels, crops, first, weight, bits, most_taps, narrow, highest, count, high, wide,
    PADDED: tl.constexpr, REACH: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Resample some rows of a box to some of its columns in the view: `narrow` [n, H, w, 3]."""
    crop = tl.program_id(0).to(tl.int64)
    height = _crop(crops, crop, count, 4).to(tl.int32)
    start = tl.program_id(1) * ROWS
    if start < height:
        longest = tl.maximum(high, wide)
        width = _crop(crops, crop, count, 3).to(tl.int32)
        size = _pixels_in_view(crops, 0, crop, count, high, wide, PADDED)
        y, x = start + tl.arange(0, ROWS), tl.program_id(2) * COLUMNS + tl.arange(0, COLUMNS)
        there = (y < height)[:, None] & (x < wide)[None, :]
        row = _crop(crops, crop, count, 1) + y.to(tl.int64) * _crop(crops, crop, count, 2)
        begin = tl.load(first + crop * longest + x, x < wide, 0)
        kept = tl.load(bits + crop)
        half = tl.full([ROWS, COLUMNS], 0, tl.int32) + (1 << (kept - 1))
        red, green, blue = half, half, half
        for k in range(_num_taps(width, size, most_taps, REACH)):
            at = pixels + (row[:, None] + tl.minimum(begin + k, width - 1)[None, :]) * 3
            w = tl.load(weight + (crop * most_taps + k) * longest + x, x < wide, 0)[None, :]
            red += tl.load(at, there, 0).to(tl.int32) * w
            green += tl.load(at + 1, there, 0).to(tl.int32) * w
            blue += tl.load(at + 2, there, 0).to(tl.int32) * w
        to = narrow + ((crop * highest + y)[:, None] * wide + x[None, :]) * 3
        tl.store(to, _rounded(red, kept).to(tl.uint8), there)
        tl.store(to + 1, _rounded(green, kept).to(tl.uint8), there)
        tl.store(to + 2, _rounded(blue, kept).to(tl.uint8), there)


@triton.jit(**_ANY_NUMBER)
def columns_kernel(
    narrow, crops, first, weight, bits, most_taps, out, highest, count, high, wide,
    PADDED: tl.constexpr, REACH: tl.constexpr,
    ROWS: tl.constexpr, SAMPLES: tl.constexpr, PADDING_VALUE: tl.constexpr,
):  # fmt: skip
    """Resample some rows of a view, some of their samples, from `narrow` to `out` [N, h, w, 3]."""
    crop = tl.program_id(0).to(tl.int64)
    height = _crop(crops, crop, count, 4).to(tl.int32)
    longest = tl.maximum(high, wide)
    size = _pixels_in_view(crops, 1, crop, count, high, wide, PADDED)
    y = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    sample = tl.program_id(2) * SAMPLES + tl.arange(0, SAMPLES)
    there = (y < high)[:, None] & (sample < 3 * wide)[None, :]
    begin = tl.load(first + (count + crop) * longest + y, y < high, 0)
    kept = tl.load(bits + count + crop)
    total = tl.full([ROWS, SAMPLES], 0, tl.int32) + (1 << (kept - 1))
    for k in range(_num_taps(height, size, most_taps, REACH)):
        row = crop * highest + tl.minimum(begin + k, height - 1)
        w = tl.load(weight + ((count + crop) * most_taps + k) * longest + y, y < high, 0)
        at = narrow + row[:, None] * (3 * wide) + sample[None, :]
        total += tl.load(at, there, 0).to(tl.int32) * w[:, None]
    value = _rounded(total, kept)
    if PADDED:
        across = _pixels_in_view(crops, 0, crop, count, high, wide, PADDED)
        behind = (y >= size)[:, None] | (sample >= 3 * across)[None, :]
        value = tl.where(behind, PADDING_VALUE, value)
    to = out + (_crop(crops, crop, count, 0) * high + y)[:, None] * (3 * wide) + sample[None, :]
    tl.store(to, value.to(tl.uint8), there)
