/** The schema of the configuration in two other forms: JSON Schema for editors, a flat list for help and docs. */
import { z } from 'zod';
import { type Provenance, provenanceOf } from './provenance.js';
import { configSchema } from './schema.js';

export interface KeyDescription {
  /** Dotted path, as in `--set`. */
  readonly path: string;
  /** `integer`, `number`, `string`, `boolean`, the allowed words, or a union of these. */
  readonly type: string;
  /** Value when the key is left out; undefined when the key is required. */
  readonly default: unknown;
  /** Where the default comes from. */
  readonly provenance: Provenance;
  readonly description: string;
  /** Names of the same setting in TRL or the original DPO repository. */
  readonly trl: readonly string[];
}

/** What this file needs to know of a JSON Schema that zod made from `configSchema`. */
interface JsonSchema {
  readonly title?: string;
  readonly type?: string | readonly string[];
  readonly enum?: readonly string[];
  readonly anyOf?: readonly JsonSchema[];
  readonly items?: JsonSchema;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly default?: unknown;
  readonly minLength?: number;
  readonly description?: string;
  readonly trl?: readonly string[];
}

/** JSON Schema (draft 2020-12) of a configuration file. */
export function configJsonSchema(): object {
  return z.toJSONSchema(configSchema, { io: 'input' });
}

/** Every key that can be set, in the order of the schema. */
export function describeConfig(): KeyDescription[] {
  return describeKeys(configJsonSchema() as JsonSchema, '');
}

function describeKeys(section: JsonSchema, prefix: string): KeyDescription[] {
  return Object.entries(section.properties ?? {}).flatMap(([name, schema]) => {
    const path = prefix + name;
    if (schema.properties !== undefined) return describeKeys(schema, `${path}.`);
    const { description = '', trl = [] } = schema;
    const provenance = provenanceOf(path);
    return [{ path, type: typeName(schema), default: schema.default, provenance, description, trl }];
  });
}

function typeName(schema: JsonSchema): string {
  if (schema.title !== undefined) return schema.title;
  if (schema.anyOf !== undefined) return schema.anyOf.map(typeName).join(' | ');
  if (schema.enum !== undefined) return schema.enum.join(' | ');
  if (schema.items !== undefined) return `list of ${typeName(schema.items)}`;
  return schema.type === undefined ? 'any' : [schema.type].flat().join(' | ');
}

/** Whether an empty text is a value of a key: not of one that names a file. */
export function isTextThatMayBeEmpty(path: string): boolean {
  let schema: JsonSchema | undefined = configJsonSchema() as JsonSchema;
  for (const name of path.split('.')) schema = schema?.properties?.[name];
  const alternatives = schema?.anyOf ?? (schema === undefined ? [] : [schema]);
  return alternatives.some(
    ({ type, enum: words, minLength = 0 }) =>
      [type].flat().includes('string') && words === undefined && minLength === 0,
  );
}
