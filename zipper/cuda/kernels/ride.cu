// W4A8 with a residual that rides in the operand.
#include "list.h"
#include "ride.h"

// Groups of a multiple of 128, of 64 and of 32 columns.
#define RIDING(name, tile, scheme, ...)                  \
  MATRIX(name##_ride_##tile, scheme, RIDE, 1, __VA_ARGS__)   \
  MATRIX(name##_ride64_##tile, scheme, RIDE, 2, __VA_ARGS__) \
  MATRIX(name##_ride32_##tile, scheme, RIDE, 4, __VA_ARGS__)
#define RIDE_KERNELS(name, scheme)               \
  RIDING(name, t8, scheme, 8, 4, 4, 3, true)     \
  RIDING(name, t16, scheme, 16, 4, 4, 3, true)   \
  RIDING(name, t32, scheme, 32, 2, 4, 3, false)  \
  RIDING(name, t64, scheme, 64, 2, 4, 3, false)  \
  RIDING(name, t128, scheme, 128, 2, 4, 2, false)
RIDE_KERNELS(w4a8, RideA8)
