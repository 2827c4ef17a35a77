/** What a benchmark ran on. */
import { cpuInfo, cudaInfo, currentDevice, type DeviceName } from '@sralign/native';

/** The value of `--device`. */
export function parseDevice(text: string): DeviceName {
  if (!/^(cpu|cuda(:\d+)?)$/.test(text)) throw new Error('--device must be cpu, cuda or cuda:N.');
  return text as DeviceName;
}

/** The processor or GPU in use and the versions that matter for its speed. */
export function machine(): Record<string, string | boolean> {
  const device = currentDevice();
  if (device === 'cpu') {
    const { model, kernels, nativeBf16, oneDnnVersion } = cpuInfo();
    return { model, kernels, nativeBf16, oneDnn: `oneDNN ${oneDnnVersion}` };
  }
  const { devices, driverVersion, runtimeVersion } = cudaInfo();
  const { name, computeCapability } = devices[Number(device.split(':')[1] ?? 0)]!;
  return { model: name, computeCapability, cuda: `driver ${driverVersion}, runtime ${runtimeVersion}` };
}
