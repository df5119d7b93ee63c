# The kernels of csrc/cuda compiled as C++17 against csrc/emulator, in the archive fastcnn_emulated. Whoever links it
# gets the stand-in headers before any of a toolkit.
file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/csrc/emulator/*.cpp)
file(GLOB kernels CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/csrc/cuda/*.cu)
set_source_files_properties(${kernels} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS -xc++)
if(FASTCNN_SANITIZE STREQUAL thread)
  # Races between GPU threads are looked for, not the emulator's own traffic (emulator/sanitizers.h).
  set_source_files_properties(${sources} PROPERTIES COMPILE_OPTIONS -fno-sanitize=thread
                                                    COMPILE_DEFINITIONS EMULATOR_TSAN)
endif()
add_library(fastcnn_emulated STATIC ${sources} ${kernels})
target_include_directories(fastcnn_emulated BEFORE PUBLIC ${PROJECT_SOURCE_DIR}/csrc/emulator/include)
target_compile_definitions(fastcnn_emulated PUBLIC FC_EMULATED)
target_compile_options(fastcnn_emulated PUBLIC -fno-strict-aliasing)  # as nvcc has it
target_link_libraries(fastcnn_emulated PUBLIC fastcnn_flags)
