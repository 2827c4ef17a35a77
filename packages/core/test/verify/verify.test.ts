import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ModelError } from '../../src/errors.js';
import { verifyCase } from '../../src/verify/verify.js';
import { referenceCases, temporaryFolder } from '../support.js';

const architectures = ['gpt_neox', 'gpt_neox_serial', 'llama_gqa', 'llama_tied', 'mistral_window'];

describe.each(architectures)('%s', architecture => {
  it.each(['f32', 'bf16'] as const)('matches the float64 reference in %s', async dtype => {
    const report = await verifyCase(join(referenceCases, architecture), { dtype });
    expect(report.quantities.filter(quantity => !quantity.passed)).toEqual([]);
    // 8 groups of log-probs, logits, 7 losses x (loss, norm), 4 of them with gradients, margin, refinement, 2 optimizers x 3.
    expect(report.quantities).toHaveLength(8 + 1 + 14 + 4 + 2 + 6);
    expect(report.passed).toBe(true);
  });
});

describe('a case that is wrong', () => {
  it('fails at the quantity that differs', async () => {
    await using folder = await temporaryFolder();
    await cp(join(referenceCases, 'llama_tied'), folder.path, { recursive: true });
    const file = join(folder.path, 'case.json');
    const content = JSON.parse(await readFile(file, 'utf8'));
    content.losses.sr_dpo *= 1.01;
    content.policy.augRejected[2] += 0.01;
    await writeFile(file, JSON.stringify(content));
    const report = await verifyCase(folder.path);
    expect(report.passed).toBe(false);
    expect(report.quantities.filter(quantity => !quantity.passed).map(quantity => quantity.name)).toEqual([
      'policy logps, augmented rejected',
      'loss sr_dpo',
    ]);
  });

  it('is named when it is not a case', async () => {
    await using folder = await temporaryFolder();
    await writeFile(join(folder.path, 'case.json'), '{"beta": 0.1}');
    await expect(verifyCase(folder.path)).rejects.toThrow(ModelError);
    await expect(verifyCase(folder.path)).rejects.toThrow(/case\.json, field "architecture"/);
  });
});
