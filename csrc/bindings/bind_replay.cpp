// Programs of recorded calls (bindings/replay.h) and the class that Python sees of them.
#include <algorithm>

#include "bindings/replay.h"
#include "memory/kept.h"

namespace fastcnn {

namespace {

std::atomic<int> recordings{0};  // of all threads
thread_local Program* program_of_thread = nullptr;

bool same_layout(const Tensor& a, const Tensor& b) {
  return a.shape == b.shape && a.strides == b.strides && a.dtype == b.dtype;
}

/// The same memory under a storage of its own, which tells an input from a constant and from the same tensor in another
/// place.
Tensor input_view(const Tensor& t) {
  auto storage = std::make_shared<BorrowedStorage>();
  storage->owner = std::make_shared<SharedView>(t.storage);
  storage->data = t.storage->data;
  storage->bytes = t.storage->bytes;
  storage->device = t.device();
  storage->readonly = t.storage->readonly;
  allocator_for(t.device()).add_external(int64_t(storage->bytes));
  note_stream(*storage);
  Tensor view = t.detach();
  view.storage = std::move(storage);
  return view;
}

/// The programs of one callable, by the layout of their inputs.
class Replay {
  using Entry = std::pair<std::shared_ptr<Program>, py::object>;

 public:
  /// What the model is to be given.
  py::tuple begin(const Program::Tensors& inputs) {
    FC_CHECK(!program_of_thread, "replay: this thread records already; a Replay cannot be part of another");
    inputs_ = inputs;
    views_.clear();
    for (const Tensor& t : inputs) views_.push_back(input_view(t));
    next_ = std::make_shared<Program>(views_);
    program_of_thread = next_.get();
    ++recordings;
    return py::tuple(py::cast(views_));
  }
  /// Ends the recording; without outputs it is dropped. `form` comes back with each run.
  void end(const std::optional<Program::Tensors>& outputs, py::object form) {
    program_of_thread = nullptr;
    --recordings;
    const std::shared_ptr<Program> program = std::move(next_);
    for (size_t i = 0; i < views_.size(); ++i)
      if (views_[i].storage->version > 0) changed(inputs_[i]);  // in place
    inputs_.clear(), views_.clear();
    if (!outputs) return;
    program->finish(*outputs);
    const std::lock_guard<std::mutex> lock(mutex_);
    programs_.emplace_back(program, std::move(form));
  }
  /// (form, outputs), or nullopt if there is no recording for these inputs.
  std::optional<std::pair<py::object, Program::Tensors>> run(const Program::Tensors& inputs) {
    std::optional<Entry> found;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      for (const Entry& e : programs_)
        if (e.first->takes(inputs)) {
          found = e;
          break;
        }
    }
    if (!found) return std::nullopt;
    std::pair<py::object, Program::Tensors> out{found->second, {}};
    const py::gil_scoped_release release;
    out.second = found->first->run(inputs);
    return out;
  }
  std::vector<size_t> steps() const {
    std::vector<size_t> out;
    for (const auto& [program, form] : programs_) out.push_back(program->step_count());
    return out;
  }

 private:
  std::shared_ptr<Program> next_;
  Program::Tensors inputs_, views_;  // of the recording that goes on
  std::vector<Entry> programs_;
  std::mutex mutex_;  // of programs_: others may record meanwhile
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
           " is given a tensor that no repeatable operation made, so that every replay would see the ",
           "recording's values: random numbers (call model.eval()), or data from NumPy, which should be an ",
           "input or a buffer");
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
