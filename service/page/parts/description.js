// The service's own description, /openapi.json: which routes it has, and what may be asked of it.

import { getText } from "./api.js";

/**
 * What a value may be: one of its `choices` where there are some, else what lies within its bounds.
 * @typedef {{ whole: boolean, choices: string[], min: number | null, max: number | null, standard: unknown }} Rule
 * @typedef {{ type?: string, enum?: string[], minimum?: number, maximum?: number, default?: unknown, anyOf?: Schema[] }} Schema
 * @typedef {{ paths: object, components: { schemas: { [name: string]: { properties?: { [name: string]: Schema } } } } }} Description
 */

/** @type {Promise<Description> | null} */
let kept = null;

/** The document, asked for once. */
function description() {
  kept ??= getText("/openapi.json").then((text) => JSON.parse(text)).catch((error) => {
    kept = null;
    throw error;
  });
  return kept;
}

/** @param {string} path such as `/images/{image_id}`: whether the service has it */
export const serves = async (path) => Object.hasOwn((await description()).paths, path);

/**
 * Bounds, choices and defaults of a body's values, by their names.
 * @param {string} body its name in the document
 * @returns {Promise<{ [name: string]: Rule }>}
 */
export async function rules(body) {
  const { properties = {} } = (await description()).components.schemas[body] ?? {};
  return Object.fromEntries(Object.entries(properties).map(([name, schema]) => {
    const one = schema.anyOf?.find(({ type }) => type !== "null") ?? schema;  // null: left out
    return [name, {
      whole: one.type === "integer", choices: one.enum ?? [], min: one.minimum ?? null, max: one.maximum ?? null,
      standard: schema.default ?? null,
    }];
  }));
}
