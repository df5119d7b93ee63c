// Hot accesses to memory: up to 16 bytes a thread in one instruction. In the emulator each is checked (alignment,
// bounds) and counted (sectors, shared-memory wavefronts) under the line that calls it.
#pragma once

#include <string.h>

#include "cuda/device.cuh"

#if defined(FC_EMULATED)
#define FC_SITE , ::emu::Site site = EMULATOR_HERE
#define FC_CHECKED(p, bytes, kind) ::emu::check_access(p, bytes, ::emu::Access::kind, site)
#else
#define FC_SITE
#define FC_CHECKED(p, bytes, kind)
#endif

namespace fastcnn::cuda {

template <class T, int kCount>
struct alignas(sizeof(T) * kCount) Vec {
  T at[kCount];
};
/// How many T make 16 bytes.
template <class T>
constexpr int kLanes = static_cast<int>(16 / sizeof(T));

/// An unsigned type of so many bytes that one instruction moves.
template <int kBytes>
struct Word;
template <>
struct Word<1> {
  using type = unsigned char;
};
template <>
struct Word<2> {
  using type = unsigned short;
};
template <>
struct Word<4> {
  using type = unsigned;
};
template <>
struct Word<8> {
  using type = uint2;
};
template <>
struct Word<16> {
  using type = uint4;
};

/// *p, global or shared. V is a scalar or a Vec of 1, 2, 4, 8 or 16 bytes, p a multiple of its size.
template <class V>
FC_DEVICE V load(const V* p FC_SITE) {
  FC_CHECKED(p, sizeof(V), load);
  V v;
#if defined(FC_EMULATED)
  memcpy(&v, p, sizeof(V));
#else
  const auto word = *reinterpret_cast<const typename Word<sizeof(V)>::type*>(p);
  memcpy(&v, &word, sizeof(V));
#endif
  return v;
}

/// *p = v.
template <class V>
FC_DEVICE void store(V* p, const V& v FC_SITE) {
  FC_CHECKED(p, sizeof(V), store);
#if defined(FC_EMULATED)
  memcpy(p, &v, sizeof(V));
#else
  typename Word<sizeof(V)>::type word;
  memcpy(&word, &v, sizeof(V));
  *reinterpret_cast<typename Word<sizeof(V)>::type*>(p) = word;
#endif
}

}  // namespace fastcnn::cuda
