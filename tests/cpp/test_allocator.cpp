// The allocator: accounting against a model, coalescing, limit, equality of meta and cpu traces, replay, guard,
// fork, threads; devices and twins. With --bench prints the time of one allocate and free.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <ctime>
#include <map>
#include <numeric>
#include <string>
#include <thread>

#include "check.h"
#include "common/check.h"
#include "memory/sources.h"
#include "memory/trace.h"
#include "memory/workspace.h"

using namespace fastcnn;

namespace {

constexpr size_t kUnit = Allocator::kAlignBytes, kSegment = Allocator::kSegmentBytes;
constexpr Device kCpu{DeviceType::cpu, 0}, kMeta{DeviceType::meta, 0};

size_t round_up(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

struct Random {  // xorshift64*: the same sequence on every machine
  uint64_t state = 88172645463325252u;
  uint64_t operator()(uint64_t below) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (state * 2685821657736338717u >> 11) % below;
  }
  size_t size() {  // most are small, some empty, some several segments
    switch ((*this)(8)) {
      case 0: return 0;
      case 1: return (*this)(8 << 20);
      case 2: return (*this)(2 << 20);
      default: return 1 + (*this)(64 << 10);
    }
  }
};

std::unique_ptr<Source> source_of(Device d) {
  return d.is_meta() ? make_meta_source(true) : make_cpu_source();
}

/// Random allocations, holds and frees; everything freed at the end. Checks the counters as it goes.
std::vector<MemoryEvent> random_run(Allocator& a, uint64_t seed, int steps, bool touch) {
  Random random{seed * 2654435761u + 1};
  struct Live {
    Block block;
    unsigned char tag;
    std::vector<Category> held;
  };
  std::vector<Live> live;
  size_t model_bytes = 0, model_peak = 0;
  bool aligned = true, untouched = true, counted = true, apart = true;
  const auto release = [&](size_t i) {
    Live& l = live[i];
    if (touch)
      for (size_t k = 0; k < l.block.requested; k += 509)
        untouched = untouched && static_cast<unsigned char*>(l.block.data)[k] == l.tag;
    for (Category c : l.held) a.drop(l.block, c);
    a.free(l.block);
    model_bytes -= round_up(l.block.requested, kUnit);
    live.erase(live.begin() + static_cast<ptrdiff_t>(i));
  };
  a.start_trace();
  for (int step = 0; step < steps; ++step) {
    const uint64_t what = random(10);
    if (what < 5) {
      const size_t bytes = random.size();
      Live l{a.allocate(bytes, static_cast<Category>(random(kCategories))),
             static_cast<unsigned char>(step),
             {}};
      aligned = aligned && reinterpret_cast<uintptr_t>(l.block.data) % kUnit == 0;
      aligned = aligned && (l.block.data != nullptr) == (bytes != 0);
      if (touch && bytes) std::memset(l.block.data, l.tag, bytes);
      model_bytes += round_up(bytes, kUnit);
      model_peak = std::max(model_peak, model_bytes);
      live.push_back(l);
    } else if (what < 9 && !live.empty()) {
      release(random(live.size()));
    } else if (!live.empty()) {
      Live& l = live[random(live.size())];
      const auto c = static_cast<Category>(random(kCategories));
      a.hold(l.block, c);
      l.held.push_back(c);
    }
    if (step % 97 == 0) a.empty_cache();
    const MemoryStats s = a.stats();
    counted = counted && s.allocated_bytes == model_bytes && s.peak_bytes == model_peak;
    counted = counted && s.reserved_bytes >= s.allocated_bytes && s.reserved_bytes % kSegment == 0;
  }
  std::vector<std::pair<uintptr_t, uintptr_t>> spans;
  for (const Live& l : live) {
    const auto start = reinterpret_cast<uintptr_t>(l.block.data);
    if (start) spans.emplace_back(start, start + l.block.rounded);
  }
  std::sort(spans.begin(), spans.end());
  for (size_t i = 1; i < spans.size(); ++i) apart = apart && spans[i - 1].second <= spans[i].first;
  while (!live.empty()) release(random(live.size()));
  CHECK(aligned);
  CHECK(untouched);
  CHECK(counted);
  CHECK(apart);
  CHECK(a.stats().allocated_bytes == 0);
  return a.stop_trace();
}

void random_against_model() {
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    Allocator cpu(kCpu, source_of(kCpu)), meta(kMeta, source_of(kMeta));
    const std::vector<MemoryEvent> on_cpu = random_run(cpu, seed, 1500, true);
    const std::vector<MemoryEvent> on_meta = random_run(meta, seed, 1500, false);
    CHECK(on_cpu.size() > 1000);
    CHECK(on_cpu == on_meta);
    CHECK(cpu.stats().peak_reserved_bytes == meta.stats().peak_reserved_bytes);
    CHECK(cpu.stats().reserved_bytes == meta.stats().reserved_bytes);
    // Every neighbour has merged: each segment is one free chunk, so all go.
    cpu.empty_cache();
    CHECK(cpu.stats().reserved_bytes == 0);

    Replay replay;
    bool sums = true;
    for (const MemoryEvent& e : on_cpu) {
      replay.apply(e);
      const auto& by = replay.by_category();
      sums = sums && replay.allocated() == e.allocated_after &&
             std::accumulate(by.begin(), by.end(), size_t{0}) == e.allocated_after;
    }
    CHECK(sums);
    CHECK(replay.live_blocks() == 0);
    std::vector<MemoryEvent> other = on_cpu;
    other[other.size() / 2].rounded += kUnit;
    CHECK(other != on_meta);  // the comparison can fail
  }
}

void placement() {
  Allocator a(kCpu, source_of(kCpu));
  const Block b0 = a.allocate(1), b1 = a.allocate(513), b2 = a.allocate(Allocator::kSmallBytes),
              b3 = a.allocate(Allocator::kSmallBytes + 1);
  CHECK(b0.rounded == 512 && b1.rounded == 1024 && b1.offset == 512);
  CHECK(b0.segment == b1.segment && b0.segment == b2.segment);  // small ones share
  CHECK(b3.segment != b0.segment && b3.offset == 0);            // a large one does not
  CHECK(reinterpret_cast<uintptr_t>(b3.data) % kSegment == 0);
  CHECK(a.stats().reserved_bytes == 2 * kSegment);
  const Block b4 = a.allocate(2048);
  CHECK(b4.offset == b2.offset + b2.rounded);
  a.free(b1);
  const Block b5 = a.allocate(700);  // best fit: the hole of b1, not the tail of the segment
  CHECK(b5.segment == b1.segment && b5.offset == b1.offset);
  a.free(b5);
  const Block b6 = a.allocate(1500);  // too big for the hole
  CHECK(b6.offset == b4.offset + b4.rounded);
  for (const Block& b : {b0, b2, b3, b4, b6}) a.free(b);
  CHECK(a.stats().allocated_bytes == 0 && a.stats().reserved_bytes == 2 * kSegment);
  const Block again =
      a.allocate(3 << 20);  // larger than any free chunk: its segment grows by what is missing
  CHECK(a.stats().reserved_bytes == 3 * kSegment && again.data == b3.data);
  a.free(again);
  a.empty_cache();
  CHECK(a.stats().reserved_bytes == 0);
  CHECK(a.allocate(0).data == nullptr && a.stats().allocated_bytes == 0);
}

void growth() {
  for (const Device device : {kCpu, kMeta}) {
    Allocator a(device, source_of(device));
    const Block first = a.allocate(3 << 20), second = a.allocate(5 << 20);
    CHECK(first.segment == second.segment && second.offset == 3 << 20);
    CHECK(a.stats().reserved_bytes == 8 << 20);
    if (device == kCpu) std::memset(second.data, 1, 5 << 20);
    a.free(first);
    a.free(second);
    const Block both = a.allocate(8 << 20);  // what was asked for in two parts is one
    CHECK(both.data == first.data && a.stats().reserved_bytes == 8 << 20);
    a.free(both);
    const Block low = a.allocate(3 << 20), high = a.allocate(5 << 20);
    a.free(high);
    a.empty_cache();  // the end of the segment goes, in whole units
    CHECK(a.stats().reserved_bytes == 4 << 20);
    a.empty_cache();
    CHECK(a.stats().reserved_bytes == 4 << 20);
    const Block back = a.allocate(5 << 20);
    CHECK(back.data == high.data && a.stats().reserved_bytes == 8 << 20);
    if (device == kCpu) {
      const char* bytes = static_cast<const char*>(back.data);
      CHECK(std::count(bytes + kSegment, bytes + (5 << 20), 0) == (5 << 20) - kSegment);  // went back indeed
      std::memset(back.data, 1, 5 << 20);
    }
    a.free(low);
    a.free(back);
    a.empty_cache();
    CHECK(a.stats().reserved_bytes == 0);
  }
}

std::string message_of(Allocator& a, size_t bytes) {
  try {
    a.free(a.allocate(bytes));
  } catch (const OutOfMemoryError& e) {
    return e.what();
  }
  return "";
}
bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

void limit_and_failure() {
  Allocator a(kCpu, source_of(kCpu));
  a.set_limit(8 * kUnit);
  Block parameter, scratch;
  {
    const OpScope scope("conv2d.forward");
    parameter = a.allocate(4 * kUnit, Category::parameter);
    scratch = a.allocate(2 * kUnit - 1, Category::workspace);
  }
  const MemoryStats before = a.stats();
  a.start_trace();
  const std::string text = message_of(a, 3 * kUnit);
  for (const char* part :
       {"out of memory on cpu", "1536 B", "3072 B", "4096 B", "parameter of conv2d.forward",
        "workspace of conv2d.forward", "smaller batch", "workspace_limit=0", "empty_cache"})
    CHECK(has(text, part));
  const MemoryStats after = a.stats();
  CHECK(after.allocated_bytes == before.allocated_bytes && after.peak_bytes == before.peak_bytes);
  CHECK(after.allocations == before.allocations && a.stop_trace().size() == 2);  // the two that live
  CHECK(message_of(a, 2 * kUnit).empty());  // up to the limit, not a byte more
  CHECK(!message_of(a, 2 * kUnit + 1).empty());
  a.set_limit(SIZE_MAX);
  CHECK(message_of(a, 3 * kUnit).empty());
  for (size_t bytes : {SIZE_MAX, SIZE_MAX / 2, size_t{1} << 50})
    CHECK(has(message_of(a, bytes), "no limit is set"));
  a.free(parameter);
  a.free(scratch);

  // Free segments go back before the reserve passes the limit.
  a.set_limit(6 << 20);
  a.free(a.allocate(4 << 20));
  a.free(a.allocate(6 << 20));
  CHECK(a.stats().reserved_bytes == 6 << 20);
}

/// A source with room for so many bytes.
struct SmallSource final : Source {
  size_t room;
  std::unique_ptr<Source> inner = make_cpu_source();
  explicit SmallSource(size_t bytes) : room(bytes) {}
  void* reserve(size_t bytes) override {
    if (bytes > room) return nullptr;
    room -= bytes;
    return inner->reserve(bytes);
  }
  void release(void* data, size_t bytes) override {
    room += bytes;
    inner->release(data, bytes);
  }
};

void exhausted_source() {
  Allocator a(kCpu, std::make_unique<SmallSource>(4 * kSegment));
  a.free(a.allocate(100));              // a free segment of small blocks
  a.free(a.allocate(3 << 20));          // and one of large ones
  const Block b = a.allocate(8 << 20);  // fits once both are given back
  CHECK(b.data && a.stats().reserved_bytes == 8 << 20);
  CHECK(has(message_of(a, 1), "no limit is set"));
  a.free(b);
  CHECK(message_of(a, 1).empty());
}

void traces() {
  Allocator a(kCpu, source_of(kCpu));
  const Block old = a.allocate(1000, Category::workspace), gap = a.allocate(1000), older = a.allocate(3000);
  a.hold(old, Category::saved);
  a.hold(old, Category::saved);
  a.free(gap);
  a.start_trace();
  CHECK_THROWS(a.start_trace(), ValueError);
  set_phase("backward");
  {
    const OpScope outer("outer");
    const OpScope inner(std::string("inner").c_str());  // the text may go before the trace does
    const Block b = a.allocate(1, Category::gradient);
    a.mark("layer.0");
    a.drop(old, Category::saved);
    a.drop(old, Category::batch);  // does not hold: no event
    a.free(b);
    a.free(b);  // twice: no event either
  }
  set_phase("");
  a.drop(old, Category::saved);
  const std::vector<MemoryEvent> t = a.stop_trace();
  CHECK(t.size() == 9);
  if (t.size() != 9) return;
  CHECK(t[0].kind == MemoryEvent::allocate && t[0].id == 1 && t[0].category == Category::saved);
  CHECK(t[1].kind == MemoryEvent::hold && t[1].category == Category::saved && t[1].allocated_after == 1024);
  CHECK(t[2].kind == MemoryEvent::hold && t[2].category == Category::workspace);
  CHECK(t[3].id == 2 && t[3].requested == 3000 && t[3].allocated_after == 4096);
  CHECK(t[4].id == 3 && t[4].rounded == 512 && t[4].op == std::string("inner"));
  CHECK(t[4].phase == std::string("backward") && t[4].allocated_after == 4608);
  CHECK(t[5].kind == MemoryEvent::mark && t[5].op == std::string("layer.0"));
  CHECK(t[6].kind == MemoryEvent::drop && t[7].kind == MemoryEvent::free && t[8].kind == MemoryEvent::drop);
  Replay replay;
  for (const MemoryEvent& e : t) replay.apply(e);
  CHECK(replay.by_category()[static_cast<size_t>(Category::workspace)] == 1024);
  CHECK(replay.by_category()[static_cast<size_t>(Category::saved)] == 0);
  CHECK(replay.by_category()[static_cast<size_t>(Category::temporary)] == 3072);
  CHECK_THROWS(replay.apply(t[7]), ValueError);
  a.free(old);
  a.free(older);
  CHECK(a.stop_trace().empty() && current_op() == std::string(""));
}

void guard_mode() {
  Allocator a(kCpu, source_of(kCpu));
  const Block unguarded = a.allocate(100);
  a.set_guard(true);
  const Block b = a.allocate(1000);
  float first;
  std::memcpy(&first, b.data, 4);
  CHECK(first != first);  // NaN
  a.free(b);
  const Block good = a.allocate(1000), bad = a.allocate(1000);
  std::memset(good.data, 0, 1000);
  CHECK(a.guard_violations() == 0);
#if !defined(__SANITIZE_ADDRESS__)  // there the write itself is an error
  static_cast<volatile char*>(bad.data)[1000] = 1;
  CHECK(a.guard_violations() == 1);  // seen while it lives
  a.free(bad);
  CHECK(a.guard_violations() == 1);  // and counted once
  std::memcpy(&first, bad.data, 4);
  CHECK(first != first);
  a.free(bad);
  CHECK(a.guard_violations() == 2);  // freed twice
#else
  a.free(bad);
#endif
  a.free(good);
  a.free(unguarded);
  a.set_guard(false);
  a.set_guard(true);
  CHECK(a.guard_violations() == 0);
  Allocator meta(kMeta, source_of(kMeta));
  meta.set_guard(true);  // must not touch
  meta.free(meta.allocate(1000));
  CHECK(meta.guard_violations() == 0);
}

void threads_and_fork() {
  Allocator& a = allocator_for(kCpu);
  const size_t before = a.stats().allocated_bytes;
  std::atomic<bool> forked{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&a, &forked, t] {
      Random random{static_cast<uint64_t>(t) + 7};
      std::vector<Block> blocks;
      for (int i = 0; i < 3000 || !forked; ++i) {
        const OpScope scope(t % 2 ? "odd" : "even");
        blocks.push_back(a.allocate(1 + random(20000)));
        if (blocks.size() > 20) {
          a.free(blocks.front());
          blocks.erase(blocks.begin());
        }
      }
      for (const Block& b : blocks) a.free(b);
    });
  int healthy = 0;
  for (int i = 0; i < 10; ++i) {  // while the others hold the lock now and then
    const pid_t child = fork();
    if (child == 0) {
      alarm(20);  // a lock that stayed taken would hang
      const Block b = a.allocate(5000);
      std::memset(b.data, 1, 5000);
      a.free(b);
      const OpScope scope("in the child");
      _exit(current_op() == std::string("in the child") ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    healthy += WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }
  forked = true;
  for (std::thread& t : threads) t.join();
  CHECK(healthy == 10);
  CHECK(a.stats().allocated_bytes == before);
}

void devices() {
  for (const char* text : {"cpu", "cuda:0", "cuda:3", "meta", "meta:cuda", "meta:h200", "meta:t4"})
    CHECK(to_string(parse_device(text)) == text);
  CHECK(parse_device("cuda") == parse_device("cuda:0") && parse_device("meta:cpu") == kMeta);
  for (const char* text :
       {"", "gpu", "CPU", "cpu:0", "cuda:", "cuda:-1", "cuda:1x", "cuda:99999", "meta:gtx1"})
    CHECK_THROWS(parse_device(text), ValueError);
  CHECK(&device_props(kCpu) == &device_props(kMeta) && device_props(kCpu).total_bytes > 0);
  const DeviceProps& old = device_props(kCpu);
  DeviceProps changed = old;
  changed.threads = old.threads + 3;
  set_cpu_props(changed);
  CHECK(device_props(kMeta).threads == changed.threads && old.threads + 3 == changed.threads);
  set_cpu_props(old);
  CHECK(&device_props(kCpu) == &old);  // the same facts are the same object
  const DeviceProps& h200 = device_props(parse_device("meta:h200"));
  CHECK(h200.sm == 90 && h200.backend == DeviceType::cuda && h200.total_bytes > size_t{139} << 30);
  for (const char* text : {"cuda", "meta:cuda"}) {
    CHECK_THROWS(device_props(parse_device(text)), DeviceError);
    CHECK_THROWS(allocator_for(parse_device(text)), DeviceError);
  }
  CHECK(&allocator_for(kMeta) != &allocator_for(parse_device("meta:a100")));
  Allocator& meta = allocator_for(kMeta);
  try {
    const Workspace w(kMeta, 1000);
    CHECK(meta.stats().allocated_bytes == 1024 && w.as<char>(8) == static_cast<char*>(w.data()) + 8);
    throw 1;
  } catch (int) {
    CHECK(meta.stats().allocated_bytes == 0);
  }
}

double nanoseconds_per_pair(Allocator& a, size_t bytes) {
  constexpr int kPairs = 300000;
  const std::clock_t start = std::clock();  // CPU time: the machine may be shared
  for (int i = 0; i < kPairs; ++i) a.free(a.allocate(bytes));
  return 1e9 * static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC / kPairs;
}

void bench() {
  Allocator a(kCpu, source_of(kCpu));
  const Block keep = a.allocate(512);
  std::printf("one free chunk: %.0f ns\n", nanoseconds_per_pair(a, 1000));
  std::vector<Block> blocks;
  for (int i = 0; i < 4000; ++i) blocks.push_back(a.allocate(512 * static_cast<size_t>(1 + i % 16)));
  for (size_t i = 0; i < blocks.size(); i += 2) a.free(blocks[i]);
  std::printf("2000 free chunks: %.0f ns, large: %.0f ns\n", nanoseconds_per_pair(a, 1000),
              nanoseconds_per_pair(a, 5 << 20));
  a.free(keep);
}

}  // namespace

int main(int argc, char**) {
  if (argc > 1) return bench(), 0;
  random_against_model();
  placement();
  growth();
  limit_and_failure();
  exhausted_source();
  traces();
  guard_mode();
  threads_and_fork();
  devices();
  return test::report("test_allocator");
}
