// How this module was built: compiler, flags, instruction sets, why CUDA is off.
#include <pybind11/pybind11.h>

#include "fastcnn_build_info.h"

namespace py = pybind11;

namespace fastcnn {
namespace {

py::dict info_dict() {
  namespace info = build_info;
  py::dict d;
  d["version"] = info::kVersion;
  d["compiler"] = info::kCompiler;
  d["flags"] = info::kFlags;
  d["build_type"] = info::kBuildType;
  d["processor"] = info::kProcessor;
  d["isas"] = py::str(info::kIsas).attr("split")();
  d["cuda"] = info::kCuda;
  d["cuda_reason"] = info::kCudaReason;
  d["sanitizer"] = info::kSanitizer;
  return d;
}

}  // namespace

void bind_info(py::module_& m);
void bind_info(py::module_& m) { m.def("build_info", &info_dict, "Facts about this build, as a dict."); }

}  // namespace fastcnn
