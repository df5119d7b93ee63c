// The binary interface of DLPack, version 1: structs, codes and capsule names as the public specification gives
// them (https://dmlc.github.io/dlpack/latest/c_api.html). Layouts may not change; the asserts hold them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastcnn::dlpack {

constexpr uint32_t kMajor = 1, kMinor = 0;  ///< what we export, and the newest major version we read

constexpr const char* kLegacy = "dltensor";
constexpr const char* kLegacyUsed = "used_dltensor";
constexpr const char* kVersioned = "dltensor_versioned";
constexpr const char* kVersionedUsed = "used_dltensor_versioned";

constexpr int32_t kCpu = 1, kCuda = 2, kCudaHost = 3;  // device types; the last is page-locked memory

enum Code : uint8_t { kInt = 0, kUInt = 1, kFloat = 2, kOpaque = 3, kBfloat = 4, kComplex = 5, kBool = 6 };

constexpr uint64_t kReadOnly = 1, kIsCopied = 2;  // flags

struct Device {
  int32_t type;
  int32_t id;
};
struct DataType {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
};
struct View {  // DLTensor
  void* data;
  Device device;
  int32_t ndim;
  DataType dtype;
  int64_t* shape;
  int64_t* strides;  ///< in elements; NULL means compact row-major
  uint64_t byte_offset;
};
struct Legacy {  // DLManagedTensor
  View view;
  void* context;
  void (*deleter)(Legacy*);
};
struct Version {
  uint32_t major;
  uint32_t minor;
};
struct Versioned {  // DLManagedTensorVersioned
  Version version;
  void* context;
  void (*deleter)(Versioned*);
  uint64_t flags;
  View view;
};

static_assert(sizeof(DataType) == 4 && sizeof(Device) == 8 && sizeof(Version) == 8);
static_assert(sizeof(void*) != 8 || (sizeof(View) == 48 && sizeof(Legacy) == 64 && sizeof(Versioned) == 80));
static_assert(sizeof(void*) != 8 || (offsetof(View, ndim) == 16 && offsetof(View, byte_offset) == 40));
static_assert(sizeof(void*) != 8 || (offsetof(Versioned, flags) == 24 && offsetof(Versioned, view) == 32));

}  // namespace fastcnn::dlpack
