// W4A4: 4-bit activations with a scale per token and group. For sm_80, 86 and
// 89; sm_90 runs it with emulated instructions.
#include "list.h"
W4A4_KERNELS(w4a4, W4A4)
