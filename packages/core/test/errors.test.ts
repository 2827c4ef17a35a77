/** A value of the user's in an error. */
import { expect, it } from 'vitest';
import { parseConfig } from '../src/config/load.js';
import { ConfigError, ModelError, shown } from '../src/errors.js';
import { parseHeader } from '../src/hf/safetensors-header.js';
import { parseModelSpec } from '../src/model/spec.js';

const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;

it('repeats a value as JSON, shortened', () => {
  expect(shown({ a: [1, 'x', null, 2n] })).toBe('{"a":[1,"x",null,"2"]}');
  expect(shown('x'.repeat(1000), 5)).toBe('"xxxx…');
  expect([shown(undefined), shown(Number.NaN), shown(1n)]).toEqual(['undefined', 'NaN', '"1"']);
});

it('does not fail at a value that is nested too deeply', () => {
  expect(shown(JSON.parse(deep))).toBe('a value that is nested too deeply');
  const itself: unknown[] = [];
  itself.push(itself);
  expect(shown(itself)).toBe('a value that refers to itself');
});

it('names the tensor or key whose value is nested too deeply', () => {
  const header = Buffer.from(`{"x":{"dtype":"F32","shape":${deep},"data_offsets":[0,4]}}`);
  expect(() => parseHeader('w', header, 8, 8)).toThrow(ModelError);
  expect(() => parseHeader('w', header, 8, 8)).toThrow(/w, field "x": .*nested too deeply/);
  const config = { model_type: 'llama', hidden_size: JSON.parse(deep) };
  expect(() => parseModelSpec(config, 'c')).toThrow(/c, field "hidden_size": .*nested too deeply/);
});

it('does not take an object for a text when it looks for the nearest name', () => {
  expect(() => parseConfig({ method: { toString: 1 } })).toThrow(ConfigError);
  expect(() => parseConfig({ method: { toString: 1 } })).toThrow(/"method": .*found \{"toString":1\}/);
});
