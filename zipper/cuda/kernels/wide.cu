// W4A8 in tiles of 128 columns, for groups of a multiple of so many.
#include "list.h"
#include "wide.h"
#define WIDE_A8(tile, ...)                                     \
  MATRIX(w4a8_dense128_##tile, WideA8, DENSE, 1, __VA_ARGS__)  \
  MATRIX(w4a8_zip128_##tile, WideA8, ZIP, 1, __VA_ARGS__)
WIDE_A8(t32, 32, 2, 4, 3, false)
WIDE_A8(t64, 64, 2, 4, 3, false)
