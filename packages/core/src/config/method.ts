/** What can be trained. */
export const METHODS = ['sft', 'dpo', 'ipo', 'sr-dpo', 'sr-ipo'] as const;
export type Method = (typeof METHODS)[number];

/** What it is trained on, as people are told. */
export const unitOf = (method: Method): 'pairs' | 'examples' => (method === 'sft' ? 'examples' : 'pairs');

/** Whether the loss is refined by what the policy says under p (+) x. */
export const isRefined = (method: Method): boolean => method === 'sr-dpo' || method === 'sr-ipo';
