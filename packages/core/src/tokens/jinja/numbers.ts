/** How Python writes and rounds floats: exactly, with ties to even. */
import { spendOnNewText } from './budget.js';
import { TemplateFailure } from './errors.js';

/** repr(float): the shortest digits that read back as the same number. */
export function floatText(value: number): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? 'nan' : value > 0 ? 'inf' : '-inf';
  if (value === 0) return Object.is(value, -0) ? '-0.0' : '0.0';
  const [mantissa, power] = Math.abs(value).toExponential().split('e') as [string, string];
  const digits = mantissa.replace('.', '');
  const exponent = Number(power);
  const sign = value < 0 ? '-' : '';
  if (exponent < -4 || exponent >= 16) {
    const fraction = digits.length > 1 ? `.${digits.slice(1)}` : '';
    return `${sign}${digits[0]}${fraction}e${exponentText(exponent)}`;
  }
  if (exponent < 0) return `${sign}0.${'0'.repeat(-exponent - 1)}${digits}`;
  if (digits.length <= exponent + 1) return `${sign}${digits.padEnd(exponent + 1, '0')}.0`;
  return `${sign}${digits.slice(0, exponent + 1)}.${digits.slice(exponent + 1)}`;
}

export function exponentText(exponent: number): string {
  return `${exponent < 0 ? '-' : '+'}${String(Math.abs(exponent)).padStart(2, '0')}`;
}

/** |value| / 10^exponent, to the nearest whole number, ties to even. */
function scaled(value: number, exponent: number): bigint {
  const bits = new DataView(new ArrayBuffer(8));
  bits.setFloat64(0, Math.abs(value));
  const word = bits.getBigUint64(0);
  const biased = Number(word >> 52n);
  const mantissa = (word & ((1n << 52n) - 1n)) | (biased === 0 ? 0n : 1n << 52n);
  const power = Math.max(biased, 1) - 1075;
  let top = mantissa * (power > 0 ? 1n << BigInt(power) : 1n);
  let bottom = power < 0 ? 1n << BigInt(-power) : 1n;
  if (exponent < 0) top *= 10n ** BigInt(-exponent);
  else bottom *= 10n ** BigInt(exponent);
  const whole = top / bottom;
  const twice = (top % bottom) * 2n;
  return twice > bottom || (twice === bottom && whole % 2n === 1n) ? whole + 1n : whole;
}

/** '%.{decimals}f' of a finite number, without its sign. */
export function fixedDigits(value: number, decimals: number): string {
  checkDigits(decimals);
  const digits = scaled(value, -decimals)
    .toString()
    .padStart(decimals + 1, '0');
  if (decimals === 0) return digits;
  return `${digits.slice(0, -decimals)}.${digits.slice(-decimals)}`;
}

/** The digits of a finite number and the power of ten of the first of them. */
export function significantDigits(value: number, count: number): { digits: string; exponent: number } {
  checkDigits(count);
  if (value === 0) return { digits: '0'.repeat(count), exponent: 0 };
  let exponent = Number(Math.abs(value).toExponential().split('e')[1]);
  let digits = scaled(value, exponent - count + 1).toString();
  if (digits.length > count) {
    exponent++;
    digits = digits.slice(0, count);
  }
  return { digits, exponent };
}

function checkDigits(count: number): void {
  if (count > 10_000) throw new TemplateFailure('the precision is too large');
  spendOnNewText(count * 8);
}

/** round(value, decimals) of a float. */
export function roundFloat(value: number, decimals: number): number {
  if (!Number.isFinite(value) || decimals > 323) return value;
  const magnitude =
    decimals >= 0
      ? Number(fixedDigits(value, decimals))
      : Number(scaled(value, -decimals) * 10n ** BigInt(Math.min(-decimals, 400)));
  return value < 0 || Object.is(value, -0) ? -magnitude : magnitude;
}
