// Stand-in for the toolkit's header of the same name.
#pragma once

#include <cuda_fp16.h>
