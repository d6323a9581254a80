// The declarations of gloo that libtorch's ProcessGroupGloo.hpp names. libtorch contains gloo but not its headers. The shim
// only holds pointers to these types.
#pragma once
#include <chrono>

namespace gloo {

struct Context {
  void setTimeout(std::chrono::milliseconds timeout);
};

namespace transport {
class Device;
class UnboundBuffer;
}  // namespace transport

}  // namespace gloo
