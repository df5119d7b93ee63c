# Python and pybind11.
#
# pip builds in a fresh isolated environment each time, so pybind11's headers come from another temporary path on
# every install, which would compile every binding again in the persistent build directory. The headers are
# therefore copied once per version into the build directory and used from there.
set(PYBIND11_FINDPYTHON ON)
find_package(Python 3.10 REQUIRED COMPONENTS Interpreter Development.Module)
if(NOT pybind11_ROOT AND NOT SKBUILD)
  execute_process(COMMAND "${Python_EXECUTABLE}" -m pybind11 --cmakedir OUTPUT_VARIABLE pybind11_cmakedir
                  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(pybind11_cmakedir)
    set(pybind11_DIR "${pybind11_cmakedir}" CACHE PATH "" FORCE)
  endif()
endif()
find_package(pybind11 3.0 CONFIG REQUIRED)

set(copied "${PROJECT_BINARY_DIR}/pybind11-${pybind11_VERSION}")
if(NOT EXISTS "${copied}/pybind11/pybind11.h")
  file(COPY "${pybind11_INCLUDE_DIR}/pybind11" DESTINATION "${copied}")
endif()
set_property(TARGET pybind11::pybind11_headers PROPERTY INTERFACE_INCLUDE_DIRECTORIES "${copied}")
set_property(TARGET pybind11::pybind11_headers PROPERTY INTERFACE_SYSTEM_INCLUDE_DIRECTORIES "${copied}")
