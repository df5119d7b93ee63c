// Recording of calls, so that they can be repeated without Python (fastcnn/replay.py).
//
// A family of functions is bound through `Recorded(m)` instead of `m`. While this thread records, a call of one of them
// also becomes a step: the function, its arguments by value, and for each tensor among arguments and results the number
// under which the program knows it. A tensor that was there before the recording began is a constant.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "bindings/casters.h"

namespace fastcnn {

/// Steps on numbered tensors, of which the first are the inputs.
class Program {
 public:
  using Tensors = std::vector<Tensor>;
  explicit Program(const Tensors& inputs);

  // ---- recording ----
  /// The newest number of a tensor, -1 for a constant. ValueError if it was made since the recording began, but by no
  /// step: every replay would see the same values.
  int number_of(const std::string& reader, const Tensor& t) const;
  int add(const Tensor& t);
  void add_step(std::function<void(Tensors&)> run, std::vector<int> touched);
  void finish(const Tensors& outputs);
  /// By number; no address is used twice while the recording lasts.
  const Tensors& recorded() const { return recorded_; }

  // ---- replay ----
  /// Whether the inputs have the shapes, memory layouts, types and devices of those of the recording.
  bool takes(const Tensors& inputs) const;
  /// Calls of several threads take turns.
  Tensors run(const Tensors& inputs);
  size_t step_count() const { return steps_.size(); }

 private:
  struct Step {
    std::function<void(Tensors&)> run;
    std::vector<int> touched, done;  // numbers that it reads or makes; those that no later step wants
  };
  struct Output {
    int number;
    Tensor constant;  // if the number is -1
  };
  const uint32_t era_;  // storages of this era and later ones are younger than the recording
  Tensors inputs_;      // their layouts
  Tensors recorded_;
  size_t count_ = 0;  // of numbers
  std::vector<Step> steps_;
  std::vector<Output> outputs_;
  std::mutex mutex_;
};

/// What this thread records; nullptr: nothing.
Program* recorded_program();
/// ValueError if values that may depend on the inputs of a recording are handed to Python.
void refuse_reading(const char* function, const Tensor& t);

/// in(value, f) calls f for each tensor in an argument or a result.
struct EachTensor {
  template <class F>
  static void in(Tensor& t, F&& f) {
    if (t.storage) f(t);
  }
  template <class T, class F>
  static void in(std::optional<T>& v, F&& f) {
    if (v) in(*v, f);
  }
  template <class T, class F>
  static void in(std::vector<T>& v, F&& f) {
    for (T& t : v) in(t, f);
  }
  template <class... T, class F>
  static void in(std::tuple<T...>& v, F&& f) {
    std::apply([&](T&... t) { (in(t, f), ...); }, v);
  }
  template <class A, class B, class F>
  static void in(std::pair<A, B>& v, F&& f) {
    in(v.first, f), in(v.second, f);
  }
  template <class T, class F>
  static void in(T&, F&&) {}
};

/// A call of `f` that has its arguments, but for the tensors that the program computes.
template <class F, class R, class... A>
class RecordedCall {
  static_assert(!(std::is_base_of_v<py::handle, std::decay_t<A>> || ...), "a Python object may hide tensors");
  template <class T>
  static constexpr bool kText = std::is_same_v<std::decay_t<T>, const char*>;
  template <class T>  // Python's text does not outlive its call
  using Kept = std::conditional_t<kText<T>, std::string, std::decay_t<T>>;
  template <class T>
  static decltype(auto) pass(Kept<T>& kept) {
    if constexpr (kText<T>)
      return kept.c_str();
    else
      return (kept);
  }

 public:
  RecordedCall(const char* name, const F& f, const Program& program, const A&... a)
      : f_(f), arguments_(a...) {
    EachTensor::in(arguments_, [&](Tensor& t) { places_.push_back({&t, program.number_of(name, t)}); });
  }
  RecordedCall(const RecordedCall&) = delete;
  RecordedCall& operator=(const RecordedCall&) = delete;

  R operator()(const Program::Tensors& known) {
    const Filled filled(places_, known);
    return std::apply([this](Kept<A>&... k) -> R { return f_(pass<A>(k)...); }, arguments_);
  }
  bool has_tensors() const { return !places_.empty(); }
  std::vector<int> numbers() const {
    std::vector<int> out;
    for (const Place& p : places_)
      if (p.number >= 0) out.push_back(p.number);
    return out;
  }

 private:
  struct Place {
    Tensor* tensor;  // among arguments_
    int number;      // -1: a constant
  };
  struct Filled {
    const std::vector<Place>& places;
    Filled(const std::vector<Place>& p, const Program::Tensors& known) : places(p) {
      for (const Place& place : places) {
        if (place.number >= 0) *place.tensor = known[size_t(place.number)];
        note_use(*place.tensor);
      }
    }
    ~Filled() {
      for (const Place& place : places)
        if (place.number >= 0) *place.tensor = Tensor();
    }
  };
  F f_;
  std::tuple<Kept<A>...> arguments_;
  std::vector<Place> places_;
};

/// `f`, which also becomes a step while this thread records.
template <class R, class... A, class F>
auto recorded(const char* name, F f) {
  return [name, f](A... a) -> R {
    Program* program = recorded_program();
    if (!program) return f(std::forward<A>(a)...);
    const auto call = std::make_shared<RecordedCall<F, R, A...>>(name, f, *program, a...);
    std::vector<int> touched = call->numbers(), made;
    if constexpr (std::is_void_v<R>) {
      (*call)(program->recorded());
      if (call->has_tensors())
        program->add_step([call](Program::Tensors& known) { (*call)(known); }, std::move(touched));
    } else {
      R result = (*call)(program->recorded());
      EachTensor::in(result, [&](Tensor& t) { made.push_back(program->add(t)); });
      touched.insert(touched.end(), made.begin(), made.end());
      if (!made.empty())
        program->add_step(
            [call, made](Program::Tensors& known) {
              R repeated = (*call)(known);
              size_t i = 0;
              EachTensor::in(repeated, [&](Tensor& t) { known[size_t(made[i++])] = std::move(t); });
            },
            std::move(touched));
      return result;
    }
  };
}

/// A module whose functions are recorded.
class Recorded {
 public:
  explicit Recorded(py::module_& module) : module_(module) {}
  template <class F, class... Extra>
  void def(const char* name, F f, const Extra&... extra) {
    module_.def(name, wrap(name, f), extra...);
  }

 private:
  template <class R, class... A>
  static auto wrap(const char* name, R (*f)(A...)) {
    return recorded<R, A...>(name, f);
  }
  template <class R, class C, class... A>
  static auto wrap(const char* name, R (C::*f)(A...) const) {
    return recorded<R, const C&, A...>(name, [f](const C& c, A... a) -> R { return (c.*f)(a...); });
  }
  template <class F>
  static auto wrap(const char* name, F f) {
    return wrap_object(name, f, &F::operator());
  }
  template <class F, class R, class... A>
  static auto wrap_object(const char* name, F f, R (F::*)(A...) const) {
    return recorded<R, A...>(name, f);
  }
  py::module_& module_;
};

}  // namespace fastcnn
