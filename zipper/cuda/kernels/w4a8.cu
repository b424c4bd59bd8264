// W4A8: int8 activations with a scale per token.
#include "list.h"
W4A8_KERNELS(w4a8, W4A8)
