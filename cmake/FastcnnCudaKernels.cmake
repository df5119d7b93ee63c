# The kernels of csrc/cuda compiled by nvcc into the objects fastcnn_cuda_kernels. The runtime is linked statically: a
# machine without the toolkit, and one without a driver, imports the module all the same.
#
# FASTCNN_CUDA_ARCHITECTURES: as CMAKE_CUDA_ARCHITECTURES. 80 also gives PTX, which later cards translate at first use.
set(FASTCNN_CUDA_ARCHITECTURES "80;90a-real" CACHE STRING "CUDA architectures, as CMAKE_CUDA_ARCHITECTURES")
set(CMAKE_CUDA_COMPILER "${fastcnn_nvcc}")
set(CMAKE_CUDA_ARCHITECTURES "${FASTCNN_CUDA_ARCHITECTURES}")
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)

file(GLOB kernels CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/csrc/cuda/*.cu)
add_library(fastcnn_cuda_kernels OBJECT ${kernels})
set_target_properties(fastcnn_cuda_kernels PROPERTIES
  CUDA_STANDARD 17 CUDA_STANDARD_REQUIRED ON CUDA_EXTENSIONS OFF CUDA_VISIBILITY_PRESET hidden
  POSITION_INDEPENDENT_CODE ON)
target_include_directories(fastcnn_cuda_kernels PRIVATE ${PROJECT_SOURCE_DIR}/csrc ${CUDAToolkit_INCLUDE_DIRS})
string(REPLACE ";" ", sm_" architectures "${FASTCNN_CUDA_ARCHITECTURES}")
string(REPLACE "-real" "" architectures "${architectures}")
target_compile_definitions(fastcnn_cuda_kernels PRIVATE FC_CUDA_ARCHITECTURES="${architectures}")
if(FASTCNN_WERROR)  # warnings of ptxas too; what it says of each kernel is for scripts/check_nvcc.py --log
  target_compile_options(fastcnn_cuda_kernels PRIVATE -Werror all-warnings -Xptxas -v)
  list(FILTER kernels EXCLUDE REGEX "/trigonometry\\.cu$")  # may use local memory, and says why
  set_source_files_properties(${kernels} PROPERTIES COMPILE_OPTIONS "-Xptxas=-warn-spills,-warn-lmem-usage")
endif()
