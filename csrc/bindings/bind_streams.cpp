// Streams and events; fastcnn/cuda.py is the public side.
#include "bindings/casters.h"
#include "ops/streams.h"

namespace fastcnn {

void bind_streams(py::module_& m) {
  using ops::Event;
  using ops::Stream;
  py::class_<Stream>(m, "Stream")
      .def(py::init<Device, std::optional<uintptr_t>>())
      .def_property_readonly("device", &Stream::device)
      .def_property_readonly("handle", &Stream::handle)
      .def("is_done", &Stream::is_done)
      .def("synchronize", &Stream::synchronize, release_gil())
      .def("make_current", &Stream::make_current);
  m.def("current_stream", &Stream::current);
  py::class_<Event>(m, "Event")
      .def(py::init<bool>())
      .def("record", &Event::record, release_gil())
      .def("make_wait", &Event::make_wait, release_gil())
      .def("synchronize", &Event::synchronize, release_gil())
      .def("is_done", &Event::is_done, release_gil())
      .def("milliseconds_until", &Event::milliseconds_until);
  m.def("wait_for_handle", &ops::wait_for_handle, release_gil());
  m.def("hand_to_reader", &ops::hand_to_reader, release_gil());
  m.def("card_of_address", &ops::card_of_address);
}

}  // namespace fastcnn
