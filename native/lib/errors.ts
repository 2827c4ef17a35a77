/**
 * A failure of the engine itself. Wrong arguments are a `TypeError` that names the argument, and index tensors whose
 * contents are out of range a `RangeError` (code `ERR_INDEX`).
 *
 * Codes: `ERR_NATIVE_LOAD` (the addon is not built or does not load), `ERR_TENSOR_DISPOSED`, `ERR_SCOPE_ORDER`,
 * `ERR_OUT_OF_MEMORY`, `ERR_ONEDNN` and `ERR_CUBLAS` (a matrix product was refused), `ERR_CUDA`,
 * `ERR_DEVICE_IN_USE`, `ERR_COMMUNICATION` (between the ranks of a job), `ERR_NATIVE_CALL` (a defect in this package).
 */
export class NativeError extends Error {
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'NativeError';
    this.code = code;
  }
}
