// Process groups on the CPU: libtorch's c10d with its TCP store and gloo.
#define USE_C10D_GLOO
#include <ATen/ATen.h>
#include <c10/util/Logging.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <chrono>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>

#include "guarded.h"

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

struct Group {
  // Rank 0 serves the store unless an agent does, so that it lives as long as the group.
  c10::intrusive_ptr<c10d::Store> store;
  c10::intrusive_ptr<c10d::ProcessGroupGloo> gloo;
  milliseconds timeout;
};

std::vector<uint8_t> bytes(const std::string& text) { return {text.begin(), text.end()}; }

// c10d logs every attempt to connect with a stack; the error that follows says the same in a sentence. TORCH_CPP_LOG_LEVEL
// shows the log.
class QuietLog {
 public:
  QuietLog() {
    if (std::getenv("TORCH_CPP_LOG_LEVEL")) {
      c10::initLogging();
    } else {
      FLAGS_caffe2_log_level = 3;  // fatal
    }
  }
  ~QuietLog() {
    if (!std::getenv("TORCH_CPP_LOG_LEVEL")) FLAGS_caffe2_log_level = before_;
  }

 private:
  int before_ = FLAGS_caffe2_log_level;
};

// The group cannot be made. The process that serves the store waits until others have read why.
[[noreturn]] void fail(const std::string& why, bool serve) {
  if (serve) std::this_thread::sleep_for(milliseconds(1000));
  throw std::runtime_error(why);
}

[[noreturn]] void refuse(c10d::Store& store, const std::string& why, bool serve) {
  store.set("refused", bytes(why));
  fail(why, serve);
}

// Waits until all processes are at the store. Other sizes and equal ranks are refused here: gloo would wait for them in vain.
void meet(c10d::Store& store, int rank, int size, bool serve, milliseconds timeout) {
  auto deadline = Clock::now() + timeout;
  auto mine = std::to_string(size);
  auto agreed = store.compareSet("world_size", {}, bytes(mine));
  std::string first(agreed.begin(), agreed.end());
  if (first != mine) {
    refuse(store, "WORLD_SIZE is " + mine + " for rank " + std::to_string(rank) + " and " + first +
                      " for another process; give all processes the same",
           serve);
  }
  if (store.add("rank/" + std::to_string(rank), 1) > 1) {
    refuse(store, "two processes have RANK " + std::to_string(rank) + "; give each process its own", serve);
  }
  for (int64_t present = store.add("present", 1); present < size; present = store.add("present", 0)) {
    if (store.check({"refused"})) {
      auto why = store.get("refused");
      fail(std::string(why.begin(), why.end()), serve);
    }
    if (Clock::now() > deadline) {
      throw std::runtime_error("Timed out: " + std::to_string(present) + " of " + mine + " processes arrived");
    }
    std::this_thread::sleep_for(milliseconds(20));
  }
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t start = 0; start <= text.size();) {
    auto end = std::min(text.find(',', start), text.size());
    if (end > start) parts.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return parts;
}

void wait(const c10::intrusive_ptr<c10d::Work>& work) { work->wait(); }

void barrier(Group& group) {
  c10d::BarrierOptions options;
  options.timeout = group.timeout;
  wait(group.gloo->barrier(options));
}

Group& of(void* group) { return *static_cast<Group*>(group); }

}  // namespace

extern "C" {

// Joins the group of `size` processes at a store, which this process serves if `serve`. `interface` is a list of network
// interfaces separated by commas, or null.
char* ser_group_connect(const char* host, uint16_t port, bool serve, const char* prefix, const char* interface, int rank,
                        int size, int64_t timeout_ms, void** out) {
  return guarded([&] {
    QuietLog quiet;
    auto group = std::make_unique<Group>();
    group->timeout = milliseconds(timeout_ms);
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = serve;
    options.waitWorkers = false;
    options.timeout = group->timeout;
    auto tcp = c10::make_intrusive<c10d::TCPStore>(host, options);
    group->store = c10::make_intrusive<c10d::PrefixStore>(prefix, tcp);
    meet(*group->store, rank, size, serve, group->timeout);
    auto gloo = c10d::ProcessGroupGloo::Options::create(group->timeout);
    // Operations follow each other.
    gloo->threads = 1;
    std::string address(host);
    if (interface) {
      for (const auto& name : split(interface)) {
        gloo->devices.push_back(c10d::ProcessGroupGloo::createDeviceForInterface(name));
      }
    } else if (address == "localhost" || address.rfind("127.", 0) == 0) {
      // All processes are on this machine, whose host name may have no address.
      gloo->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname("127.0.0.1"));
    } else {
      gloo->devices.push_back(c10d::ProcessGroupGloo::createDefaultDevice());
    }
    group->gloo = c10::make_intrusive<c10d::ProcessGroupGloo>(group->store, rank, size, gloo);
    // From here on no process needs the store.
    barrier(*group);
    *out = group.release();
  });
}

void ser_group_free(void* group) { delete static_cast<Group*>(group); }

char* ser_group_all_reduce_sum(void* group, at::Tensor* tensor) {
  return guarded([&] {
    std::vector<at::Tensor> tensors{*tensor};
    c10d::AllreduceOptions options;
    options.timeout = of(group).timeout;
    wait(of(group).gloo->allreduce(tensors, options));
  });
}

char* ser_group_broadcast(void* group, at::Tensor* tensor, int64_t root) {
  return guarded([&] {
    std::vector<at::Tensor> tensors{*tensor};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    options.timeout = of(group).timeout;
    wait(of(group).gloo->broadcast(tensors, options));
  });
}

// The tensors of all ranks, stacked.
char* ser_group_all_gather(void* group, at::Tensor* tensor, at::Tensor** out) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    auto sizes = tensor->sizes().vec();
    sizes.insert(sizes.begin(), of(group).gloo->getSize());
    auto all = at::empty(sizes, tensor->options());
    std::vector<at::Tensor> inputs{*tensor};
    std::vector<std::vector<at::Tensor>> outputs{all.unbind(0)};
    c10d::AllgatherOptions options;
    options.timeout = of(group).timeout;
    wait(of(group).gloo->allgather(outputs, inputs, options));
    *out = new at::Tensor(all);
  });
}

char* ser_group_barrier(void* group) {
  return guarded([&] { barrier(of(group)); });
}

}  // extern "C"
