/** Distribution function of the normal distribution to double precision, the lower tail to full relative accuracy. */
export function normalDistribution(x: number): number {
  const a = Math.abs(x);
  const density = normalDensity(a);
  let tail: number;
  if (a < 3) {
    let term = a; // Phi(a) = 1/2 + density * sum a^(2k+1) / (1 3 5 ... (2k+1))
    let sum = a;
    for (let k = 1; k < 200; k++) {
      term *= (a * a) / (2 * k + 1);
      sum += term;
    }
    tail = 0.5 - density * sum;
  } else {
    let fraction = 0; // the continued fraction of Mills' ratio
    for (let k = 300; k >= 1; k--) fraction = k / (a + fraction);
    tail = density / (a + fraction);
  }
  return x < 0 ? tail : 1 - tail;
}

export function normalDensity(x: number): number {
  return Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
}

export function logistic(x: number): number {
  return 1 / (1 + Math.exp(-x));
}
