// The fused optimizer step; classes and state live in fastcnn/optim.
#include "bindings/casters.h"
#include "ops/optim.h"

namespace fastcnn {

void bind_optim(py::module_& m) {
  using S = ops::OptimSettings;
  py::class_<S>(m, "OptimSettings")
      .def(py::init<>())
      .def_readwrite("kind", &S::kind)
      .def_readwrite("lr", &S::lr)
      .def_readwrite("weight_decay", &S::weight_decay)
      .def_readwrite("momentum", &S::momentum)
      .def_readwrite("dampening", &S::dampening)
      .def_readwrite("beta1", &S::beta1)
      .def_readwrite("beta2", &S::beta2)
      .def_readwrite("eps", &S::eps)
      .def_readwrite("alpha", &S::alpha)
      .def_readwrite("rho", &S::rho)
      .def_readwrite("lr_decay", &S::lr_decay)
      .def_readwrite("momentum_decay", &S::momentum_decay)
      .def_readwrite("nesterov", &S::nesterov)
      .def_readwrite("maximize", &S::maximize)
      .def_readwrite("amsgrad", &S::amsgrad)
      .def_readwrite("centered", &S::centered)
      .def_readwrite("decoupled", &S::decoupled);
  m.def("optim_states", &ops::optim_states);
  m.def("optim_step", [](const S& settings, const std::vector<Tensor*>& params,
                         const std::vector<std::vector<Tensor*>>& states, py::array_t<double> scalars) {
    FC_CHECK(scalars.ndim() == 2 && scalars.shape(0) == py::ssize_t(params.size()) && scalars.shape(1) == 2,
             "optim: scalars do not fit the parameters");
    double* data = scalars.mutable_data();
    py::gil_scoped_release release;
    ops::optim_step(settings, params, states, data);
  });
}

}  // namespace fastcnn
