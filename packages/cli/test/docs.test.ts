/** What the documentation and the examples say is so. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describeConfig, loadConfig } from '@sralign/core';
import { describe, expect, it } from 'vitest';
import { ROOT } from './run.js';

const yamlFiles = readdirSync(join(ROOT, 'examples'), { recursive: true, encoding: 'utf8' })
  .filter(file => file.endsWith('.yaml'))
  .sort();

describe('examples', () => {
  it('cover both experiments of the paper and the demo', () => {
    expect(yamlFiles).toHaveLength(12);
  });

  it.each(yamlFiles)('%s parses, and its method and output are those of its name', async file => {
    const config = await loadConfig(join(ROOT, 'examples', file));
    const method = file.replace(/^.*\//, '').replace('.yaml', '');
    expect(config.method).toBe(method);
    expect(config.output.folder.endsWith(`/${method}`)).toBe(true);
  });

  it.each(yamlFiles.filter(file => file.startsWith('recipes/')))(
    "%s has the paper's settings",
    async file => {
      const { loss, optimizer, schedule, training, tokens } = await loadConfig(join(ROOT, 'examples', file));
      expect(loss).toMatchObject({ beta: 0.1, lambda: 0.3, labelSmoothing: 0, logpReduction: 'sum' });
      expect(optimizer).toMatchObject({ name: 'rmsprop', learningRate: 5e-7 });
      expect(schedule).toEqual({ name: 'constant', warmupSteps: 150 });
      expect(training).toMatchObject({ batchPairs: 64, maxGradNorm: 10 });
      expect(tokens).toMatchObject({ maxTokens: 512, maxPromptTokens: 256 });
    },
  );

  it.each(yamlFiles.filter(file => file.startsWith('recipes/')))(
    '%s says of every setting where it comes from',
    async file => {
      const config = await loadConfig(join(ROOT, 'examples', file));
      const keys = new Map(describeConfig().map(key => [key.path, key]));
      let section = '';
      let marked = 0;
      for (const line of readFileSync(join(ROOT, 'examples', file), 'utf8').split('\n')) {
        section = /^(\w+):/.exec(line)?.[1] ?? section;
        const [, key, mark] = /^ {2}(\w+): [^#]+(?:# (paper|original DPO code|ours)\b.*)?$/.exec(line) ?? [];
        if (key === undefined || ['model', 'data', 'output'].includes(section)) continue;
        const { default: value, provenance } = keys.get(`${section}.${key}`)!;
        const set = config[section as 'loss'][key as 'beta'];
        expect(mark, line).toBeDefined();
        if (set === value && !file.endsWith('/sft.yaml')) expect(mark, line).toBe(provenance);
        marked++;
      }
      expect(marked).toBeGreaterThan(10);
    },
  );

  it("compare the demo's methods from the same start", async () => {
    const [dpo, srDpo] = await Promise.all(
      ['dpo', 'sr-dpo'].map(method => loadConfig(join(ROOT, `examples/demo/${method}.yaml`))),
    );
    expect({ ...srDpo, method: 'dpo', output: dpo?.output }).toEqual(dpo);
  });
});

describe('documentation', () => {
  // To write the file anew: npx vitest run -u packages/cli/test/docs.test.ts
  it('docs/configuration.md lists every key', async () => {
    await expect(configurationPage()).toMatchFileSnapshot(join(ROOT, 'docs/configuration.md'));
  });

  it('links lead to files that are there', () => {
    const pages = [
      'README.md',
      'CONTRIBUTING.md',
      ...readdirSync(join(ROOT, 'docs')).map(page => `docs/${page}`),
    ];
    const broken = pages
      .filter(page => page.endsWith('.md'))
      .flatMap(page => {
        const links = [...readFileSync(join(ROOT, page), 'utf8').matchAll(/\]\((?!https?:)([^)#]+)[^)]*\)/g)];
        return links.map(([, link]) => join(page, '..', link!));
      })
      .filter(target => {
        const folder = join(ROOT, target, '..');
        return !readdirSync(folder).includes(target.split('/').at(-1)!);
      });
    expect(broken).toEqual([]);
  });

  const page = (name: string): string => readFileSync(join(ROOT, name), 'utf8');

  it('gives an H100 the same figures everywhere', () => {
    const ofPlan = /^\| H100 80 GB SXM \| (\d+) TFLOP\/s \| ([\d.]+) TB\/s /m.exec(page('docs/plan.md'))!;
    const ofCuda = /H100 ([\d.]+) TB\/s and (\d+) TFLOP\/s/.exec(page('docs/cuda.md'))!;
    expect([ofCuda[2], ofCuda[1]]).toEqual([ofPlan[1], ofPlan[2]]);
    // Floors in µs: FLOPs of the row over these.
    const [, flops, floor] = /^\| linear up \| 32 \| - \| (\d+) GFLOP \| \d+ \| (\d+) \|/m.exec(
      page('docs/cuda.md'),
    )!;
    expect(Number(floor)).toBeCloseTo((Number(flops) * 1e9) / (Number(ofPlan[1]) * 1e6), 0);
  });

  it('says of several GPUs what is so at its end too', () => {
    expect(page('docs/cuda.md')).not.toMatch(/trains on one GPU|not there yet/);
  });

  it('names what is not supported, and advises on no system that is not tested', () => {
    const limits = page('README.md').split('\n## Limits\n')[1]!.split('\n## ')[0]!;
    for (const word of ['LoRA', 'macOS', 'Windows']) expect(limits).toContain(word);
    for (const name of ['README.md', ...readdirSync(join(ROOT, 'docs')).map(name => `docs/${name}`)])
      expect(page(name), name).not.toMatch(/brew install/);
  });

  it('README shows the program of examples/api as it is', () => {
    const program = readFileSync(join(ROOT, 'examples/api/train.mjs'), 'utf8');
    expect(readFileSync(join(ROOT, 'README.md'), 'utf8').includes(`\`\`\`ts\n${program}\`\`\``)).toBe(true);
    expect(program.trimEnd().split('\n').length).toBeLessThan(30);
  });
});

function configurationPage(): string {
  const rows = describeConfig().map(({ path, type, default: value, provenance, description, trl }) => {
    const shown = value === undefined ? 'required' : `\`${shorten(JSON.stringify(value))}\``;
    const from = value === undefined ? '' : provenance;
    const cells = [`\`${path}\``, type, shown, from, description, trl.map(name => `\`${name}\``).join(', ')];
    return `| ${cells.map(cell => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  });
  return `# Configuration

Every key of a configuration file, with its default. Any key can be set on the command line: \`--set loss.beta=0.05\`.
"from" says where the default comes from: the paper, the original DPO code on which it builds, or neither: then it is our choice
([paper.md](paper.md)). The last column names the same setting in TRL or in the original DPO code. This page is generated from
\`packages/core/src/config/schema.ts\`.

| key | type | default | from | meaning | elsewhere |
|---|---|---|---|---|---|
${rows.join('\n')}
`;
}

const shorten = (text: string): string => (text.length <= 40 ? text : `${text.slice(0, 37)}...`);
