// W4A8 with a residual that rides in the operand.
#include "list.h"
#include "ride.h"
RIDING(w4a8, t8, RideA8, 8, 4, 4, 3, true)
RIDING(w4a8, t16, RideA8, 16, 4, 4, 3, true)
RIDING(w4a8, t32, RideA8, 32, 2, 4, 3, false)
RIDING(w4a8, t64, RideA8, 64, 2, 4, 3, false)
