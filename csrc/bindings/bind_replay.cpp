// Programs of recorded calls (bindings/replay.h) and the class that Python sees of them.
#include <algorithm>

#include "bindings/replay.h"

namespace fastcnn {

namespace {

std::atomic<int> recordings{0};  // of all threads
thread_local Program* program_of_thread = nullptr;

bool same_layout(const Tensor& a, const Tensor& b) {
  return a.shape == b.shape && a.strides == b.strides && a.dtype == b.dtype;
}

/// The programs of one callable, by the layout of their inputs.
class Replay {
 public:
  void begin(const Program::Tensors& inputs) {
    FC_CHECK(!program_of_thread, "replay: this thread records already; a Replay cannot be part of another");
    next_ = std::make_shared<Program>(inputs);
    program_of_thread = next_.get();
    ++recordings;
  }
  /// Ends the recording; without outputs it is dropped. `form` comes back with each run.
  void end(const std::optional<Program::Tensors>& outputs, py::object form) {
    program_of_thread = nullptr;
    --recordings;
    const std::shared_ptr<Program> program = std::move(next_);
    if (!outputs) return;
    program->finish(*outputs);
    programs_.emplace_back(program, std::move(form));
  }
  /// (form, outputs), or nullopt if there is no recording for these inputs.
  std::optional<std::pair<py::object, Program::Tensors>> run(const Program::Tensors& inputs) {
    for (const auto& [program, form] : programs_)
      if (program->takes(inputs)) {
        const auto kept = program;  // others may record meanwhile
        std::pair<py::object, Program::Tensors> out{form, {}};
        const py::gil_scoped_release release;
        out.second = kept->run(inputs);
        return out;
      }
    return std::nullopt;
  }
  std::vector<size_t> steps() const {
    std::vector<size_t> out;
    for (const auto& [program, form] : programs_) out.push_back(program->step_count());
    return out;
  }

 private:
  std::shared_ptr<Program> next_;
  std::vector<std::pair<std::shared_ptr<Program>, py::object>> programs_;
};

}  // namespace

Program* recorded_program() {
  return recordings.load(std::memory_order_relaxed) ? program_of_thread : nullptr;
}

void refuse_reading(const char* function, const Tensor& t) {
  if (const Program* program = recorded_program())
    FC_CHECK(program->number_of(function, t) < 0, "replay: ", function,
             " reads values that depend on the inputs; every replay would go by those of the recording");
}

Program::Program(const Tensors& inputs) : era_(++recording_era), inputs_(inputs) {
  for (const Tensor& t : inputs) add(t);
}

int Program::number_of(const std::string& reader, const Tensor& t) const {
  for (size_t i = recorded_.size(); i-- > 0;) {
    const Tensor& known = recorded_[i];
    if (known.storage == t.storage && known.offset == t.offset && same_layout(known, t)) return int(i);
  }
  FC_CHECK(t.storage->era < era_, "replay: ", reader,
           " is given a tensor that no repeatable operation made, so that every replay would see the values "
           "of the "
           "recording: random numbers (call model.eval()), or data from NumPy, which should be an input or a "
           "buffer");
  for (const Tensor& known : recorded_)  // constants may be viewed, what is computed only by steps
    FC_CHECK(known.storage != t.storage, "replay: ", reader,
             " is given a view that no repeatable operation made");
  return -1;
}

int Program::add(const Tensor& t) {
  recorded_.push_back(t);
  return int(count_++);
}

void Program::add_step(std::function<void(Tensors&)> run, std::vector<int> touched) {
  steps_.push_back({std::move(run), std::move(touched), {}});
}

void Program::finish(const Tensors& outputs) {
  std::vector<bool> wanted(count_);
  for (const Tensor& t : outputs) {
    const int number = number_of("the result", t);
    outputs_.push_back({number, number < 0 ? t : Tensor()});
    if (number >= 0) wanted[size_t(number)] = true;
  }
  for (size_t i = steps_.size(); i-- > 0;)
    for (int number : steps_[i].touched) {
      if (!wanted[size_t(number)]) steps_[i].done.push_back(number);
      wanted[size_t(number)] = true;
    }
  recorded_.clear();
  for (Tensor& t : inputs_) {
    auto layout = std::make_shared<Storage>();  // of the memory only where it is
    layout->device = t.device();
    t.storage = std::move(layout);
    t.node.reset();
    t.grad.reset();
  }
}

bool Program::takes(const Tensors& inputs) const {
  return std::equal(
      inputs.begin(), inputs.end(), inputs_.begin(), inputs_.end(),
      [](const Tensor& a, const Tensor& b) { return same_layout(a, b) && a.device() == b.device(); });
}

Program::Tensors Program::run(const Tensors& inputs) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Tensors known(count_);
  std::copy(inputs.begin(), inputs.end(), known.begin());
  for (const Step& step : steps_) {
    step.run(known);
    for (int number : step.done) known[size_t(number)] = Tensor();
  }
  Tensors out;
  for (const Output& o : outputs_)
    out.push_back(o.number < 0 ? o.constant : known[size_t(o.number)].detach());
  return out;
}

void bind_replay(py::module_& m) {
  py::class_<Replay>(m, "Replay")
      .def(py::init())
      .def("begin", &Replay::begin)
      .def("end", &Replay::end, py::arg("outputs"), py::arg("form"))
      .def("run", &Replay::run)
      .def("steps", &Replay::steps);
}

}  // namespace fastcnn
