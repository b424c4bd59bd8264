// W4A16 with half-precision activations and a residual that rides in the operand.
#include "list.h"
#include "ride.h"
typedef RideA16<F16, RideF16> Scheme;
RIDING(w4a16_f16, t8, Scheme, 8, 4, 4, 2, true)
RIDING(w4a16_f16, t16, Scheme, 16, 4, 4, 2, true)
RIDING(w4a16_f16, t32, Scheme, 32, 2, 4, 3, false)
RIDING(w4a16_f16, t64, Scheme, 64, 2, 4, 3, false)
