// Memory figures, threads, and what the processor offers.
#include "../cpu/cpu_info.h"
#include "arguments.h"

namespace sralign::addon {

namespace {

Napi::Value setErrorClass(Engine& engine, Arguments& arguments) {
  engine.errorClass = Napi::Persistent(arguments.function());
  return arguments.env().Undefined();
}

Napi::Value memory(Engine& engine, Arguments& arguments) {
  const MemoryStatistics statistics = engine.table.statistics();
  const Workspace workspace = engine.backend.workspace();
  const auto figure = [&](auto value) {
    return Napi::Number::New(arguments.env(), static_cast<double>(value));
  };
  Napi::Object result = Napi::Object::New(arguments.env());
  result.Set("liveTensors", figure(statistics.liveTensors));
  result.Set("liveBytes", figure(statistics.liveBytes));
  result.Set("peakBytes", figure(statistics.peakBytes));
  result.Set("cachedBytes", figure(statistics.cachedBytes));
  result.Set("workspaceBytes", figure(workspace.bytes));
  result.Set("largestAllocationBytes",
             figure(std::max(statistics.largestAllocation, workspace.largestBytes)));
  return result;
}

Napi::Value resetPeakMemory(Engine& engine, Arguments& arguments) {
  engine.table.resetPeak();
  return arguments.env().Undefined();
}

Napi::Value threads(Engine&, Arguments& arguments) {
  return Napi::Number::New(arguments.env(), cpu::threads());
}

Napi::Value setThreads(Engine&, Arguments& arguments) {
  cpu::setThreads(static_cast<int>(arguments.integer()));
  return arguments.env().Undefined();
}

Napi::Value cpuInfo(Engine& engine, Arguments& arguments) {
  const Napi::Env env = arguments.env();
  const cpu::CpuInfo info = cpu::describeCpu();
  Napi::Array instructionSets = Napi::Array::New(env, info.instructionSets.size());
  for (uint32_t i = 0; i < info.instructionSets.size(); ++i) instructionSets.Set(i, info.instructionSets[i]);
  Napi::Object result = Napi::Object::New(env);
  result.Set("vendor", info.vendor);
  result.Set("model", info.model);
  result.Set("instructionSets", instructionSets);
  result.Set("kernels", engine.backend.kernelsName());
  result.Set("oneDnnVersion", info.oneDnnVersion);
  result.Set("oneDnnIsa", info.oneDnnIsa);
  result.Set("nativeBf16", info.nativeBf16);
  result.Set("cores", info.cores);
  return result;
}

}  // namespace

const std::vector<Binding>& systemBindings() {
  static const std::vector<Binding> bindings = {
      {"setErrorClass", setErrorClass},     {"memory", memory},
      {"resetPeakMemory", resetPeakMemory}, {"threads", threads},
      {"setThreads", setThreads},           {"cpuInfo", cpuInfo},
  };
  return bindings;
}

}  // namespace sralign::addon
