# Decides whether CUDA kernels are built and keeps the reason, which `fastcnn info` shows. A user who has a GPU
# must never end up with a CPU-only build without being told: `auto` always prints one line, `on` never falls back.
#
# nvcc is looked for where users put it: CUDACXX, CUDA_HOME, CUDA_PATH, PATH, the toolkit's default prefix. The
# result is not cached, so a toolkit installed later is seen by the next build in the same directory.
string(TOLOWER "${FASTCNN_CUDA}" fastcnn_cuda_mode)
if(fastcnn_cuda_mode MATCHES "^(1|true|yes)$")
  set(fastcnn_cuda_mode on)
elseif(fastcnn_cuda_mode MATCHES "^(0|false|no)$")
  set(fastcnn_cuda_mode off)
endif()
if(NOT fastcnn_cuda_mode MATCHES "^(auto|on|off|emulate)$")
  message(FATAL_ERROR "FASTCNN_CUDA: unknown value, got ${FASTCNN_CUDA}, expected auto, on, off or emulate")
endif()

# Sets fastcnn_nvcc to the compiler's path ("" if there is none) and fastcnn_nvcc_text to "nvcc 13.0 found at ..."
# or a sentence saying what was wrong.
function(fastcnn_find_nvcc)
  set(places)
  foreach(prefix "$ENV{CUDA_HOME}" "$ENV{CUDA_PATH}")
    if(prefix)
      list(APPEND places "${prefix}/bin")
    endif()
  endforeach()
  find_program(nvcc NAMES "$ENV{CUDACXX}" nvcc HINTS ${places} NO_CACHE)  # HINTS come before PATH
  if(NOT nvcc)
    find_program(nvcc NAMES nvcc PATHS /usr/local/cuda/bin /opt/cuda/bin NO_DEFAULT_PATH NO_CACHE)
  endif()
  if(NOT nvcc)
    set(fastcnn_nvcc "" PARENT_SCOPE)
    set(fastcnn_nvcc_text "no nvcc found in CUDACXX, CUDA_HOME, CUDA_PATH, PATH or /usr/local/cuda" PARENT_SCOPE)
    return()
  endif()
  execute_process(COMMAND "${nvcc}" --version OUTPUT_VARIABLE out ERROR_VARIABLE out RESULT_VARIABLE failed)
  if(failed OR NOT out MATCHES "release ([0-9]+\\.[0-9]+)")
    set(fastcnn_nvcc "" PARENT_SCOPE)
    set(fastcnn_nvcc_text "nvcc at ${nvcc} does not run" PARENT_SCOPE)
    return()
  endif()
  set(fastcnn_nvcc "${nvcc}" PARENT_SCOPE)
  set(fastcnn_nvcc_text "nvcc ${CMAKE_MATCH_1} found at ${nvcc}" PARENT_SCOPE)
endfunction()

set(fastcnn_cuda_state off)
if(fastcnn_cuda_mode STREQUAL off)
  set(fastcnn_cuda_reason "built with FASTCNN_CUDA=off")
elseif(fastcnn_cuda_mode STREQUAL emulate)
  # A wheel for others must not hold it; an editable install is its owner's own.
  if(SKBUILD AND NOT "${SKBUILD_STATE}" STREQUAL "editable")
    message(FATAL_ERROR "FASTCNN_CUDA=emulate: emulated kernels are for tests and cannot go into a wheel; "
                        "use plain CMake, pip install -e or FASTCNN_CUDA=auto")
  endif()
  set(fastcnn_cuda_state emulate)
  set(fastcnn_cuda_reason "kernels run on the CPU, for tests")
else()
  # `auto` does not build them yet: they take minutes to compile and no card has run them.
  fastcnn_find_nvcc()
  set(fastcnn_cuda_reason "${fastcnn_nvcc_text}")
  if(fastcnn_cuda_mode STREQUAL on)
    if(NOT fastcnn_nvcc)
      message(FATAL_ERROR "FASTCNN_CUDA=on: CUDA cannot be built: ${fastcnn_cuda_reason}; "
                          "use FASTCNN_CUDA=auto or off")
    endif()
    set(fastcnn_cuda_state on)
  elseif(fastcnn_nvcc)
    set(fastcnn_cuda_reason "${fastcnn_nvcc_text}, FASTCNN_CUDA=on builds the kernels, which no card has run yet")
  endif()
endif()
if(fastcnn_cuda_state STREQUAL emulate)
  message(STATUS "fastcnn: CUDA is emulated: ${fastcnn_cuda_reason}")
else()
  message(STATUS "fastcnn: CUDA is ${fastcnn_cuda_state}: ${fastcnn_cuda_reason}")
endif()
