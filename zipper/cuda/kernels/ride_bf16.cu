// W4A16 with bfloat16 activations and a residual that rides in the operand.
#include "list.h"
#include "ride.h"
typedef RideA16<BF16, RideBF16> Scheme;
RIDING(w4a16_bf16, t8, Scheme, 8, 4, 4, 2, true)
RIDING(w4a16_bf16, t16, Scheme, 16, 4, 4, 2, true)
RIDING(w4a16_bf16, t32, Scheme, 32, 2, 4, 3, false)
RIDING(w4a16_bf16, t64, Scheme, 64, 2, 4, 3, false)
