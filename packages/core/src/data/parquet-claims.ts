/**
 * What a Parquet file claims about itself, checked against its size before memory or time is spent on it: the library
 * believes every number it reads.
 */
import type { ColumnMetaData, PageHeader, ParquetType, RowGroup, SchemaTree } from 'hyparquet';
import { parquetHeader } from 'hyparquet/src/column.js';
import { decompressPage } from 'hyparquet/src/datapage.js';
import { getMaxDefinitionLevel, getMaxRepetitionLevel, getTreePath } from 'hyparquet/src/schema.js';
import { compressors } from 'hyparquet-compressors';
import { MAX_EXPANSION, MAX_RECORD_BYTES } from './bytes.js';
import { MAX_DEPTH } from './json-text.js';

/** Where the values of one leaf of the schema lie. */
export interface LeafChunk {
  readonly path: string[];
  /** From the root to the leaf. */
  readonly schemaPath: SchemaTree[];
  readonly type: ParquetType;
  readonly codec: ColumnMetaData['codec'];
  readonly start: number;
  readonly bytes: number;
  readonly values: number;
}

/** @throws Error when the group claims more rows than a file of this size can hold */
export function checkGroup(group: RowGroup, fileBytes: number): void {
  checkCount(Number(group.num_rows), fileBytes, 'rows');
}

/** The chunks of a field in a row group. @throws Error when they are not what the schema says, or not in the file */
export function leafChunks(
  group: RowGroup,
  schema: SchemaTree,
  field: SchemaTree,
  fileBytes: number,
): LeafChunk[] {
  const seen = new Set<string>();
  const chunks = group.columns.flatMap(({ file_path, meta_data: facts }) => {
    if (facts === undefined) throw new Error('a column has no metadata');
    if (facts.path_in_schema[0] !== field.element.name) return [];
    if (file_path !== undefined) throw new Error('its columns are in other files');
    const path = facts.path_in_schema;
    const schemaPath = getTreePath(schema, path);
    const name = path.join('.');
    if (schemaPath.at(-1)!.children.length > 0) throw new Error(`${name} is not a leaf of its schema`);
    if (schemaPath.length > MAX_DEPTH) throw new Error('its schema is nested too deeply');
    if (seen.has(name)) throw new Error(`the column ${name} stands twice in a row group`);
    seen.add(name);
    const start = Number(facts.dictionary_page_offset || facts.data_page_offset);
    const bytes = Number(facts.total_compressed_size);
    if (!(start >= 0 && bytes >= 0 && start + bytes <= fileBytes)) {
      throw new Error(`the column ${name} lies outside of the file`);
    }
    const values = Number(facts.num_values);
    checkCount(values, fileBytes, 'values');
    const { type, codec } = facts;
    return [{ path, schemaPath, type, codec, start, bytes, values }];
  });
  if (chunks.length === 0) throw new Error(`a row group has no column ${field.element.name}`);
  return chunks;
}

/** Rows that are all alike take next to nothing: so many are believed of any file. */
const BELIEVED_COUNT = 100_000;

/** A text or a chat takes more than a byte, so that no honest large file has more rows, or messages, than bytes. */
function checkCount(count: number, fileBytes: number, what: string): void {
  if (count >= 0 && count <= Math.max(BELIEVED_COUNT, fileBytes)) return;
  throw new Error(`it claims ${count} ${what} in ${fileBytes} bytes`);
}

/**
 * Walks over the pages of a column chunk.
 *
 * @returns those that were compressed, decompressed, in their order
 * @throws Error for a page that leaves the chunk, expands beyond the limit, or repeats a value more often than it has values
 */
export function checkPages(leaf: LeafChunk, view: DataView, fileBytes: number): Uint8Array[] {
  const reader = { view, offset: 0 };
  const pages: Uint8Array[] = [];
  let values = 0;
  while (reader.offset < view.byteLength - 1 && values < leaf.values) {
    const header = parquetHeader(reader);
    const bytes = header.compressed_page_size;
    if (!(bytes >= 0 && reader.offset + bytes <= view.byteLength))
      throw new Error('a page leaves its column');
    checkExpansion(header.uncompressed_page_size, bytes);
    const stored = new Uint8Array(view.buffer, view.byteOffset + reader.offset, bytes);
    reader.offset += bytes;
    values += checkPage(leaf, header, stored, pages);
    checkCount(values, fileBytes, 'values');
  }
  if (values > leaf.values) throw new Error('the pages of a column hold more values than it claims');
  return pages;
}

/** @returns the values of the page: rows, or messages */
function checkPage(leaf: LeafChunk, header: PageHeader, stored: Uint8Array, pages: Uint8Array[]): number {
  const repetition = getMaxRepetitionLevel(leaf.schemaPath);
  const definition = getMaxDefinitionLevel(leaf.schemaPath);
  const { uncompressed_page_size: size, data_page_header: v1, data_page_header_v2: v2 } = header;
  if (header.type === 'DATA_PAGE' && v1 !== undefined) {
    const page = unpacked(leaf, stored, size, pages);
    const values = v1.num_values;
    const behind = checkSizedRuns(page, checkSizedRuns(page, 0, repetition, values), definition, values);
    checkValues(page, behind, v1.encoding, values);
    return values;
  }
  if (header.type === 'DATA_PAGE_V2' && v2 !== undefined) {
    const {
      num_values: values,
      repetition_levels_byte_length: first,
      definition_levels_byte_length: second,
    } = v2;
    const levels = first + second;
    if (!(first >= 0 && second >= 0 && levels <= stored.length))
      throw new Error('the levels of a page leave it');
    checkRuns(stored.subarray(0, first), bitWidth(repetition), values);
    checkRuns(stored.subarray(first, levels), bitWidth(definition), values);
    const body = stored.subarray(levels);
    const page = v2.is_compressed === false ? body : unpacked(leaf, body, size - levels, pages);
    checkValues(page, 0, v2.encoding, values);
    return values;
  }
  if (header.type === 'DICTIONARY_PAGE') {
    const page = unpacked(leaf, stored, size, pages);
    checkCount(header.dictionary_page_header?.num_values ?? 0, page.length, 'values');
  }
  return 0;
}

function checkExpansion(to: number, from: number): void {
  if (to >= 0 && to <= MAX_RECORD_BYTES + MAX_EXPANSION * from) return;
  throw new Error(
    `a page of ${from} bytes claims to be ${to} bytes, more than ${MAX_EXPANSION} times its size`,
  );
}

function unpacked(leaf: LeafChunk, bytes: Uint8Array, size: number, pages: Uint8Array[]): Uint8Array {
  const page = decompressPage(bytes, size, leaf.codec, compressors);
  if (leaf.codec !== 'UNCOMPRESSED') pages.push(page);
  return page;
}

/** The values of a page, where they are written as runs. */
function checkValues(page: Uint8Array, at: number, encoding: string, values: number): void {
  if (encoding === 'RLE') checkSizedRuns(page, at, 1, values);
  if (encoding.endsWith('_DICTIONARY')) checkRuns(page.subarray(at + 1), page[at] ?? 0, values);
}

/** Runs of levels with their length in front; absent where there is no level but 0. @returns where they end */
function checkSizedRuns(page: Uint8Array, at: number, maxLevel: number, values: number): number {
  if (maxLevel === 0) return at;
  const view = new DataView(page.buffer, page.byteOffset, page.byteLength);
  const end = at + 4 + view.getUint32(at, true);
  checkRuns(page.subarray(at + 4, end), bitWidth(maxLevel), values);
  return end;
}

/** Values behind the last one that fill a run of bit-packed values up: writers end such runs at a multiple of 8 or more. */
const PADDING_VALUES = 512;

/** Runs of equal or of bit-packed values (the hybrid of the Parquet format): none goes on much behind the last value. */
function checkRuns(bytes: Uint8Array, width: number, values: number): void {
  let at = 0;
  let seen = 0;
  while (seen < values && at < bytes.length) {
    let head = 0;
    let byte = 0x80;
    for (let shift = 0; byte >= 0x80; shift += 7) {
      if (at === bytes.length) throw new Error('a run leaves its page');
      byte = bytes[at++]!;
      head |= (byte & 0x7f) << shift;
    }
    const packed = (head & 1) === 1;
    const count = packed ? (head >>> 1) * 8 : head >>> 1;
    if (count > values - seen + PADDING_VALUES)
      throw new Error(`a run of ${count} values stands in a page of ${values}`);
    seen += count;
    at += packed ? (head >>> 1) * width : (width + 7) >> 3;
  }
}

const bitWidth = (maxLevel: number): number => 32 - Math.clz32(maxLevel);
