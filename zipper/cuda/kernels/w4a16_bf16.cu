// W4A16 with bfloat16 activations.
#include "list.h"
W4A16_KERNELS(w4a16_bf16, W4A16<BF16>)
