// W4A16 with half-precision activations.
#include "list.h"
W4A16_KERNELS(w4a16_f16, W4A16<F16>)
