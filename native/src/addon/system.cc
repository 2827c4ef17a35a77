// The device in use, memory figures, threads, and what the processor and the GPUs offer.
#include "../comm/mpi_library.h"
#include "../core/cuda_library.h"
#include "../cpu/cpu_info.h"
#include "arguments.h"

namespace sralign::addon {

namespace {

Napi::Value setErrorClass(Engine& engine, Arguments& arguments) {
  engine.errorClass = Napi::Persistent(arguments.function());
  return arguments.env().Undefined();
}

Napi::Value memory(Engine& engine, Arguments& arguments) {
  const MemoryStatistics statistics = engine.table->statistics();
  const Workspace workspace = engine.backend->workspace();
  const auto figure = [&](auto value) {
    return Napi::Number::New(arguments.env(), static_cast<double>(value));
  };
  Napi::Object result = Napi::Object::New(arguments.env());
  result.Set("liveTensors", figure(statistics.liveTensors));
  result.Set("liveBytes", figure(statistics.liveBytes));
  result.Set("peakBytes", figure(statistics.peakBytes));
  result.Set("cachedBytes", figure(statistics.cachedBytes));
  result.Set("workspaceBytes", figure(workspace.bytes));
  result.Set("communicationBytes", figure(mpiScratchBytes()));
  result.Set("largestAllocationBytes",
             figure(std::max(statistics.largestAllocation, workspace.largestBytes)));
  return result;
}

Napi::Value resetPeakMemory(Engine& engine, Arguments& arguments) {
  engine.table->resetPeak();
  return arguments.env().Undefined();
}

Napi::Value threads(Engine&, Arguments& arguments) {
  return Napi::Number::New(arguments.env(), cpu::threads());
}

Napi::Value setThreads(Engine&, Arguments& arguments) {
  cpu::setThreads(static_cast<int>(arguments.integer()));
  return arguments.env().Undefined();
}

Napi::Value cpuInfo(Engine&, Arguments& arguments) {
  const Napi::Env env = arguments.env();
  const cpu::CpuInfo info = cpu::describeCpu();
  Napi::Array instructionSets = Napi::Array::New(env, info.instructionSets.size());
  for (uint32_t i = 0; i < info.instructionSets.size(); ++i) instructionSets.Set(i, info.instructionSets[i]);
  Napi::Object result = Napi::Object::New(env);
  result.Set("vendor", info.vendor);
  result.Set("model", info.model);
  result.Set("instructionSets", instructionSets);
  result.Set("kernels", cpu::selectKernels().name);
  result.Set("oneDnnVersion", info.oneDnnVersion);
  result.Set("oneDnnIsa", info.oneDnnIsa);
  result.Set("nativeBf16", info.nativeBf16);
  result.Set("cores", info.cores);
  return result;
}

// Path of the CUDA library, number of the GPU; an empty path stands for the processor.
Napi::Value useDevice(Engine& engine, Arguments& arguments) {
  if (engine.table->statistics().liveTensors > 0) {
    throw EngineError("ERR_DEVICE_IN_USE", "the device can only be chosen while there are no tensors");
  }
  const std::string library = arguments.text();
  const int device = static_cast<int>(arguments.integer());
  engine.use(library.empty() ? std::make_unique<cpu::CpuBackend>() : openCuda(library, device));
  engine.cudaLibrary = library;
  return arguments.env().Undefined();
}

Napi::Value synchronize(Engine& engine, Arguments& arguments) {
  const auto waiting = engine.waitingForDevice();
  engine.backend->synchronize();
  return arguments.env().Undefined();
}

Napi::Value cudaInfo(Engine&, Arguments& arguments) {
  const Napi::Env env = arguments.env();
  const cuda::LibraryInfo info = describeCuda(arguments.text());
  Napi::Array devices = Napi::Array::New(env, info.devices.size());
  for (uint32_t i = 0; i < info.devices.size(); ++i) {
    const cuda::DeviceInfo& device = info.devices[i];
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("name", device.name);
    entry.Set("computeCapability",
              std::to_string(device.computeMajor) + "." + std::to_string(device.computeMinor));
    entry.Set("multiprocessors", device.multiprocessors);
    entry.Set("totalBytes", static_cast<double>(device.totalBytes));
    entry.Set("freeBytes", static_cast<double>(device.freeBytes));
    devices.Set(i, entry);
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("driverVersion", info.driverVersion);
  result.Set("runtimeVersion", info.runtimeVersion);
  result.Set("devices", devices);
  result.Set("reason", info.reason);
  return result;
}

}  // namespace

const std::vector<Binding>& systemBindings() {
  static const std::vector<Binding> bindings = {
      {"setErrorClass", setErrorClass},
      {"useDevice", useDevice},
      {"synchronize", synchronize},
      {"memory", memory},
      {"resetPeakMemory", resetPeakMemory},
      {"threads", threads},
      {"setThreads", setThreads},
      {"cpuInfo", cpuInfo},
      {"cudaInfo", cudaInfo},
  };
  return bindings;
}

}  // namespace sralign::addon
