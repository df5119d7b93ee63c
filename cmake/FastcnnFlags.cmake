# Compiler flags, gathered in the interface library `fastcnn_flags`.
find_package(Threads REQUIRED)

# Contraction is off everywhere: a*b+c must have the same bits in a vector body, its tail and every ISA that is
# not told otherwise. Nothing of -ffast-math that changes a value is ever used: NaN and inf are values. The two
# no- flags change none: nobody reads errno or the floating-point exception flags, and without them loops with a
# square root or a selection do not vectorise.
set(fastcnn_common_flags -Wall -Wextra -ffp-contract=off -fno-math-errno -fno-trapping-math)

# ---- what every file may use: flags after a user's own -march, so that they win ----
string(TOLOWER "${CMAKE_SYSTEM_PROCESSOR}" processor)
if(processor MATCHES "^(x86_64|amd64)$")
  include(CheckCXXCompilerFlag)
  check_cxx_compiler_flag(-march=x86-64-v2 FASTCNN_HAS_X86_64_V2)
  if(FASTCNN_HAS_X86_64_V2)
    set(fastcnn_baseline_flags -march=x86-64-v2)
  else()  # gcc < 11, clang < 12
    set(fastcnn_baseline_flags -march=x86-64 -msse4.2 -mpopcnt -mcx16 -msahf)
  endif()
  set(fastcnn_isas baseline avx2 avx512)
  set(fastcnn_isa_flags_baseline "")
  set(fastcnn_isa_flags_avx2 -mavx2 -mfma -mf16c)
  set(fastcnn_isa_flags_avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512cd -mfma -mf16c)
elseif(processor MATCHES "^(aarch64|arm64)$")
  set(fastcnn_baseline_flags "")
  set(fastcnn_isas neon)
  set(fastcnn_isa_flags_neon "")
else()
  message(FATAL_ERROR "fastcnn: no kernels for this processor, got ${CMAKE_SYSTEM_PROCESSOR}, "
                      "expected x86_64 or aarch64")
endif()

if(FASTCNN_ISAS)
  foreach(isa IN LISTS FASTCNN_ISAS)
    if(NOT isa IN_LIST fastcnn_isas)
      message(FATAL_ERROR "FASTCNN_ISAS: unknown instruction set, got ${isa}, expected some of ${fastcnn_isas}")
    endif()
  endforeach()
  list(GET fastcnn_isas 0 weakest)  # runs everywhere
  set(fastcnn_isas ${weakest} ${FASTCNN_ISAS})
  list(REMOVE_DUPLICATES fastcnn_isas)
endif()

# ---- optimisation: -O3 pays in the kernels only; elsewhere it costs size and build time ----
set(optimised "$<CONFIG:Release,RelWithDebInfo,MinSizeRel>")
set(sanitizer_flags "")
if(FASTCNN_SANITIZE)
  if(NOT FASTCNN_SANITIZE MATCHES "^(address|undefined|address,undefined|thread)$")
    message(FATAL_ERROR "FASTCNN_SANITIZE: unknown sanitizers, got ${FASTCNN_SANITIZE}, "
                        "expected address,undefined (or one of them) or thread")
  endif()
  set(sanitizer_flags -fsanitize=${FASTCNN_SANITIZE} -fno-sanitize-recover=all)
  set(fastcnn_room_optimisation -O1)
  set(fastcnn_kernel_optimisation -O1)
  list(APPEND fastcnn_common_flags ${sanitizer_flags} -fno-omit-frame-pointer -g1)  # lines for reports
else()
  set(fastcnn_room_optimisation -O2)
  set(fastcnn_kernel_optimisation -O3)
endif()
foreach(isa IN LISTS fastcnn_isas)
  list(PREPEND fastcnn_isa_flags_${isa} "$<${optimised}:${fastcnn_kernel_optimisation}>")
endforeach()
if(FASTCNN_WERROR)
  list(APPEND fastcnn_common_flags -Werror)
endif()

add_library(fastcnn_flags INTERFACE)
target_compile_options(fastcnn_flags INTERFACE
  ${fastcnn_common_flags} ${fastcnn_baseline_flags} "$<${optimised}:${fastcnn_room_optimisation}>")
target_link_options(fastcnn_flags INTERFACE ${sanitizer_flags})
target_include_directories(fastcnn_flags INTERFACE ${PROJECT_SOURCE_DIR}/csrc)
target_link_libraries(fastcnn_flags INTERFACE Threads::Threads)
