#include "gpu_module.h"

#include <ATen/DeviceAccelerator.h>
#include <ATen/Parallel.h>
#include <c10/core/DeviceGuard.h>
#include <dlfcn.h>

#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace ser {
namespace {

const char* const SOURCE =
#include "gpu_rows.cu.h"
    ;

// Loads the function `name` of a library into a pointer.
template <typename F>
void load(void* library, const char* name, F*& function) {
  function = reinterpret_cast<F*>(dlsym(library, name));
  TORCH_CHECK(function, "a library of CUDA has no function ", name);
}

// With a slash at its end; empty for a name without a folder.
std::string folder_of(const std::string& path) { return path.substr(0, path.find_last_of('/') + 1); }

// NVRTC's library: one that is loaded, or PyTorch's, or the system's.
void* open_nvrtc() {
  const auto folder = libtorch_folder();
  const std::vector<std::string> names = {"libnvrtc.so.13", "libnvrtc.so.12"};
  // PyTorch's library that calls NVRTC knows where its NVRTC is. It stays loaded.
  if (!folder.empty()) dlopen((folder + "libcaffe2_nvrtc.so").c_str(), RTLD_NOW | RTLD_LOCAL);
  for (const auto& name : names)
    if (void* library = dlopen(name.c_str(), RTLD_NOW | RTLD_NOLOAD)) return library;
  const auto packages = folder + "../../nvidia/";
  for (const auto& home : {folder, packages + "cu13/lib/", packages + "cuda_nvrtc/lib/", std::string()})
    for (const auto& name : names)
      if (void* library = dlopen((home + name).c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
  TORCH_CHECK(false, "libnvrtc.so.13 and libnvrtc.so.12 were not found");
}

// The functions of nvrtc.h that are used.
struct Nvrtc {
  using Program = void*;
  int (*version)(int* major, int* minor);
  int (*create)(Program*, const char* source, const char* name, int headers, const char* const*, const char* const*);
  int (*compile)(Program, int options, const char* const*);
  int (*destroy)(Program*);
  int (*cubin_size)(Program, size_t*);
  int (*cubin)(Program, char*);
  int (*log_size)(Program, size_t*);
  int (*log)(Program, char*);
  const char* (*error)(int);

  Nvrtc() {
    void* library = open_nvrtc();
    load(library, "nvrtcVersion", version);
    load(library, "nvrtcCreateProgram", create);
    load(library, "nvrtcCompileProgram", compile);
    load(library, "nvrtcDestroyProgram", destroy);
    load(library, "nvrtcGetCUBINSize", cubin_size);
    load(library, "nvrtcGetCUBIN", cubin);
    load(library, "nvrtcGetProgramLogSize", log_size);
    load(library, "nvrtcGetProgramLog", log);
    load(library, "nvrtcGetErrorString", error);
    open_builtins();
  }

  // NVRTC opens another library by its name alone, which succeeds if that is loaded. It lies in the same folder.
  void open_builtins() const {
    int major = 0, minor = 0;
    Dl_info info;
    if (version(&major, &minor) != 0 || !dladdr(reinterpret_cast<void*>(create), &info) || !info.dli_fname) return;
    const auto name = "libnvrtc-builtins.so." + std::to_string(major) + "." + std::to_string(minor);
    dlopen((folder_of(info.dli_fname) + name).c_str(), RTLD_NOW | RTLD_LOCAL);
  }

  void check(int result, const char* what) const { TORCH_CHECK(result == 0, "NVRTC, ", what, ": ", error(result)); }

  static const Nvrtc& get() {
    static const Nvrtc nvrtc;
    return nvrtc;
  }
};

struct Compiled {
  std::string cubin, log;
};

Compiled compiled(const std::string& architecture) {
  const auto& nvrtc = Nvrtc::get();
  Nvrtc::Program program = nullptr;
  nvrtc.check(nvrtc.create(&program, SOURCE, "gpu_rows.cu", 0, nullptr, nullptr), "creating a program");
  const auto destroy = [&](Nvrtc::Program* program) { nvrtc.destroy(program); };
  const std::unique_ptr<Nvrtc::Program, decltype(destroy)> owner(&program, destroy);
  const auto target = "--gpu-architecture=" + architecture;
  const char* options[] = {target.c_str(), "--std=c++17", "--ptxas-options=-v"};
  const int result = nvrtc.compile(program, 3, options);
  // NVRTC's texts end with a null, which its sizes count.
  size_t size = 0;
  Compiled out;
  if (nvrtc.log_size(program, &size) == 0 && size > 1) {
    out.log.resize(size);
    nvrtc.check(nvrtc.log(program, out.log.data()), "reading the log");
    out.log.resize(size - 1);
  }
  TORCH_CHECK(result == 0, "NVRTC, compiling for ", architecture, ": ", nvrtc.error(result), "\n", out.log);
  nvrtc.check(nvrtc.cubin_size(program, &size), "reading the binary");
  out.cubin.resize(size);
  nvrtc.check(nvrtc.cubin(program, out.cubin.data()), "reading the binary");
  return out;
}

// The functions of cuda.h that are used.
struct Driver {
  int (*device)(int*, int ordinal);
  int (*attribute)(int*, int attribute, int device);
  int (*retain_context)(void**, int device);
  int (*current_context)(void**);
  int (*set_context)(void*);
  int (*load_module)(void**, const void* image);
  int (*function)(void**, void* module, const char* name);
  int (*launch)(void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                unsigned block_z, unsigned shared_bytes, void* stream, void** arguments, void** extra);
  int (*error)(int, const char**);

  Driver() {
    void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    TORCH_CHECK(library, "the driver's library libcuda.so.1 was not found");
    load(library, "cuDeviceGet", device);
    load(library, "cuDeviceGetAttribute", attribute);
    load(library, "cuDevicePrimaryCtxRetain", retain_context);
    load(library, "cuCtxGetCurrent", current_context);
    load(library, "cuCtxSetCurrent", set_context);
    load(library, "cuModuleLoadData", load_module);
    load(library, "cuModuleGetFunction", function);
    load(library, "cuLaunchKernel", launch);
    load(library, "cuGetErrorString", error);
  }

  void check(int result, const std::string& what) const {
    if (result == 0) return;
    const char* text = nullptr;
    error(result, &text);
    TORCH_CHECK(false, "CUDA, ", what, ": ", text ? text : "error ", text ? "" : std::to_string(result));
  }

  static const Driver& get() {
    static const Driver driver;
    return driver;
  }
};

// The kernels of one GPU. They are in its primary context, which PyTorch uses, and are never unloaded.
class Module {
 public:
  explicit Module(c10::DeviceIndex gpu) {
    const auto& driver = Driver::get();
    int device = 0, major = 0, minor = 0;
    driver.check(driver.device(&device, gpu), "finding the GPU");
    driver.check(driver.attribute(&major, 75, device), "asking for the compute capability");
    driver.check(driver.attribute(&minor, 76, device), "asking for the compute capability");
    const auto binary = compiled("sm_" + std::to_string(10 * major + minor)).cubin;
    driver.check(driver.retain_context(&context_, device), "opening the GPU");
    enter();
    driver.check(driver.load_module(&module_, binary.data()), "loading the kernels");
  }

  // Makes the context current. A new thread has none until its first call of CUDA's runtime.
  void enter() const {
    const auto& driver = Driver::get();
    void* current = nullptr;
    driver.check(driver.current_context(&current), "asking for the context");
    if (current != context_) driver.check(driver.set_context(context_), "setting the context");
  }

  void* function(const std::string& name) {
    auto& found = functions_[name];
    if (!found) Driver::get().check(Driver::get().function(&found, module_, name.c_str()), "finding the kernel " + name);
    return found;
  }

 private:
  void *context_ = nullptr, *module_ = nullptr;
  std::map<std::string, void*> functions_;
};

std::mutex mutex;

// Called under the mutex, with the GPU as the current device.
Module& module_of(c10::DeviceIndex gpu) {
  static std::map<c10::DeviceIndex, std::unique_ptr<Module>> modules;
  auto& module = modules[gpu];
  if (!module) module = std::make_unique<Module>(gpu);
  return *module;
}

}  // namespace

std::string libtorch_folder() {
  Dl_info info;
  if (!dladdr(reinterpret_cast<void*>(&at::init_num_threads), &info) || !info.dli_fname) return "";
  return folder_of(info.dli_fname);
}

std::string compile_gpu_kernels(const std::string& architecture) { return compiled(architecture).log; }

void load_gpu_kernels(c10::DeviceIndex gpu) {
  const c10::DeviceGuard guard(c10::Device(c10::kCUDA, gpu));
  const std::lock_guard<std::mutex> lock(mutex);
  module_of(gpu).enter();
}

void launch(const at::Tensor& on, const std::string& kernel, const Launch& shape, void** arguments) {
  const auto gpu = on.device();
  const c10::DeviceGuard guard(gpu);
  void* stream = at::accelerator::getCurrentStream(gpu.index()).native_handle();
  void* function = nullptr;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    auto& module = module_of(gpu.index());
    module.enter();
    function = module.function(kernel);
  }
  const auto& driver = Driver::get();
  driver.check(driver.launch(function, shape.blocks, 1, 1, shape.columns, shape.rows, 1, 0, stream, arguments, nullptr),
               "starting the kernel " + kernel);
}

}  // namespace ser
