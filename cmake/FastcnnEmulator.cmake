# The kernels of csrc/cuda compiled as C++17 against csrc/emulator. fastcnn_emulated is the archive of the emulator and the
# kernels that the C++ tests run, which the sanitizers' builds need; all objects go into the module. Whoever links it gets
# the stand-in headers before any of a toolkit.
file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/csrc/emulator/*.cpp)
file(GLOB kernels CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/csrc/cuda/*.cu)
set(tested activation_mask.cu axis_map.cu conv_depthwise.cu conv_mma.cu conv_mma_tf32.cu cumsum.cu indexing.cu ramp.cu relu.cu row_sum.cu
           runtime.cu sort.cu streams.cu transpose.cu)
# Sums and products of integers wrap, as on a card.
set_source_files_properties(${kernels} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-xc++;-fwrapv")
if(FASTCNN_SANITIZE STREQUAL thread)
  # Races between GPU threads are looked for, not the emulator's own traffic (emulator/sanitizers.h).
  set_source_files_properties(${sources} PROPERTIES COMPILE_OPTIONS -fno-sanitize=thread
                                                    COMPILE_DEFINITIONS EMULATOR_TSAN)
endif()
list(TRANSFORM tested PREPEND ${PROJECT_SOURCE_DIR}/csrc/cuda/)
list(REMOVE_ITEM kernels ${tested})
add_library(fastcnn_emulator_objects OBJECT ${sources} ${tested})
add_library(fastcnn_emulated_objects OBJECT ${kernels})
add_library(fastcnn_emulated STATIC $<TARGET_OBJECTS:fastcnn_emulator_objects>)
foreach(target fastcnn_emulator_objects fastcnn_emulated_objects fastcnn_emulated)
  target_include_directories(${target} BEFORE PUBLIC ${PROJECT_SOURCE_DIR}/csrc/emulator/include)
  target_compile_definitions(${target} PUBLIC FC_EMULATED)
  target_compile_options(${target} PUBLIC -fno-strict-aliasing)  # as nvcc has it
  target_link_libraries(${target} PUBLIC fastcnn_flags)
endforeach()
