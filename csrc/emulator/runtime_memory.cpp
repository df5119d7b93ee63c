// cudaMalloc, cudaMemcpy and their like.
#include <cstdint>
#include <cstring>
#include <memory>

#include "emulator/core.h"

namespace emu {
namespace {

cudaError_t give(void** p, size_t bytes, bool host, Site site) {
  if (const cudaError_t s = sticky(); s != cudaSuccess) return s;
  *p = nullptr;
  if (bytes == 0) return cudaSuccess;
  *p = allocate(bytes, host, site);
  if (*p) return cudaSuccess;
  return refuse(cudaErrorMemoryAllocation,
                text("out of memory: got a request for ", bytes, " bytes (", site, ")"));
}

cudaError_t take(void* p, const char* what) {
  drain_all();
  if (!p || release(p)) return sticky();
  return refuse(cudaErrorInvalidValue, text(what, ": not an address that was handed out"));
}

/// What is wrong with [p, p + bytes) as the device's or the host's side of a copy; "" if nothing. `pinned` is set
/// for memory that an asynchronous copy may use later on.
std::string wrong(const void* p, size_t bytes, bool device, bool any, bool* pinned) {
  const auto all = allocations();
  const Allocation* a = find(*all, p);
  *pinned = a != nullptr;
  if (!a && device) return "a host address where the device's is expected";
  if (a && !a->host && !device && !any) return "a device address where the host's is expected";
  if (a && static_cast<const char*>(p) + bytes > a->base + a->bytes) {
    return text(bytes, " bytes from byte ", static_cast<const char*>(p) - a->base, " of an allocation of ",
                a->bytes, " bytes (", a->site, ")");
  }
  return "";
}

cudaError_t copy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream,
                 bool wait) {
  if (bytes == 0) return sticky();
  const bool any = kind == cudaMemcpyDefault;
  bool to_pinned = false, from_pinned = false;
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  std::string complaint = wrong(to, bytes, to_device, any, &to_pinned);
  if (complaint.empty()) complaint = wrong(from, bytes, from_device, any, &from_pinned);
  if (!complaint.empty()) return refuse(cudaErrorInvalidValue, "cudaMemcpy: " + complaint);
  std::shared_ptr<char[]> staged;
  if (!from_pinned) {  // pageable memory is read before the call returns
    staged.reset(new char[bytes]);
    std::memcpy(staged.get(), from, bytes);
  }
  const cudaError_t e = submit(stream, [=] {
    DeviceWork open;
    std::memmove(to, staged ? staged.get() : from, bytes);
  });
  return wait || !to_pinned ? (e == cudaSuccess ? drain(stream) : e) : e;
}

}  // namespace
}  // namespace emu

cudaError_t cudaMalloc(void** p, size_t bytes, emu::Site site) { return emu::give(p, bytes, false, site); }
cudaError_t cudaMallocHost(void** p, size_t bytes, emu::Site site) { return emu::give(p, bytes, true, site); }
cudaError_t cudaFree(void* p) { return emu::take(p, "cudaFree"); }
cudaError_t cudaFreeHost(void* p) { return emu::take(p, "cudaFreeHost"); }
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  return emu::copy(to, from, bytes, kind, nullptr, true);
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return emu::copy(to, from, bytes, kind, stream, false);
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* p) {
  const auto all = emu::allocations();
  const emu::Allocation* a = emu::find(*all, p);
  *attributes = {};
  if (a) attributes->type = a->host ? cudaMemoryTypeHost : cudaMemoryTypeDevice;
  return cudaSuccess;
}
