// DLPack capsules out and in, both without copying. What may be exported is decided in fastcnn/exchange.py;
// here are the structs, the lifetimes and the checks of what other libraries hand over.
#include "bindings/dlpack_abi.h"
#include "bindings/replay.h"
#include "memory/kept.h"
#include "ops/streams.h"

namespace fastcnn {

namespace {

// ---- out ----

dlpack::DataType code_of(DType t) {
  const auto bits = uint8_t(8 * size_of(t));
  switch (t) {
    case DType::uint8: return {dlpack::kUInt, bits, 1};
    case DType::int32:
    case DType::int64: return {dlpack::kInt, bits, 1};
    case DType::bfloat16: return {dlpack::kBfloat, bits, 1};
    case DType::boolean: return {dlpack::kBool, bits, 1};
    default: return {dlpack::kFloat, bits, 1};
  }
}

// The struct that is handed over, and what it points to. It owns a share of the storage and no Python object, so
// that its deleter may run on any thread, with or without the GIL.
template <class Managed>
struct Export {
  Managed managed = {};
  SharedView memory;
  Dims shape, strides;

  explicit Export(const Tensor& t) : memory(t.storage), shape(t.shape), strides(t.strides) {
    const bool cuda = t.device().type == DeviceType::cuda;
    const dlpack::Device device = {cuda ? dlpack::kCuda : dlpack::kCpu, cuda ? t.device().index : 0};
    managed.view = {t.numel() ? t.raw() : nullptr, device, t.ndim(), code_of(t.dtype), shape.v, strides.v, 0};
    managed.context = this;
    managed.deleter = [](Managed* self) { delete static_cast<Export*>(self->context); };
  }
};

template <class Managed>
py::object capsule_of(Managed* managed, const char* name) {
  // A capsule that nobody consumed still has the name it was born with.
  PyObject* capsule = PyCapsule_New(managed, name, [](PyObject* self) {
    const char* born = std::is_same_v<Managed, dlpack::Legacy> ? dlpack::kLegacy : dlpack::kVersioned;
    if (!PyCapsule_IsValid(self, born)) return;
    auto* unused = static_cast<Managed*>(PyCapsule_GetPointer(self, born));
    unused->deleter(unused);
  });
  if (!capsule) {
    managed->deleter(managed);
    throw py::error_already_set();
  }
  return py::reinterpret_steal<py::object>(capsule);
}

py::object to_dlpack(const Tensor& t, bool versioned, bool copied, int64_t reader) {
  refuse_reading("dlpack", t);
  FC_CHECK_TYPE(!t.device().is_meta(), "to_dlpack: the tensor is on ", to_string(t.device()),
                ", expected a device with memory");
  {
    const py::gil_scoped_release released;  // the host may have to wait
    ops::hand_to_reader(t, reader);
  }
  if (!versioned) {
    FC_CHECK(!t.storage->readonly, "to_dlpack: a capsule without version cannot say read-only");
    return capsule_of(&(new Export<dlpack::Legacy>(t))->managed, dlpack::kLegacy);
  }
  auto* made = new Export<dlpack::Versioned>(t);
  made->managed.version = {dlpack::kMajor, dlpack::kMinor};
  made->managed.flags = (t.storage->readonly ? dlpack::kReadOnly : 0) | (copied ? dlpack::kIsCopied : 0);
  return capsule_of(&made->managed, dlpack::kVersioned);
}

// ---- in ----

std::string name_of(const dlpack::DataType& t) {
  constexpr const char* kNames[] = {"int", "uint", "float", "opaque", "bfloat", "complex", "bool"};
  std::string name = t.code < 7 ? kNames[t.code] : str("dtype code ", int(t.code), " of ");
  if (t.code != dlpack::kBool || t.bits != 8) name += std::to_string(t.bits);
  return t.lanes == 1 ? name : str(name, "x", t.lanes);
}

DType dtype_of(const dlpack::DataType& t) {
  FC_CHECK_TYPE(t.lanes == 1, "from_dlpack: got vectors as elements, ", name_of(t),
                ", expected one lane, got ", t.lanes, "; view them as one more axis first");
  for (int i = 0; i <= int(DType::boolean); ++i) {
    const dlpack::DataType ours = code_of(DType(i));
    if (ours.code == t.code && ours.bits == t.bits) return DType(i);
  }
  const bool integer = t.code <= dlpack::kUInt;
  const char* wider = !integer      ? "float32 (complex numbers: as real and imaginary part)"
                      : t.bits < 32 ? "int32"
                                    : "int64";
  fail<TypeError>("from_dlpack: got ", name_of(t),
                  ", expected float32, float64, float16, bfloat16, uint8, int32, int64 or bool; convert to ",
                  wider, " where the array was made");
}

std::string name_of(const dlpack::Device& d) {
  const char* name = nullptr;
  switch (d.type) {
    case dlpack::kCuda: name = "cuda"; break;
    case 7: name = "vulkan"; break;
    case 8: name = "metal"; break;
    case 10: name = "rocm"; break;
    case 13: name = "managed CUDA memory"; break;
    case 14: name = "oneapi"; break;
    default: break;
  }
  return name ? str(name, ":", d.id) : str("DLPack device type ", d.type, ":", d.id);
}

// ValueError for memory that no device of ours can use.
Device device_of(const dlpack::Device& d) {
  if (d.type == dlpack::kCpu || d.type == dlpack::kCudaHost) return Device{};
  const int cards = d.type == dlpack::kCuda ? cuda_device_count() : 0;
  FC_CHECK(d.id >= 0 && d.id < cards, "from_dlpack: the array is on ", name_of(d), ", expected cpu",
           cards ? str(" or one of ", cards, " CUDA devices") : std::string(), "; copy it to the host first");
  return Device{DeviceType::cuda, int16_t(d.id)};
}

// Everything about a foreign view that can be checked, before anything is taken over.
Tensor checked(const dlpack::View& view) {
  Tensor t;
  t.dtype = dtype_of(view.dtype);
  FC_CHECK(view.ndim >= 0 && view.ndim <= kMaxDims, "from_dlpack: wrong number of dimensions, got ",
           view.ndim, ", expected 0 to ", kMaxDims, "; reshape it first");
  FC_CHECK(view.ndim == 0 || view.shape, "from_dlpack: got a capsule of ", view.ndim,
           " dimensions without a shape, expected one; the library that made it is broken");
  for (int i = 0; i < view.ndim; ++i) {
    FC_CHECK(view.shape[i] >= 0, "from_dlpack: got extent ", view.shape[i], " on axis ", i,
             ", expected >= 0");
    t.shape.push_back(view.shape[i]);
  }
  const int64_t count = t.numel();
  const auto item = int64_t(size_of(t.dtype));
  FC_CHECK(count <= INT64_MAX / item, "from_dlpack: shape ", to_string(t.shape), " has more than 2^63 bytes");
  t.strides = contiguous_strides(t.shape);
  if (view.strides)
    for (int i = 0; i < view.ndim; ++i) t.strides[i] = view.strides[i];
  const uintptr_t address = reinterpret_cast<uintptr_t>(view.data) + uintptr_t(view.byte_offset);
  FC_CHECK(count == 0 || view.data, "from_dlpack: got NULL for ", count, " elements, expected their address");
  FC_CHECK(count == 0 || address % uintptr_t(item) == 0,
           "from_dlpack: the memory is not aligned, got address ", address, ", expected a multiple of ", item,
           " for ", fastcnn::name_of(t.dtype), "; pass copy=True");
  return t;
}

template <class Managed>
Tensor take(PyObject* capsule, const char* name, const char* used) {
  auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule, name));
  uint64_t flags = 0;
  if constexpr (std::is_same_v<Managed, dlpack::Versioned>) {
    // Of another major version only this much may be read.
    FC_CHECK(managed->version.major <= dlpack::kMajor, "from_dlpack: the capsule has version ",
             managed->version.major, ".", managed->version.minor, ", expected at most ", dlpack::kMajor,
             ".x; export it with max_version=(1, 0)");
    flags = managed->flags;
  }
  const dlpack::View& view = managed->view;
  const Device device = device_of(view.device);
  Tensor t = checked(view);
  auto storage = std::make_shared<BorrowedStorage>();
  storage->data = view.data ? static_cast<char*>(view.data) + view.byte_offset : nullptr;
  storage->device = redirected(device);
  note_stream(*storage);
  storage->readonly = (flags & dlpack::kReadOnly) != 0;
  // Past this line the memory is ours to give back, and the capsule's destructor leaves it alone.
  if (PyCapsule_SetName(capsule, used) != 0) throw py::error_already_set();
  storage->owner = std::shared_ptr<void>(managed, [](void* p) {
    auto* self = static_cast<Managed*>(p);
    if (!self->deleter || !Py_IsInitialized()) return;
    py::gil_scoped_acquire gil;  // a deleter that drops Python objects may count on it
    self->deleter(self);
  });
  storage->bytes = size_t(t.numel()) * size_of(t.dtype);
  allocator_for(storage->device).add_external(int64_t(storage->bytes));
  t.storage = std::move(storage);
  return t;
}

Tensor from_dlpack(const py::object& capsule) {
  PyObject* p = capsule.ptr();
  FC_CHECK_TYPE(PyCapsule_CheckExact(p), "from_dlpack: got ", Py_TYPE(p)->tp_name,
                ", expected a DLPack capsule or an object with __dlpack__; use fastcnn.tensor(data)");
  const char* name = PyCapsule_GetName(p);
  const std::string got = name ? name : "";
  if (got == dlpack::kVersioned)
    return take<dlpack::Versioned>(p, dlpack::kVersioned, dlpack::kVersionedUsed);
  if (got == dlpack::kLegacy) return take<dlpack::Legacy>(p, dlpack::kLegacy, dlpack::kLegacyUsed);
  FC_CHECK(got != dlpack::kVersionedUsed && got != dlpack::kLegacyUsed,
           "from_dlpack: the capsule was consumed before, got ", got,
           ", expected a fresh one; call __dlpack__() again");
  fail("from_dlpack: got a capsule named \"", got, "\", expected \"", dlpack::kVersioned, "\" or \"",
       dlpack::kLegacy, "\"");
}

}  // namespace

void bind_dlpack(py::module_& m) {
  m.def("to_dlpack", &to_dlpack);
  m.def("from_dlpack", &from_dlpack);
  m.attr("DLPACK_VERSION") = py::make_tuple(dlpack::kMajor, dlpack::kMinor);
}

}  // namespace fastcnn
